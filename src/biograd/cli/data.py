"""``biograd data``: which data sets there are, what of them is on this machine, and the settings of one."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biograd.cli.exits import DONE
from biograd.cli.output import columns, print_json, size
from biograd.cli.parsing import add_command

if TYPE_CHECKING:
    from biograd.data import Cached, Card

_EPILOG = """\
examples:
  biograd data                    what there is, and what is on this machine
  biograd data mnist              sizes, licence, origin and settings
  biograd data cache              where the files lie, and how much room they take
  biograd data --data-dir /data   the same for another folder

Nothing is downloaded here; training does that when a set is first used.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "data",
        run,
        "what data sets there are, and which are on this machine; with a name: one of them",
        _EPILOG,
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME|cache", help="a data set, or `cache`; without it, all are listed"
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder of official files (default $BIOGRAD_DATA, else the user's cache)",
    )


def run(arguments: argparse.Namespace) -> int:
    """List the data sets, describe one, or show the cache."""
    if arguments.name == "cache":
        return _show_cache(arguments.data_dir, arguments.json)
    if arguments.name is not None:
        return _describe(arguments.name, arguments.json)
    return _list(arguments.data_dir, arguments.json)


def _list(directory: str | None, as_json: bool) -> int:
    from biograd import data
    from biograd.cli import describe

    states = {row.name: row.state for row in data.cached(directory)}
    rows = [
        (name, states.get(name, "generated"), line)
        for name, line in describe.summaries(data.REGISTRY).items()
    ]
    own = [(form, "your own", describe.summary(data.REGISTRY.find(form))) for form in data.REGISTRY.forms()]
    rows += own
    if as_json:
        print_json({"data": [dict(zip(("name", "state", "summary"), row, strict=True)) for row in rows]})
        return DONE
    print(columns(rows))
    print(
        "\nbiograd data NAME shows the sizes, licence and settings of one; biograd data cache where they lie."
    )
    return DONE


def _describe(name: str, as_json: bool) -> int:
    from biograd import data
    from biograd.cli import describe

    description = data.describe(name)
    constructor = data.REGISTRY.find(name)
    facts = {} if description.card is None else _facts(description.card)
    if as_json:
        print_json({**describe.row(name, constructor), **facts})
        return DONE
    print(describe.text("data", name, constructor))
    if facts:
        facts["shape"] = "×".join(map(str, facts["shape"]))
        print("\nSizes and origin:")
        print(columns([(key.replace("_", " "), str(value)) for key, value in facts.items() if value]))
    return DONE


def _facts(card: "Card") -> dict[str, Any]:
    facts: dict[str, Any] = {
        "title": card.title,
        "train": card.train,
        "test": card.test,
        "shape": list(card.shape),
        "task": card.task,
        "classes" if card.task == "classes" else "outputs": card.outputs,
        "licence": card.licence,
        "homepage": card.homepage,
    }
    return facts if card.source is None else {**facts, "download_megabytes": card.source.megabytes}


def _show_cache(directory: str | None, as_json: bool) -> int:
    from biograd import data
    from biograd.data.files import data_directory

    root = data_directory(directory)
    rows = [row for row in data.cached(directory) if row.folder is not None]
    if as_json:
        print_json(
            {
                "directory": str(root),
                "bytes": sum(row.bytes for row in rows),
                "data": [_row(row) for row in rows],
            }
        )
        return DONE
    print(f"{root}: {size(sum(row.bytes for row in rows))}")
    print(columns([(row.name, row.state, size(row.bytes), _below(row.folder, root)) for row in rows]))
    return DONE


def _row(row: "Cached") -> dict[str, Any]:
    return {"name": row.name, "state": row.state, "bytes": row.bytes, "folder": str(row.folder)}


def _below(folder: Path | None, root: Path) -> str:
    return str(folder.relative_to(root)) if folder and folder.is_relative_to(root) else str(folder)
