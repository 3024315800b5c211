"""How the documentation is built: strictly, and readable without a network."""

from docutils import nodes
from docutils.parsers.rst import Directive
from latex2mathml.converter import convert
from sphinx.application import Sphinx

import biograd
from biograd import penalties, rules
from biograd.cli.describe import row
from biograd.tasks import KINDS

project = "biograd"
author = "the biograd developers"
version = release = biograd.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

default_role = "py:obj"
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
python_maximum_signature_line_length = 100
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = "biograd"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = html_show_copyright = False


class Settings(Directive):
    """``{settings} fa`` is the table of a rule's settings, read from its signature and docstring.

    ``{settings} decay penalties`` is that of a penalty.
    """

    required_arguments, optional_arguments = 1, 1

    def run(self) -> list[nodes.Node]:
        name, *package = self.arguments
        registry = {(): rules.REGISTRY, ("penalties",): penalties.REGISTRY}[tuple(package)]
        settings = row(name, registry.find(name))["settings"]
        if not settings:
            return [nodes.paragraph(text="None.")]
        lines = [[_code(s["name"]), _default(s), _text(s["range"]), _text(_meaning(s))] for s in settings]
        return [_table([_text(head) for head in ("setting", "default", "range", "meaning")], lines)]


class Rules(Directive):
    """``{rules}`` is the table of all rules, from what they declare."""

    def run(self) -> list[nodes.Node]:
        head = ["rule", "family", "weights that carry errors", "waits for", "passes", "nets", "tasks"]
        lines = [_declared(name) for name in rules.REGISTRY.built_in()]
        return [_table([_text(one) for one in head], lines)]


def _declared(name: str) -> list[nodes.Node]:
    declared = rules.declared(name)
    said = [str(declared[key]) for key in ("family", "error_weights", "waits_for", "forward_passes")]
    nets = ": ".join(filter(None, [declared["nets"], declared["needs"]]))
    link = nodes.reference("", name, internal=True, refuri=f"{name}.html")
    tasks = "any" if declared["tasks"] == KINDS else ", ".join(declared["tasks"])
    return [link, *(_text(one) for one in said), _text(nets), _text(tasks)]


def _meaning(setting: dict) -> str:
    return f"{setting['of']}: {setting['meaning']}" if "of" in setting else setting["meaning"]


def _default(setting: dict) -> nodes.Node:
    if setting["required"]:
        return _text("must be given")
    return _code("none" if setting["default"] in (None, (), []) else str(setting["default"]))


def _code(text: str) -> nodes.literal:
    return nodes.literal(text=text)


def _text(text: str) -> nodes.Text:
    return nodes.Text(text)


def _table(head: list[nodes.Node], lines: list[list[nodes.Node]]) -> nodes.table:
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in head), cols=len(head))
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *(_row(line) for line in lines))
    return nodes.table("", group)


def _row(cells: list[nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))


def _inline_formula(writer, node: nodes.math) -> None:
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _formula(writer, node: nodes.math_block) -> None:
    writer.body.append(f"<div class='formula'>{convert(node.astext(), display='block')}</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.add_directive("settings", Settings)
    app.add_directive("rules", Rules)
    # Browsers draw MathML themselves; the usual renderer fetches a script from a server.
    app.add_html_math_renderer("mathml", (_inline_formula, None), (_formula, None))
