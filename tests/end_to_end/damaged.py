"""Record files that are damaged, or made to do harm: systematically, and the same for the same seed."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HOSTILE = "<script>alert(1)</script>"


class Damaged(NamedTuple):
    """One file that is not what it should be.

    Attributes:
        file: where it lies below the folder.
        how: what was done to it.
        content: what it holds; None for a folder in its place.
    """

    file: Path
    how: str
    content: bytes | None


def damaged(folder: Path, files: list[Path], seed: int) -> Iterator[Damaged]:
    """Damages without end: of each file in turn, each kind of damage in turn, at a place that is drawn."""
    rng = random.Random(seed)
    while True:
        for how, damage in [*_VALUES.items(), *_KEYS.items(), *_TEXTS.items()]:
            for file in files:
                yield Damaged(file, how, _apply(how, damage, (folder / file).read_bytes(), rng))


def _apply(how: str, damage: Any, raw: bytes, rng: random.Random) -> bytes | None:
    if how in _TEXTS:
        return damage(raw)
    rows = [json.loads(line) for line in raw.splitlines()] if _is_lines(raw) else [json.loads(raw)]
    holder, key = rng.choice(_places(rng.choice(rows)))
    damage(holder, key)
    # what JSON cannot write is written as a word, then put in as it is
    return "\n".join(map(json.dumps, rows)).replace(f'"{_VERBATIM}', "").replace(f'{_VERBATIM}"', "").encode()


_VERBATIM = "=verbatim="


def _verbatim(text: str) -> str:
    return f"{_VERBATIM}{text}{_VERBATIM}"


def _put(value: Any) -> Any:
    def put(holder: Any, key: Any) -> None:
        holder[key] = value

    return put


def _swap(holder: Any, key: Any) -> None:
    value = holder[key]
    if isinstance(value, dict | list):
        holder[key] = "text" if value else 0
    elif isinstance(value, str):
        holder[key] = {"of": value}
    else:
        holder[key] = [value]


def _spell(holder: Any, key: Any) -> None:
    holder[key] = str(holder[key])


def _drop(holder: Any, key: Any) -> None:
    del holder[key]


def _rename(name: str) -> Any:
    def rename(holder: Any, key: Any) -> None:
        value = holder[key]
        if isinstance(holder, dict):
            del holder[key]
            holder[name] = value

    return rename


def _nested(levels: int) -> str:
    return _verbatim("[" * levels + "]" * levels)


_VALUES = {
    "swapped": _swap,
    "spelled": _spell,
    "null": _put(None),
    "true": _put(True),
    "negative": _put(-1),
    "fraction": _put(0.5),
    "NaN": _put(_verbatim("NaN")),
    "infinity": _put(_verbatim("-Infinity")),
    "beyond floats": _put(_verbatim("1e999")),
    "largest float": _put(1.7e308),
    "large integer": _put(2**62),
    "larger integer": _put(2**70),
    "integer beyond floats": _put(_verbatim("9" * 400)),
    "integer of too many digits": _put(_verbatim("9" * 5000)),
    "nested": _put(_nested(40)),
    "nested deeply": _put(_nested(900)),
    "nested too deeply": _put(_nested(100_000)),
    "script": _put(f'"><svg onload=alert(1)>{HOSTILE}'),
    "control characters": _put("a\x00b\x1b[31m\x07\r\nc"),
    "lone surrogate": _put("\ud800\udfff"),
    "long text": _put("x" * 100_000),
    "empty object": _put({}),
    "empty list": _put([]),
    "empty text": _put(""),
}
_KEYS = {
    "missing": _drop,
    "renamed": _rename("other"),
    "renamed to a script": _rename(HOSTILE),
    "renamed to a surrogate": _rename("\udc80"),
}
_TEXTS = {
    "empty": lambda raw: b"",
    "cut": lambda raw: raw[: len(raw) // 2],
    "twice": lambda raw: raw + raw,
    "noise": lambda raw: bytes(range(256)) * 4,
    "of zeros": lambda raw: b"\x00" * len(raw),
    "UTF-16": lambda raw: raw.decode().encode("utf-16"),
    "a list": lambda raw: b"[" + b"]",
    "a number": lambda raw: b"1\n2\n",
    "another object": lambda raw: b'{"a": 1}\n{"a": 1}\n',
    "nested alone": lambda raw: b'{"a": ' * 200_000 + b"1" + b"}" * 200_000,
    "a folder": lambda raw: None,
}


def _is_lines(raw: bytes) -> bool:
    return raw.lstrip().startswith(b"{") and raw.count(b"\n{") > 0


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every entry of an object, at any depth, as what holds it and its key."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    own = [(value, key) for key in keys]
    return own + [place for key in keys for place in _places(value[key])]
