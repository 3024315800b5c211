"""One look per rule: colours by the kind of rule, so that a new rule needs none of its own."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import NamedTuple

INK, QUIET, GRID, PAPER = "#1f2328", "#59636e", "#d8dde3", "#ffffff"

# Any two of these and ink differ by ΔE ≥ 24.5 (CIELAB) for normal vision and under simulated protan-, deuteran- and
# tritanopia, on paper and on a dark screen; found by hill climbing from Okabe and Ito's palette. There is no room for
# more.
BLUE, LIGHT_BLUE = "#1a37dc", "#718aff"
ORANGE, BROWN = "#ae4e0b", "#835e3f"
GREEN, YELLOW = "#22c283", "#d9a200"
PURPLE, MAUVE = "#50036f", "#c99ad5"
GREY = "#7a7e82"

BACKPROPAGATION = "backpropagation"

FAMILIES = {
    BACKPROPAGATION: (INK,),
    "feedback": (BLUE, LIGHT_BLUE),
    "direct feedback": (ORANGE, BROWN),
    "target propagation": (GREEN, YELLOW),
    "local": (PURPLE, MAUVE),
    "baseline": (GREY,),
}
"""The kinds of rules in the order of reports, and the shades of each; rules of any other kind come last."""

_LENT = (GREEN, YELLOW, PURPLE, MAUVE, ORANGE, BROWN, GREY, BLUE, LIGHT_BLUE)
"""Every colour but ink, in the order in which those that nobody has are lent to kinds that have more rules."""

_APART = (BLUE, ORANGE, GREEN, MAUVE, YELLOW, PURPLE)
"""Colours of lines that are no rules."""

_MARKERS = "s^DvpPX<>d*hH8"

DARK = {
    INK: "#e6e9ee",
    QUIET: "#9aa4b0",
    GRID: "#343b45",
    PAPER: "#161a20",
    BLUE: "#1b4fff",
    ORANGE: "#dc4403",
    GREEN: "#54ff8e",
    BROWN: "#9c503b",
    LIGHT_BLUE: "#a4a7ff",
    MAUVE: "#bca0c3",
    YELLOW: "#fec90f",
    PURPLE: "#8c4f9e",
    GREY: "#6a6e72",
}
"""What stands for each colour of the figures on a dark screen."""


class Drawn(NamedTuple):
    """What has a look of its own: a rule, or runs of it under a label.

    Attributes:
        name: what reports call it.
        rule: the rule's name.
        family: what kind of rule it is.
    """

    name: str
    rule: str
    family: str


@dataclass(frozen=True)
class Look:
    """How a rule is drawn; where two share a colour, their markers differ."""

    color: str
    marker: str


def looks(drawn: Iterable[Drawn]) -> dict[str, Look]:
    """The look of each name, in the order in which reports list them: by kind, backpropagation first, then by rule.

    Each takes a shade of its kind. Where there are more of a kind they take colours that the whole report leaves
    free, and when there are no more of these, those of their kind again under another marker. The same names get the
    same looks, in whatever order they are given.

    Example:
        >>> found = looks([Drawn("fa", "fa", "feedback"), Drawn("bp", "bp", "backpropagation")])
        >>> list(found), found["bp"].color == INK
        (['bp', 'fa'], True)
    """
    ordered = sorted(set(drawn), key=_place)
    found: dict[str, Look] = {}
    for place, (one, color) in enumerate(zip(ordered, _colors(ordered), strict=True)):
        possible = [Look(color, marker) for marker in _markers(color, place)]
        found[one.name] = next((look for look in possible if look not in found.values()), possible[0])
    return found


def looks_apart(count: int) -> list[Look]:
    """Looks of lines that are no rules, none of them in ink."""
    return [Look(*pair) for pair in islice(zip(cycle(_APART), cycle(_MARKERS), strict=False), count)]


def series(count: int) -> list[str]:
    """Colours of lines that are no rules: ink for the first, and colours that are easily told apart for the others.

    Example:
        >>> series(2)[0] == INK, len(set(series(7)))
        (True, 7)
    """
    return [INK, *islice(cycle(_APART), count - 1)]


def _markers(color: str, place: int) -> str:
    """All of them, in the order in which they are tried; ink has one of its own."""
    start = place % len(_MARKERS)
    return ("o" if color == INK else "") + _MARKERS[start:] + _MARKERS[:start]


def _colors(ordered: list[Drawn]) -> list[str]:
    homes = {family: iter(shades) for family, shades in FAMILIES.items()}
    found = {one: shade for one in ordered if (shade := next(homes.get(one.family, iter(())), None))}
    free = iter([color for color in _LENT if color not in found.values()])
    for one in ordered:
        if one not in found and (color := next(free, None)):
            found[one] = color
    again: dict[str, Iterator[str]] = {}
    for one in ordered:
        if one not in found:
            shades = [shade for shade in FAMILIES.get(one.family, ()) if shade != INK]
            found[one] = next(again.setdefault(one.family, cycle(shades or _LENT)))
    return [found[one] for one in ordered]


def _place(one: Drawn) -> tuple[int, str, str, bool, str]:
    """By kind and rule; of several names of a rule its own comes first."""
    known = list(FAMILIES)
    kind = known.index(one.family) if one.family in known else len(known)
    return kind, one.family, one.rule, one.name != one.rule, one.name
