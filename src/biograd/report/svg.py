"""From a figure's SVG file to SVG that lives inside a page, beside others."""

import re
import xml.etree.ElementTree as ET

from biograd.report.palette import DARK

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_COLOR = re.compile("|".join(DARK), re.IGNORECASE)

ET.register_namespace("", _SVG)
ET.register_namespace("xlink", _XLINK)


def inline(svg: str, prefix: str, description: str) -> str:
    """Make an SVG file part of an HTML page.

    Every id and reference gets ``prefix``, so that several drawings can share a page; colours become
    variables of the style sheet, so that they follow a dark screen; comments and metadata are dropped;
    the drawing takes the width it is given, but for one that would make it too large, or its letters too small to read.

    Args:
        svg: a file as matplotlib writes it.
        prefix: unique in the page, letters, digits and dashes.
        description: what the drawing shows, for those who cannot see it.
    """
    root = ET.fromstring(svg)
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            element.set(name, _adapt(name, value, prefix))
    _fit(root, description)
    return ET.tostring(root, encoding="unicode")


def variable(color: str) -> str:
    """The style sheet's variable for a colour of the figures.

    Example:
        >>> variable("#1F2328")
        '--c-1f2328'
    """
    return f"--c-{color.lower().removeprefix('#')}"


def _adapt(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if name in ("href", f"{{{_XLINK}}}href") and value.startswith("#"):
        return f"#{prefix}-{value[1:]}"
    value = _REFERENCE.sub(rf"url(#{prefix}-\1)", value)
    return _COLOR.sub(lambda match: f"var({variable(match[0])})", value) if name == "style" else value


def _fit(root: ET.Element, description: str) -> None:
    width = float(root.attrib.pop("width", "0").removesuffix("pt"))
    root.attrib.pop("height", None)
    root.set("style", f"max-width: {width * 1.75:.0f}px; min-width: {width * 1.2:.0f}px")
    root.set("role", "img")
    root.set("aria-label", description)
