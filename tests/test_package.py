"""What a user installs, and what type checkers see of it."""

import ast
from pathlib import Path
from zipfile import ZipFile

import pytest

import biograd

SOURCE = Path(biograd.__file__).parent


def test_the_package_says_that_it_is_typed():
    assert (SOURCE / "py.typed").is_file()


def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    wheel = pytest.importorskip("hatchling.builders.wheel")
    built = next(
        wheel.WheelBuilder(str(SOURCE.parents[1])).build(directory=str(tmp_path), versions=["standard"])
    )
    files = {file for file in SOURCE.rglob("*") if file.is_file() and file.parent.name != "__pycache__"}
    assert {file.relative_to(SOURCE.parent).as_posix() for file in files} <= set(ZipFile(built).namelist())


def test_type_checkers_see_the_names_that_load_when_they_are_used():
    seen = {
        alias.asname: line.module
        for node in ast.walk(ast.parse((SOURCE / "__init__.py").read_text()))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for line in node.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert seen == {**biograd._LAZY, **dict.fromkeys(biograd._MODULES, "biograd")}
