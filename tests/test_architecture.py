import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import biograd
from biograd import data, nets, penalties, rules
from biograd.settings import Setting, describe

SOURCE = Path(biograd.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
DOCS = SOURCE.parents[1] / "docs"

FOUNDATION = {
    "checks",
    "printable",
    "errors",
    "tasks",
    "user_files",
    "identity",
    "handed",
    "registry",
    "searched",
    "settings",
    "executor",
    "progress",
    "statistics",
}
ARROWS = {
    "checks": set(),
    "printable": set(),
    "errors": {"printable"},
    "tasks": set(),
    "user_files": {"errors"},
    "identity": {"user_files"},
    "handed": {"identity"},
    "registry": {"handed"},
    "searched": {"errors"},
    "settings": {"searched"},
    "executor": {"registry", "settings"},
    "engines": {"executor"},
    "progress": set(),
    "statistics": set(),
    "layers": FOUNDATION,
    "nets": {"layers"},
    "data": FOUNDATION,
    "credit": {"layers"},
    "rules": {"credit"},
    "penalties": {"credit"},
    "diagnostics": {"rules"},
    "records": FOUNDATION,
    "training": {"nets", "data", "rules", "penalties", "diagnostics", "records"},
    "bench": {"training"},
    "robustness": {"training"},
    "tuning": {"training"},
    "studies": {"robustness", "tuning"},
    "report": {"records"},
    "theory": {"records"},
    "testing": {"rules"},
    "cli": {"bench", "studies", "report", "theory", "robustness", "tuning"},
}
"""Who may import whom: what a package names here, and what that may import in turn."""


def may_import(package: str) -> set[str]:
    direct = ARROWS[package]
    return direct.union(*(may_import(other) for other in direct))


def name_of(file: Path) -> str:
    return file.relative_to(SOURCE).as_posix()


def package_of(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_packages(file: Path) -> Iterator[str]:
    """The parts of biograd that a file imports, at the top or within functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if re.match(r"biograd\.[a-z]", name))


INSIDE = [file for file in MODULES if package_of(file) not in ("__init__", "__main__")]


def test_every_package_has_its_place_among_the_arrows():
    assert {package_of(file) for file in INSIDE} == set(ARROWS)


def test_a_module_imports_only_what_stands_before_it():
    wrong = {name_of(file): found for file in INSIDE if (found := imported_too_early(file))}
    assert wrong == {}


def imported_too_early(file: Path) -> set[str]:
    package = package_of(file)
    return set(imported_packages(file)) - {package} - may_import(package)


def test_the_arrows_have_no_circle():
    for package in ARROWS:
        assert package not in may_import(package)


def test_the_parts_that_must_not_know_each_other():
    assert "rules" not in may_import("nets") | may_import("data") | may_import("records") | may_import(
        "report"
    )
    assert "training" not in may_import("report") | may_import("rules") | may_import("diagnostics")


LOADED = """
import importlib, pkgutil, sys
import biograd
assert "biograd.rules" not in sys.modules
import biograd.cli
for module in pkgutil.walk_packages(biograd.cli.__path__, "biograd.cli."):
    importlib.import_module(module.name)
print([name for name in ("torch", "pydantic") if name in sys.modules])
"""


def test_importing_the_package_and_its_commands_loads_neither_torch_nor_pydantic():
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def public_definitions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{prefix}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{node.name}.")


def test_a_module_says_in_a_sentence_why_it_exists():
    assert [name_of(file) for file in MODULES if not ast.get_docstring(ast.parse(file.read_text()))] == []


def test_every_public_name_is_documented():
    bare = [
        f"{name_of(file)}: {name}"
        for file in MODULES
        for name, node in public_definitions(ast.parse(file.read_text()).body)
        if not _documented(node)
    ]
    assert bare == []


def _documented(node: ast.AST) -> bool:
    """Whether it has a docstring; an overload takes that of its last definition, a setter its getter's."""
    assert isinstance(node, ast.ClassDef | ast.FunctionDef)
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return bool(ast.get_docstring(node)) or bool(decorators & {"overload", "setter", "override"})


def test_every_name_of_the_package_can_be_had_and_is_documented():
    names = [name for name in biograd.__all__ if name != "__version__"]
    assert [name for name in names if not inspect.getdoc(getattr(biograd, name))] == []


def test_every_setting_is_explained_where_the_command_line_looks():
    unexplained = [
        f"{part.REGISTRY.kind} {name}: {setting.name}"
        for part in (rules, nets, data, penalties)
        for name in part.REGISTRY.names()
        for setting in describe(part.REGISTRY.find(name))
        if not is_explained(setting, part.REGISTRY.find(name))
    ]
    assert unexplained == []


def is_explained(setting: Setting, constructor: Callable[..., Any]) -> bool:
    text = inspect.cleandoc((setting.strategy or constructor).__doc__ or "")
    named = re.search(rf"^    {setting.name.rpartition('.')[2]}: \S", text, re.MULTILINE)
    return bool(setting.meaning) or named is not None


def test_every_rule_has_a_card_and_every_card_a_rule():
    cards = {card.stem for card in (DOCS / "rules").glob("*.md")} - {"index"}
    assert cards == set(rules.REGISTRY.names())
