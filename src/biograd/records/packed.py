r"""The format of a packed file: many records as lines of one compressed text, in which nothing can execute.

The text is JSON, a line each: a head that counts the records, then the name and the text of each, sorted by name.

    {"format": "biograd records", "version": 1, "records": 2}
    ["bp-seed0/config.json", "{\n  \"rule\": …"]
    ["bp-seed0/metrics.jsonl", "{\"epoch\": 1, …"]

XZ finds what hundreds of runs repeat, where gzip looks 32 KiB back; the same records give the same bytes.
"""

import json
import lzma
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

SUFFIX = ".records.xz"
"""How the name of a packed file ends, by which it is known."""

RECORDS = (".json", ".jsonl")
"""How the names of records end."""

LARGEST = 128 * 2**20
"""Bytes of text that a packed file may hold: nobody's file is decompressed beyond it."""

MOST = 100_000
"""Records that a packed file may hold."""

_HEAD = {"format": "biograd records", "version": 1}
_MEMORY = 64 * 2**20  # that decompression may take beside the text; what `encode` makes takes 9 MiB
_NAME = re.compile(r"([^./\\][^/\\]*/)*[^./\\][^/\\]*\.jsonl?")  # relative, of visible parts
_LONGEST_NAME = 1000


def encode(records: Mapping[str, bytes]) -> bytes:
    """The content of a packed file.

    Args:
        records: the content of each by its name, a relative path with slashes.

    Raises:
        ValueError: they are too many or too large, one is no UTF-8 text, or has a name that cannot be unpacked.
    """
    names = sorted(records)
    _refuse_names(names)
    lines = [json.dumps({**_HEAD, "records": len(names)})]
    lines += [json.dumps([name, _text(name, records[name])]) for name in names]
    plain = "".join(f"{line}\n" for line in lines).encode()
    if len(plain) > LARGEST:
        raise ValueError(f"{len(plain):,} bytes are more than the {LARGEST:,} of a packed file")
    return lzma.compress(plain, preset=6)


def decode(raw: bytes) -> dict[str, bytes]:
    """What `encode` was given, sorted by name.

    Whoever made the content, memory and time stay within `LARGEST` and `MOST`.

    Raises:
        ValueError: `encode` did not make it, or it was damaged since; the message says what is wrong.
    """
    plain = _decompressed(raw)
    if plain.count(b"\n") > MOST + 1:
        raise ValueError(f"it holds more than {MOST:,} records")
    head, *lines = plain.removesuffix(b"\n").split(b"\n")
    if _json(head) != {**_HEAD, "records": len(lines)}:
        raise ValueError("its first line does not say what it holds, as this version writes it")
    pairs = [_record(line) for line in lines]
    _refuse_names([name for name, _ in pairs])
    return dict(pairs)


def _decompressed(raw: bytes) -> bytes:
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)
    try:
        plain = decompressor.decompress(raw, LARGEST + 1)
    except lzma.LZMAError as error:
        raise ValueError(f"its compression is damaged ({error})") from None
    if len(plain) > LARGEST:
        raise ValueError(f"it holds more than {LARGEST:,} bytes")
    if not decompressor.eof:
        raise ValueError("its end is missing")
    if decompressor.unused_data:
        raise ValueError("something follows its end")
    return plain


def _record(line: bytes) -> tuple[str, bytes]:
    match _json(line):
        case [str(name), str(text)]:
            return name, text.encode()  # a lone surrogate raises, being no text
    raise ValueError("a line is not the name and text of a record")


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("a line is not valid JSON") from None


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is no text in UTF-8") from None


def _refuse_names(names: Sequence[str]) -> None:
    """Refuse names that could be unpacked to one place twice, or outside of the folder that they are unpacked to."""
    if len(names) > MOST:
        raise ValueError(f"{len(names):,} records are more than the {MOST:,} of a packed file")
    if any(name >= following for name, following in pairwise(names)):
        raise ValueError("its names are not sorted, each once")
    for name in names:
        if not (_NAME.fullmatch(name) and name.isprintable() and len(name) <= _LONGEST_NAME):
            raise ValueError(f"{name[:80]!r} is no name of a record")
        below = bisect_left(names, f"{name}/")
        if below < len(names) and names[below].startswith(f"{name}/"):
            raise ValueError(f"{names[below][:80]!r} lies in another record")
