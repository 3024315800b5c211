"""A packed file gives back what was packed, and hostile ones are refused in a line, soon and in little memory."""

import json
import lzma
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biograd.errors import UserMistake
from biograd.records import find_runs, packed, unpack
from biograd.records.packed import LARGEST, MOST, decode, encode

PARTS = st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters="/\\"), min_size=1, max_size=8
).filter(lambda part: part[0] != "." and part.isprintable())
NAMES = st.builds(
    lambda folders, last, ending: "/".join([*folders, last + ending]),
    st.lists(PARTS.map(lambda part: f"{part}-"), max_size=3),
    PARTS,
    st.sampled_from([".json", ".jsonl"]),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"])).map(str.encode)
HEAD = {"format": "biograd records", "version": 1}


def stream(*lines, head=None):
    """A packed file of these lines, however wrong they are."""
    first = {**HEAD, "records": len(lines)} if head is None else head
    return lzma.compress("".join(f"{json.dumps(line)}\n" for line in [first, *lines]).encode())


def bomb(chunk, times=256):
    """A quarter of a gibibyte, say, in some ten kilobytes."""
    compressor = lzma.LZMACompressor(preset=1)
    return b"".join([*(compressor.compress(chunk) for _ in range(times)), compressor.flush()])


def deep():
    """Many names, each as deep as it may be, of which the last alone is wrong."""
    names = [f"{number:06}/{'a/' * 400}b.json" for number in range(MOST // 8)]
    return [[name, ""] for name in [*names[1:], "a.json", "a.json/b.json"]]


def raw(text):
    return lzma.compress(text.encode() if isinstance(text, str) else text)


@given(st.dictionaries(NAMES, TEXTS, max_size=8))
def test_records_come_back_byte_for_byte_and_sorted(records):
    assert list(decode(encode(records)).items()) == sorted(records.items())


@given(st.dictionaries(NAMES, TEXTS, max_size=8))
def test_the_same_records_give_the_same_bytes_in_any_order(records):
    assert encode(records) == encode(dict(reversed(records.items())))


def test_the_format_is_a_line_of_json_a_record():
    content = encode({"b/config.json": b"{}\n", "a/metrics.jsonl": "λ\n".encode()})
    assert [json.loads(line) for line in lzma.decompress(content).splitlines()] == [
        {**HEAD, "records": 2},
        ["a/metrics.jsonl", "λ\n"],
        ["b/config.json", "{}\n"],
    ]


ESCAPES = [
    "/etc/a.json",
    "../a.json",
    "a/../../b.json",
    "a//b.json",
    "./a.json",
    ".hidden.json",
    "a/.git/b.json",
    "a\\b.json",
    "a\x00b.json",
    "a\nb.json",
    "a\ud800.json",
    "",
    "a/",
    "plugin.py",
    "a.json.sh",
    f"{'a' * 1000}.json",
]


@pytest.mark.parametrize("name", ESCAPES, ids=lambda name: repr(name)[:20])
def test_a_name_that_could_lead_elsewhere_is_refused_both_ways(name):
    with pytest.raises(ValueError, match=r"is no name of a record|is no text"):
        decode(stream([name, ""]))
    with pytest.raises(ValueError, match=r"is no name of a record"):
        encode({name: b""})


HOSTILE = {
    "empty": (b"", "its end is missing"),
    "other": (b"PK\x03\x04" * 99, "compression is damaged"),
    "truncated": (encode({"a.json": b"x" * 999})[:-20], "its end is missing|damaged"),
    "flipped": (encode({"a.json": b"abc" * 99}).replace(b"\x00\x00", b"\x00\x01"), "damaged"),
    "more behind": (encode({"a.json": b""}) + b"#!/bin/sh", "something follows its end"),
    "two streams": (encode({"a.json": b""}) * 2, "something follows its end"),
    "no head": (raw(""), "not valid JSON"),
    "a list for a head": (stream(head=[1]), "first line"),
    "another version": (stream(head={**HEAD, "version": 2, "records": 0}), "first line"),
    "fewer than it says": (stream(["a.json", ""], head={**HEAD, "records": 2}), "first line"),
    "broken line": (raw(f'{json.dumps({**HEAD, "records": 1})}\n["a.json", "'), "not valid JSON"),
    "not UTF-8": (raw(json.dumps({**HEAD, "records": 1}).encode() + b'\n["a.json", "\xff"]\n'), "JSON"),
    "deep": (raw(json.dumps({**HEAD, "records": 1}) + "\n" + "[" * 100_000), "not valid JSON"),
    "huge number": (raw(json.dumps({**HEAD, "records": 1}) + "\n" + "9" * 10_000), "not valid JSON"),
    "a number for a text": (stream(["a.json", 1]), "not the name and text"),
    "three": (stream(["a.json", "", ""]), "not the name and text"),
    "no text": (stream(["a.json", "\ud800"]), "surrogates not allowed"),
    "twice": (stream(["a.json", ""], ["a.json", "1"]), "not sorted, each once"),
    "unsorted": (stream(["b.json", ""], ["a.json", ""]), "not sorted, each once"),
    "one in another": (stream(["a.json", ""], ["a.json/b.json", ""]), "lies in another record"),
    "bomb": (lambda: bomb(b"\0" * 2**20), "it holds more than 134,217,728 bytes"),
    "a bomb of lines": (lambda: bomb(b"\n" * 2**20, LARGEST // 2**20), "more than 100,000 records"),
    "a bomb of pairs": (raw(b"[]\n" * (MOST + 2)), "more than 100,000 records"),
    "many deep names": (lambda: stream(*deep()), "lies in another record"),
    "a dictionary too large": (
        lzma.compress(b"{}", filters=[{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**30}]),
        "memory usage limit",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_a_line_soon_and_in_little_memory(tmp_path, case):
    content, complaint = HOSTILE[case]
    file = tmp_path / f"a{packed.SUFFIX}"
    file.write_bytes(content() if callable(content) else content)
    began = time.process_time()
    tracemalloc.start()
    try:
        for read in (find_runs, unpack):
            with pytest.raises(UserMistake, match=rf"(?i){complaint}") as caught:
                read(file)
            assert "\n" not in str(caught.value)
        assert tracemalloc.get_traced_memory()[1] < 3 * LARGEST
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 20
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_what_is_too_much_for_a_packed_file_is_not_packed(monkeypatch):
    monkeypatch.setattr(packed, "LARGEST", 500)
    with pytest.raises(ValueError, match=r"are more than the 500 of a packed file"):
        encode({"a.json": b"x" * 500})
    monkeypatch.setattr(packed, "MOST", 2)
    with pytest.raises(ValueError, match=r"3 records are more than the 2"):
        encode(dict.fromkeys(["a.json", "b.json", "c.json"], b""))
