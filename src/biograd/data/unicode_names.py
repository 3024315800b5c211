"""Names of characters: a text that comes with every Python, and is the same in all of them."""

from hashlib import sha256
from pathlib import Path

from biograd.data.card import Card
from biograd.data.characters import Length, as_sequences
from biograd.data.dataset import DataSet
from biograd.errors import DataUnavailable

CARD = Card(
    title="Names of Unicode characters",
    train=4988,
    test=554,
    shape=(64,),
    outputs=39,
    task="tokens",
    licence="Unicode-3.0",
    homepage="https://www.unicode.org/versions/Unicode3.2.0/",
)

CHECKSUM = "ed37fef8051fddf454cedf9f4af417f90536e22f741f8822f2e7a77fbb57fe51"
"""SHA-256 of the names in the order of their characters, each with an end of line."""

_NUMBERED = ("CJK UNIFIED IDEOGRAPH-", "CJK COMPATIBILITY IDEOGRAPH-", "HANGUL SYLLABLE ")


def unicode_names(directory: str | Path | None, download: bool, seed: int, *, length: Length = 64) -> DataSet:
    """Names of the characters of Unicode 3.2, a line each, letter by letter: at each letter the net tells the next.

    12,886 names in an order drawn by seed, without ideographs and syllables of Hangul, whose names follow from their
    numbers: 354,744 characters, 39 different ones. The last tenth is the test part. They come with Python, in
    ``unicodedata.ucd_3_2_0``: nothing is read from ``directory`` or downloaded. Returns inputs and targets
    (n, length) int64.

    Args:
        directory: not used.
        download: not used.
        seed: draws the order of the names, and so the test part.
        length: characters of a sequence; sequences lie one behind another, and what is left is cut off.
    """
    import torch

    from biograd.data.seeded import seeded

    known = all_names()
    order = torch.randperm(len(known), generator=seeded(seed)).tolist()
    whole = "".join(f"{known[place]}\n" for place in order)
    start = len(whole) - len(whole) // 10
    return as_sequences("unicode-names", whole[:start], whole[start:], length)


def all_names() -> list[str]:
    """The names, in the order of their characters.

    Raises:
        DataUnavailable: this Python has others.
    """
    from unicodedata import ucd_3_2_0

    known = (ucd_3_2_0.name(chr(place), "") for place in range(0x110000))
    names = [name for name in known if name and not name.startswith(_NUMBERED)]
    if sha256("".join(f"{name}\n" for name in names).encode()).hexdigest() != CHECKSUM:
        raise DataUnavailable(
            "unicode-names: this Python's unicodedata.ucd_3_2_0 has other names than those of Unicode 3.2; use CPython"
        )
    return names
