"""One look per rule, the same in every figure and every report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

INK, QUIET, GRID, PAPER = "#1f2328", "#59636e", "#d8dde3", "#ffffff"

# Any two colours differ by ΔE ≥ 25 (CIELAB) for normal vision and under simulated protan-, deuteran- and
# tritanopia, on paper and on a dark screen; found by hill climbing from Okabe and Ito's palette. There is no room
# for more, so a rule of target propagation shares that of a rule it is seldom compared with, under another marker.
_KNOWN = {
    "bp": (INK, "o"),
    "fa": ("#1a37dc", "s"),
    "dfa": ("#ae4e0b", "^"),
    "usf": ("#22c283", "D"),
    "brsf": ("#835e3f", "v"),
    "frsf": ("#718aff", "p"),
    "kp": ("#c99ad5", "P"),
    "wm": ("#d9a200", "X"),
    "drtp": ("#50036f", "<"),
    "tp": ("#835e3f", "D"),
    "itp": ("#d9a200", ">"),
    "gait-prop": ("#22c283", "v"),
    "dtp": ("#718aff", "d"),
    "sdtp": ("#c99ad5", "<"),
    "ao-sdtp": ("#50036f", "X"),
    "drl": ("#1a37dc", "*"),
    "ddtp-linear": ("#ae4e0b", "p"),
    "l-drl": ("#7a7e82", "P"),
    "stdp-association": ("#1a37dc", "D"),
    "softhebb": ("#22c283", "^"),
    "forward-forward": ("#d9a200", "v"),
    "pepita": ("#50036f", "s"),
    "shallow": ("#7a7e82", "h"),
}

DARK = {
    INK: "#e6e9ee",
    QUIET: "#9aa4b0",
    GRID: "#343b45",
    PAPER: "#161a20",
    "#1a37dc": "#1b4fff",
    "#ae4e0b": "#dc4403",
    "#22c283": "#54ff8e",
    "#835e3f": "#9c503b",
    "#718aff": "#a4a7ff",
    "#c99ad5": "#bca0c3",
    "#d9a200": "#fec90f",
    "#50036f": "#8c4f9e",
    "#7a7e82": "#6a6e72",
}
"""What stands for each colour of the figures on a dark screen."""


@dataclass(frozen=True)
class Look:
    """How a rule is drawn; where two share a colour, their markers differ."""

    color: str
    marker: str


def looks(rules: Iterable[str] | Mapping[str, str]) -> dict[str, Look]:
    """The look of each rule, in the order in which reports list them: backpropagation first.

    The rules of biograd look the same everywhere; others take the colours that this report leaves free,
    in alphabetical order, and then all of them again.

    Args:
        rules: names of rules; or the name that each goes by in this report, with its rule's: of several names
            of a rule, the rule's own one has its look, or else the first of the alphabet.

    Example:
        >>> list(looks(["mine", "fa", "bp"]))
        ['bp', 'fa', 'mine']
        >>> list(looks({"fast": "fa", "slow": "fa", "bp": "bp"}))
        ['bp', 'fast', 'slow']
    """
    rule_of = dict(rules) if isinstance(rules, Mapping) else {rule: rule for rule in rules}
    names = sorted(rule_of, key=lambda name: (_place(rule_of[name]), name != rule_of[name], name))
    owners = {rule_of[name]: name for name in reversed(names)}  # the first name of each rule
    known = {owners[rule]: Look(*_KNOWN[rule]) for rule in _KNOWN if rule in owners}
    others = _free_looks([name for name in names if name not in known], known.values())
    return {name: known.get(name) or others[name] for name in names}


def series(count: int) -> list[str]:
    """Colours of lines that are no rules: ink for the first, and colours that are easily told apart for the others.

    Example:
        >>> series(2)[0] == INK, len(set(series(7)))
        (True, 7)
    """
    others = [look.color for look in looks(("dfa", "fa", "usf", "kp", "wm", "drtp")).values()]
    return [INK, *(others[place % len(others)] for place in range(count - 1))]


def _free_looks(names: Sequence[str], known: Iterable[Look]) -> dict[str, Look]:
    """Colours that the known looks leave free, and then all of them, to each name in turn."""
    colors = list(dict.fromkeys(color for color, _ in _KNOWN.values() if color != INK))
    taken = {look.color for look in known}
    free = [color for color in colors if color not in taken] + colors
    markers = "H8>*d"
    return {
        name: Look(free[index % len(free)], markers[index % len(markers)]) for index, name in enumerate(names)
    }


def _place(rule: str) -> int:
    return list(_KNOWN).index(rule) if rule in _KNOWN else len(_KNOWN)
