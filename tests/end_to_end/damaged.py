"""Files and words that are damaged, or made to do harm: systematically, and the same for the same seed."""

import gzip
import itertools
import json
import lzma
import pickle
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import torch

from biograd.training.checkpoint import checksum

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
    return "\n".join(map(_spelled, rows)).encode()


def _spelled(value: Any) -> str:
    """JSON; what it cannot write is written as a word, then put in as it is."""
    text = json.dumps(value).replace(f'"{_VERBATIM}', "").replace(f'{_VERBATIM}"', "")
    return text.replace(f'"{_AGAIN}', '"')


def states(path: Path, seed: int) -> Iterator[tuple[str, bytes]]:
    """Checkpoints without end that are whole files with the right checksum, and hold what no run leaves."""
    rng = random.Random(seed)
    with safetensors.safe_open(path, framework="pt") as file:
        whole = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        text = file.metadata()["biograd"]
    while True:
        for how, damage in [*_VALUES.items(), *_KEYS.items()]:
            content = json.loads(text)
            damage(*rng.choice(_places(content)))
            yield how, _checkpoint(_spelled(content), whole)
        for how, change in _TENSORS.items():
            name, tensors = rng.choice(sorted(whole)), dict(whole)
            change(tensors, name)
            yield f"tensor {how}", _checkpoint(text, tensors)
        for how, damage in _TEXTS.items():
            if how != "a folder":
                yield f"header {how}", _checkpoint(damage(text.encode()).decode("latin1"), whole)


def _checkpoint(text: str, tensors: dict[str, torch.Tensor]) -> bytes:
    header = {"biograd": text, "crc32": str(checksum(text, tensors))}
    return safetensors.torch.save({name: t.contiguous() for name, t in tensors.items()}, header)


def _replaced(
    change: Callable[[torch.Tensor], torch.Tensor],
) -> Callable[[dict[str, torch.Tensor], str], None]:
    def replace(tensors: dict[str, torch.Tensor], name: str) -> None:
        tensors[name] = change(tensors[name]).clone()

    return replace


def _taken(tensors: dict[str, torch.Tensor], name: str) -> None:
    del tensors[name]


def _called_otherwise(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors["\x1b[31m"] = tensors.pop(name)


def _joined_by_another(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors["other"] = tensors[name].clone()


_TENSORS = {
    "doubled": _replaced(lambda t: t.double()),
    "of bytes": _replaced(lambda t: t.to(torch.uint8)),
    "of truths": _replaced(lambda t: t.to(torch.bool)),
    "in half precision": _replaced(lambda t: t.to(torch.bfloat16)),
    "of negatives": _replaced(
        lambda t: torch.full_like(t, -1) if t.dtype != torch.uint8 else t.bitwise_not()
    ),
    "of greatest": _replaced(
        lambda t: torch.full_like(t, (torch.finfo if t.is_floating_point() else torch.iinfo)(t.dtype).max)
    ),
    "of no numbers": _replaced(lambda t: t * torch.nan),
    "flat": _replaced(lambda t: t.flatten()),
    "of one more axis": _replaced(lambda t: t.unsqueeze(0)),
    "empty": _replaced(lambda t: t.flatten()[:0]),
    "longer": _replaced(lambda t: torch.cat([t.flatten(), t.flatten()])),
    "gone": _taken,
    "renamed": _called_otherwise,
    "joined": _joined_by_another,
}


def broken(raw: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """Bytes of any format without end, each with something done to it that a disk or a network can do, or an enemy."""
    rng = random.Random(seed)
    while True:
        place, end = rng.randrange(len(raw)), rng.randrange(len(raw))
        yield "a bit flipped", _with(raw, place, bytes([raw[place] ^ 1 << rng.randrange(8)]))
        yield "a bit flipped early", _with(raw, place % 64, bytes([raw[place % 64] ^ 1 << rng.randrange(8)]))
        yield "cut", raw[:place]
        yield "cut early", raw[: place % 64]
        yield "a part gone", raw[: min(place, end)] + raw[max(place, end) :]
        yield "a part twice", raw[:place] + raw[min(place, end) :]
        yield "a part of zeros", _with(raw, place, bytes(min(16, len(raw) - place)))
        yield "noise", rng.randbytes(rng.randrange(1, 400))
        yield "a number too large", _with(raw, 4 * (place % 16), b"\xff\xff\xff\xff")
        yield "the head of another", rng.randbytes(8) + raw[8:]
        yield "more behind", raw + raw[place:]
        yield "lines turned", b"\n".join(raw.split(b"\n")[::-1])


def _with(raw: bytes, place: int, new: bytes) -> bytes:
    return raw[:place] + new + raw[place + len(new) :]


def idx_files(seed: int) -> Iterator[tuple[str, bytes]]:
    """IDX files without end whose header and content do not go together, packed with gzip."""
    rng = random.Random(seed)
    sizes = [0, 1, 10, 28, 30, 2**16, 2**31, 2**32 - 1]
    while True:
        dimensions = rng.choice([0, 1, 3, 4, 64, 65, 255])
        header = struct.pack(">BBBB", 0, 0, rng.choice([8, 8, 8, 9, 0x0B, 0x0D]), dimensions)
        header += b"".join(struct.pack(">I", rng.choice(sizes)) for _ in range(dimensions))
        yield f"{dimensions} dimensions", gzip.compress(header + rng.randbytes(rng.choice([0, 30, 300])))


def texts(whole: str, seed: int) -> Iterator[tuple[str, bytes]]:
    """Configurations without end in which a value, a key or the text itself is not what it should be."""
    rng = random.Random(seed)
    lines = whole.splitlines()
    while True:
        number = rng.randrange(len(lines))
        key, equals, _ = lines[number].partition(" = ")
        for word in _WORDS:
            changed = f"{key} = {word}" if equals else f"[{word}]"
            yield (
                f"line {number}: {changed[:40]}",
                "\n".join([*lines[:number], changed, *lines[number + 1 :]]).encode("utf-8", "surrogatepass"),
            )
        yield "a line twice", "\n".join([*lines, lines[number]]).encode()
        yield "another key", "\n".join([f'"{HOSTILE}" = 1', *lines]).encode()
        yield "a byte order mark", b"\xef\xbb\xbf" + whole.encode()
        yield "UTF-16", whole.encode("utf-16")
        yield "latin", whole.replace("iris", "ïris").encode("latin1")
        yield "nested", f"a = {'[' * 5000}{']' * 5000}\n{whole}".encode()
        yield "nested tables", f"[{'.'.join('a' * 5000)}]\n{whole}".encode()
        yield "cut", whole[: rng.randrange(len(whole))].encode()


_WORDS = [
    '""', '"x"', '" "', "[]", "{}", "[[]]", "true", "nan", "-inf", "-1", "0", "0.5", "1e999", "1979-05-27",
    "9" * 400, "9" * 5000, "0x" + "f" * 300, '"\\u0000"', '"\\u001b[31m"', f'"{HOSTILE}"', '"\ud800"',
    '"' + "x" * 100_000 + '"',
    '{name = "x"}', "{name = 1}", '{name = "bp", settings = 1}', '{name = {name = "bp"}}', '{"" = 1}', '["bp", "fa"]',
    '"mine.py:"', '":"', '".py:"', '"..py:x"', '"/:/"', '"../../etc/passwd"', '{name = "bp", "a.b" = 1}',
    '[{name = "bp"}, 1]',
]  # fmt: skip


def typed(commands: Sequence[Sequence[str]], seed: int) -> Iterator[list[str]]:
    """Command lines without end: a word is put in the place of another, taken away, written twice or moved."""
    rng = random.Random(seed)
    while True:
        for word in _TYPED:
            for change in (_one_put, _one_taken, _one_twice, _two_swapped, _one_joined):
                words = list(rng.choice(commands))
                change(words, rng, word)
                yield words


def _one_put(words: list[str], rng: random.Random, word: str) -> None:
    words[rng.randrange(1, len(words))] = word


def _one_taken(words: list[str], rng: random.Random, word: str) -> None:
    del words[rng.randrange(len(words))]


def _one_twice(words: list[str], rng: random.Random, word: str) -> None:
    words.insert(rng.randrange(len(words)), rng.choice(words))


def _two_swapped(words: list[str], rng: random.Random, word: str) -> None:
    one, other = rng.randrange(len(words)), rng.randrange(len(words))
    words[one], words[other] = words[other], words[one]


def _one_joined(words: list[str], rng: random.Random, word: str) -> None:
    place = rng.randrange(len(words))
    words[place] = f"{words[place]}={word}" if words[place].startswith("-") else f"{words[place]}{word}"


_TYPED = [
    "", " ", "-", "--", "---", "-1", "nan", "inf", "-inf", "1e999", "0", "0.5", "9" * 400, "9" * 5000, "0x10", "1_0",
    "\x00", "a\x00b", "\x1b[31m", "\n", "\ud800", "é", "٣", "²", "\u202e", HOSTILE, "{}", "[]", "%s", "$HOME", "~",
    "~nobody/x", "..", "/", "/dev/null", "/dev/full", "/root/none", "x" * 300, "x" * 100_000, ",", ",,", "a,",
    "--rule.", "--.x", "--rule.scale.x", "--rule.form.x=1", "--net.widths=", "mine.py:", ":", ".py:", "none.py:None",
    "bp", "fa", "iris", "mlp", "--json", "--help",
]  # fmt: skip


def unpacked(content: bytes) -> bytes:
    """What gzip packed; other content as it is."""
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def packs(raw: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """Packed files without end whose compression is right, and whose text is not."""
    rng = random.Random(seed)
    text = lzma.decompress(raw)
    while True:
        for how, damage in [*_VALUES.items(), *_KEYS.items()]:
            rows = [json.loads(line) for line in text.splitlines()]
            damage(*rng.choice(_places(rng.choice(rows))))
            yield how, lzma.compress("".join(f"{_spelled(row)}\n" for row in rows).encode())
        for how, content in itertools.islice(broken(text, rng.randrange(2**32)), 12):
            yield f"text {how}", lzma.compress(content)


def pickles(seed: int) -> Iterator[tuple[str, bytes]]:
    """Pickles without end of plain values and arrays, few of which are a batch of pictures."""
    rng = random.Random(seed)
    odd = [
        None, -1, 10, 2**70, 0.5, float("nan"), "x", "\ud800", "\x1b[31m", "x" * 100_000, [], {}, [[]], [0], [0, 1],
        [0, 10], [-1, 0], [True, False], ["a", "b"], [2**70, 0], (0, 1), {0: 1}, np.zeros(6144, np.uint8),
        np.zeros((2, 3072), np.uint8), np.zeros((0, 3072), np.uint8), np.zeros((2, 3072)), np.zeros((2, 3072), np.int8),
    ]  # fmt: skip
    while True:
        keys = rng.sample(["data", "labels", "label_names", "fine_labels", "other", "", 3, None], 3)
        content = {key: rng.choice(odd) for key in (*keys, "data", "labels")}
        yield (
            str(keys),
            pickle.dumps(content if rng.random() < 0.9 else rng.choice(odd), protocol=rng.choice([2, 3])),
        )


_VERBATIM, _AGAIN = "=verbatim=", "=again="


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


def _twice(holder: Any, key: Any) -> None:
    """The key of an object is written a second time, with another value."""
    if isinstance(holder, dict):
        holder[f"{_AGAIN}{key}"] = 0
    else:
        holder.append(holder[key])


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
    "key twice": _twice,
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
