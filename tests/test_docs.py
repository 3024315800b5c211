import ast
import importlib
import re
import runpy
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from biograd.cli import make_parser
from biograd.cli.parsing import parse
from biograd.errors import UserMistake
from biograd.rules import REGISTRY

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/rules/*.md")])
RUNNABLE = [
    "README.md",
    "docs/index.md",
    "docs/adding-a-rule.md",
    "docs/diagnostics.md",
    "docs/nets.md",
    "docs/penalties.md",
    "docs/robustness.md",
    "docs/your-own.md",
    "docs/rules/dtp.md",
    "docs/rules/forward-forward.md",
    "docs/rules/index.md",
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


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", RUNNABLE)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks(ROOT / page)
    assert blocks
    program = tmp_path / "page.py"
    program.write_text("\n".join([SURROUNDINGS, *blocks]))
    runpy.run_path(str(program))


def test_the_commands_for_what_is_your_own_run(biograd, blank_figures, tmp_path, monkeypatch):
    commands = commands_of(ROOT / "docs" / "your-own.md")
    assert len(commands) == 3
    (tmp_path / "your_own.py").symlink_to(ROOT / "examples" / "your_own.py")
    monkeypatch.chdir(tmp_path)
    for line in commands:
        ended = biograd(*shlex.split(line)[1:])
        assert ended.code == 0, ended.err


def test_what_a_page_imports_is_there():
    absent = [
        f"{name_of(page)}: {module}.{name}"
        for page in PAGES
        for module, name in imported_from_biograd(page)
        if not exists(module, name)
    ]
    assert absent == []


def imported_from_biograd(page: Path) -> Iterator[tuple[str, str]]:
    for block in python_blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("biograd"):
                yield from ((str(node.module), alias.name) for alias in node.names)


def exists(module: str, name: str) -> bool:
    return hasattr(importlib.import_module(module), name) or bool(find_spec(f"{module}.{name}"))


def test_a_command_of_a_page_has_flags_that_there_are():
    commands = [(page, line) for page in PAGES for line in commands_of(page)]
    assert len(commands) > 5
    refused = {f"{name_of(page)}: {line}": reason for page, line in commands if (reason := refusal(line))}
    assert refused == {}


def commands_of(page: Path) -> list[str]:
    return re.findall(r"^(?: {4}|\$ )?(biograd [a-z].*)", page.read_text(), re.MULTILINE)


def refusal(line: str) -> str | None:
    """What the command line says against a command, None where it would run."""
    words = shlex.split(line, comments=True)
    words = words[: words.index(">")] if ">" in words else words
    try:
        return None if callable(parse(make_parser(), words[1:]).run) else "nothing to run"
    except UserMistake as mistake:
        return str(mistake)


def test_a_card_gives_equation_locality_limits_settings_and_published_numbers():
    lacking = {name: found for name in REGISTRY.names() if (found := lacks(name))}
    assert lacking == {}


def lacks(name: str) -> list[str]:
    """What a card has not, of all that a card has."""
    card = (ROOT / "docs" / "rules" / f"{name}.md").read_text()
    headings = ("What is local about it", "Limits", "Settings", "Published numbers")
    parts = {
        "title": rf"\A# {name}: ",
        "equation": r"\$\$.*delta_l",
        **{heading: rf"\n## {heading}\n\n" for heading in headings},
        "table of settings": rf"```\{{settings\}} {name}\n",
        **({} if name in ("shallow", "frozen") else {"reference": r"\n## References?\n\n\w"}),
    }
    return [part for part, pattern in parts.items() if not re.search(pattern, card)]


def test_the_readme_puts_rules_into_the_families_that_they_declare():
    _, part = (ROOT / "README.md").read_text().split("\n## The rules\n")
    family = ""
    for words, names in re.findall(r"^\| ([a-z ]*) ?\| ((?:`[\w-]+` ?)+)\|", part, re.MULTILINE):
        family = words.strip() or family
        assert {REGISTRY.find(name).family for name in re.findall(r"`([\w-]+)`", names)} == {family}
    assert family == "baseline"


def test_links_to_files_lead_somewhere():
    broken = [
        f"{name_of(page)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_walks_on_the_page_of_architecture_pass_files_that_are_there_and_none_twice():
    _, page = (ROOT / "docs" / "architecture.md").read_text().split("\n## Two walks\n")
    walks = page.split("\n## ")[0].split("*A row, ")
    for walk in walks:
        passed = re.findall(r"^\d+\. `([\w/.]+)`", walk, re.MULTILINE)
        assert 5 < len(passed) == len(set(passed))
        assert [file for file in passed if not (ROOT / "src" / "biograd" / file).is_file()] == []
