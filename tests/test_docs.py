import ast
import importlib
import re
import runpy
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from biograd.cli import make_parser
from biograd.cli.parsing import parse
from biograd.rules import REGISTRY

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/rules/*.md")])
RUNNABLE = [
    "README.md",
    "docs/index.md",
    "docs/adding-a-rule.md",
    "docs/diagnostics.md",
    "docs/penalties.md",
    "docs/robustness.md",
]

SURROUNDINGS = """
import torch, biograd
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
loss_fn = nn.functional.cross_entropy
rule = biograd.rules.create("fa", net)
optimizer = torch.optim.SGD(net.parameters(), 0.1)
x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
loader = [(x, y)]
"""
"""What a page may take for granted: the names of an ordinary training loop."""


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", RUNNABLE)
def test_the_python_of_a_page_runs(page, tmp_path):
    blocks = python_blocks(ROOT / page)
    assert blocks
    program = tmp_path / "page.py"
    program.write_text("\n".join([SURROUNDINGS, *blocks]))
    runpy.run_path(str(program))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_imports_is_there(page):
    for block in python_blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("biograd"):
                absent = [alias.name for alias in node.names if not exists(str(node.module), alias.name)]
                assert absent == []


def exists(module: str, name: str) -> bool:
    return hasattr(importlib.import_module(module), name) or bool(find_spec(f"{module}.{name}"))


COMMANDS = [
    pytest.param(line, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, line in enumerate(
        re.findall(r"^(?: {4}|\$ )?(biograd [a-z].*)", page.read_text(), re.MULTILINE), 1
    )
]


def test_there_are_commands_in_the_pages():
    assert len(COMMANDS) > 5


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_a_page_has_flags_that_there_are(line):
    words = shlex.split(line, comments=True)
    words = words[: words.index(">")] if ">" in words else words
    namespace = parse(make_parser(), words[1:])
    assert callable(namespace.run)


@pytest.mark.parametrize("name", REGISTRY.names())
def test_a_card_gives_equation_locality_limits_settings_and_published_numbers(name):
    card = (ROOT / "docs" / "rules" / f"{name}.md").read_text()
    assert card.startswith(f"# {name}: ")
    assert re.search(r"\$\$.*delta_l", card)
    for heading in ("What is local about it", "Limits", "Settings", "Published numbers"):
        assert f"\n## {heading}\n\n" in card
    assert f"```{{settings}} {name}\n" in card
    assert name == "shallow" or re.search(r"^## References?\n\n\w", card, re.MULTILINE)


def test_the_table_of_the_readme_names_every_rule():
    _, rules = (ROOT / "README.md").read_text().split("\n## The rules\n")
    assert re.findall(r"^\| `([\w-]+)`", rules, re.MULTILINE) == REGISTRY.names()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []
