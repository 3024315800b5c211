"""The tables of ``docs/zoo.md``, of what the zoo's outcomes are; ``python -m tests.zoo`` writes them into the page."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.zoo.animals import ANIMALS, RULES, Animal
from tests.zoo.outcomes import Outcome, outcome

PAGE = Path(__file__).parents[2] / "docs" / "zoo.md"
BASELINES = ("bp", "shallow", "frozen")
HEAD = "| net | cut points | taught | block by block | baselines | refused |\n|---|---|---|---|---|---|\n"

Outcomes = Mapping[str, Outcome]
"""What each rule did with a net."""


def outcomes(animal: Animal) -> Outcomes:
    """What every rule does with a net."""
    return {name: outcome(animal, name) for name in RULES}


def row(animal: Animal, found: Outcomes) -> str:
    """The net's row of the table."""
    by_kind = {
        kind: _names(name for name in RULES if found[name].kind == kind and name not in BASELINES)
        for kind in ("taught", "by block")
    }
    cells = (
        f"`{animal.name}`: {animal.said}",
        _names(animal.blocks),
        *by_kind.values(),
        _names(name for name in BASELINES if found[name].kind != "refused"),
        _names(name for name in RULES if found[name].kind == "refused"),
    )
    return f"| {' | '.join(cells)} |"


def remarks(animal: Animal, found: Outcomes) -> str:
    """What is exact in the net under feedback rules, what a local rule leaves as it is, and what refusals say."""
    said = (
        [f"- exact under feedback rules: {_names(map(_owner, found['fa'].exact))}"]
        if found["fa"].exact
        else []
    )
    still = found["stdp-association"].still
    if still:
        said.append(f"- kept by `stdp-association` as they are: {_names(dict.fromkeys(map(_owner, still)))}")
    lines: dict[str, list[str]] = {}
    for name in RULES:
        if found[name].kind == "refused":
            lines.setdefault(_shortened(found[name].line), []).append(name)
    said += [f"- {_names(names)}: {line}" for line, names in lines.items()]
    return "\n".join([f"`{animal.name}`", "", *said]) if said else ""


def written(found: Mapping[str, Outcomes]) -> str:
    """The page with the tables of these outcomes in place of those that it has."""
    table = HEAD + "\n".join(row(animal, found[animal.name]) for animal in ANIMALS)
    below = "\n\n".join(filter(None, (remarks(animal, found[animal.name]) for animal in ANIMALS)))
    before, _, behind = re.split(
        r"(?<=<!-- zoo -->\n)(.*)(?=<!-- end -->)", PAGE.read_text(), flags=re.DOTALL
    )
    return f"{before}{table}\n\n{below}\n{behind}"


def _names(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names) or "–"


def _owner(parameter: str) -> str:
    """The layer that a parameter is of, or the parameter; a number in the name of a layer of a list is a star.

    Example:
        >>> _owner("layers.0.before.weight"), _owner("token")
        ('layers.*.before', 'token')
    """
    return re.sub(r"\.\d+(?=\.)", ".*", re.sub(r"\.(weight|bias)$", "", parameter))


def _shortened(line: str) -> str:
    """A refusal without the rules that would do, which all of them name."""
    return line.partition(". Rules for any net")[0].replace("*", r"\*")
