from typing import Annotated, Literal

from annotated_types import Gt

from biograd.cli import describe
from biograd.registry import Registry


class Example:
    r"""An example, :math:`B = W^\top`,
    over two lines.

    More of it.

    Args:
        net: not a setting.
        widths: of the
            hidden layers.
        mode: how.
    """

    def __init__(
        self,
        net: object,
        *,
        widths: tuple[int, ...] = (3, 4),
        mode: Literal["a", "b"] = "a",
        rate: Annotated[float, Gt(0)],
        bias: bool = True,
        limit: int | None = None,
    ) -> None:
        """Nothing."""


class Heir(Example):
    def __init__(self, net: object) -> None:
        super().__init__(net, rate=1.0)


def test_the_summary_is_the_first_paragraph_on_one_line():
    assert describe.summary(Example) == "An example, B = Wᵀ, over two lines."


def test_settings_are_told_with_default_range_and_meaning():
    lines = describe.text("net", "example", Example).splitlines()
    assert lines[lines.index("Settings:") + 1 :] == [
        "  --net.widths  of the hidden layers (int, …; default 3,4)",
        "  --net.mode    how (a | b; default a)",
        "  --net.rate    (float > 0; must be given)",
        "  --net.bias    (bool; default true)",
        "  --net.limit   (int | none; default none)",
    ]


def test_the_row_holds_the_same():
    row = describe.row("example", Example)
    assert row["description"].endswith("More of it.")
    assert row["settings"][0] == {
        "name": "widths",
        "default": (3, 4),
        "required": False,
        "range": "int, …",
        "searched": None,
        "meaning": "of the hidden layers.",
    }
    assert (row["settings"][2]["default"], row["settings"][2]["required"]) == (None, True)


def test_an_inherited_docstring_is_not_taken_for_its_own():
    assert "(no description)" in describe.text("net", "heir", Heir)
    assert "No settings." in describe.text("net", "heir", Heir)


def test_one_that_cannot_be_imported_does_not_hide_the_others():
    registry = Registry("net", {"gone": "no.such.module:x", "here": f"{__name__}:Example"}, "biograd.none")
    summaries = describe.summaries(registry)
    assert summaries["gone"] == "cannot be used: ModuleNotFoundError: No module named 'no'"
    assert summaries["here"].startswith("An example")
