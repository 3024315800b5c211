"""The values of a command's own flags; those that configure a run are checked by the configuration."""

import argparse
from collections.abc import Callable

from biograd.errors import brief


def whole(least: int) -> Callable[[str], int]:
    """A converter to whole numbers from ``least`` up.

    Example:
        >>> whole(1)("3")
        3
    """

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"expected a whole number ≥ {least}, got {brief(text)}")
        return number

    return convert


def names(text: str) -> list[str]:
    """Names separated by commas, none twice.

    Example:
        >>> names("bp, fa")
        ['bp', 'fa']
    """
    return _separated(text, "names")


def _separated(text: str, kind: str) -> list[str]:
    """What stands between commas; ``kind`` is what it is called where it is wrong."""
    given = [name.strip() for name in text.split(",")]
    if not all(given):
        raise argparse.ArgumentTypeError(f"expected {kind} separated by commas, got {brief(text)}")
    twice = next((name for name in given if given.count(name) > 1), None)
    if twice is not None:
        raise argparse.ArgumentTypeError(f"{brief(twice)} is given twice, in {brief(text)}")
    return given


def whole_numbers(least: int) -> Callable[[str], list[int]]:
    """A converter to whole numbers from ``least`` up, separated by commas, none twice.

    Example:
        >>> whole_numbers(1)("3,4")
        [3, 4]
    """

    def convert(text: str) -> list[int]:
        return [whole(least)(number) for number in _separated(text, "whole numbers")]

    return convert


def numbers(text: str) -> list[float]:
    """Numbers separated by commas, none twice.

    Example:
        >>> numbers("0,0.02")
        [0.0, 0.02]
    """
    try:
        return [float(number) for number in _separated(text, "numbers")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers separated by commas, got {brief(text)}") from None


def whole_or_all(least: int) -> Callable[[str], int | None]:
    """A converter to a whole number from ``least`` up, or None for ``all``.

    Example:
        >>> whole_or_all(1)("20"), whole_or_all(1)("all")
        (20, None)
    """
    return lambda text: None if text == "all" else whole(least)(text)
