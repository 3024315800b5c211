"""Pages of HTML from templates: what they have in common, whatever they show."""

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import biograd
from biograd.printable import printable
from biograd.report.drawing import Drawing
from biograd.report.palette import DARK
from biograd.report.svg import inline, variable


def templates() -> Environment:
    """The templates of pages; all that they show is escaped, has no control characters, and must be given.

    Every page knows ``version`` and the ``colors`` of its figures on light and dark screens; ``drawing|inline`` is a
    figure as part of it.
    """
    found = Environment(
        loader=PackageLoader("biograd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["inline"] = _inline
    found.globals["version"] = biograd.__version__
    found.globals["colors"] = {variable(light): (light, dark) for light, dark in DARK.items()}
    return found


def _shown(value: object) -> object:
    """Text without what a page cannot hold; lines stay lines, and what is markup already is left alone."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "\n".join(map(printable, value.split("\n")))


def _inline(drawing: Drawing) -> Markup:
    """The drawing as part of the page, moved sideways where the screen is narrower than its letters are readable.

    The XML writer has escaped what it holds.
    """
    svg = Markup(inline(drawing.svg, drawing.name, drawing.title))
    return Markup('<div class="drawing" tabindex="0" role="region" aria-label="{}">{}</div>').format(
        drawing.title, svg
    )
