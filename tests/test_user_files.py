"""A file of the user's own is what it was when it was read, with all of the user's own that it imports."""

import sys

import pytest

from biograd import user_files
from biograd.errors import UserMistake


@pytest.fixture
def write(tmp_path):
    def written(text, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return written


def known(file):
    return {path.rpartition("/")[2] for path in user_files.contents(file)}


def test_a_file_is_known_by_what_it_imports_beside_it_and_they_in_turn(write):
    write("from more.deeper import last", "helper.py")
    write("", "more/__init__.py")
    write("import torch, numpy", "more/deeper.py")
    write("", "unused.py")
    mine = write("import json, torch\nfrom biograd import Rule\ndef late():\n    from helper import x\n")
    assert known(mine) == {"mine.py", "helper.py", "__init__.py", "deeper.py"}


def test_a_module_that_python_finds_elsewhere_counts_unless_it_is_installed(write, tmp_path, monkeypatch):
    write("", "elsewhere/shared_by_all.py")
    write("", "site-packages/installed_one.py")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    mine = write("import shared_by_all, installed_one, pytest, no_such_module")
    assert known(mine) == {"mine.py", "shared_by_all.py"}


def test_of_two_modules_of_a_name_the_one_beside_and_the_one_that_python_finds_count(
    write, tmp_path, monkeypatch
):
    write("VALUE = 1", "rules/shared_name.py")
    found = write("VALUE = 2", "shared_name.py")
    monkeypatch.syspath_prepend(tmp_path)
    mine = write("from shared_name import VALUE", "rules/mine.py")
    assert user_files.imported(mine).VALUE == 2
    assert {str(found), str(mine.with_name("shared_name.py"))} < set(user_files.contents(mine))
    del sys.modules["shared_name"]


def test_a_file_stays_as_it_was_read_until_it_is_renewed(write):
    mine = write("VALUE = 1")
    before = user_files.contents(mine)
    write("VALUE = 2")
    assert user_files.imported(mine).VALUE == 1
    assert user_files.contents(mine) == before
    user_files.renew([f"{mine}:VALUE"])
    assert user_files.imported(mine).VALUE == 2
    assert user_files.contents(mine) != before


def test_what_is_renewed_imports_its_neighbours_anew(write, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write("VALUE = 1", "neighbour_of_mine.py")
    mine = write("from neighbour_of_mine import VALUE")
    assert user_files.imported(mine).VALUE == 1
    write("VALUE = 2", "neighbour_of_mine.py")  # of the same length, in the same second
    user_files.renew([f"{mine}:VALUE"])
    assert user_files.imported(mine).VALUE == 2
    del sys.modules["neighbour_of_mine"]


def test_a_file_that_did_not_change_is_not_imported_again(write):
    mine = write("VALUE = object()")
    value = user_files.imported(mine).VALUE
    user_files.renew([f"{mine}:VALUE"])
    assert user_files.imported(mine).VALUE is value


def test_an_error_shows_the_users_lines_alone_as_they_were_when_read(write):
    mine = write(
        "import json\n\ndef outer(text):\n    return inner(text)\n\ndef inner(text):\n    return json.loads(text)\n"
    )
    module = user_files.imported(mine)
    write("# another text\n" * 9)
    message = rf"^{mine} failed: JSONDecodeError: Expecting value"
    with pytest.raises(UserMistake, match=message) as caught, user_files.told():
        module.outer("no JSON")
    assert caught.value.lines.splitlines() == [
        f'  File "{mine}", line 4, in outer',
        "    return inner(text)",
        f'  File "{mine}", line 7, in inner',
        "    return json.loads(text)",
    ]


def test_deep_recursion_shows_a_few_lines(write):
    module = user_files.imported(write("def down(n):\n    return down(n + 1)\n"))
    with pytest.raises(UserMistake, match="RecursionError") as caught, user_files.told():
        module.down(0)
    assert len(caught.value.lines.splitlines()) < 25


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(28, "No space left on device"), RuntimeError("CUDA out of memory")]
)
def test_want_of_memory_or_room_is_nobodys_mistake(write, error):
    module = user_files.imported(write("def fail(error):\n    raise error\n"))
    with pytest.raises(type(error)), user_files.told():
        module.fail(error)


def test_an_error_of_ours_goes_on(write):
    user_files.imported(write("VALUE = 1"))
    with pytest.raises(ZeroDivisionError), user_files.told():
        1 / 0  # noqa: B018


def test_a_syntax_error_shows_its_line(write):
    mine = write("x = 1\ndef broken(:\n")
    with pytest.raises(UserMistake, match="cannot be imported: SyntaxError") as caught:
        user_files.imported(mine)
    assert f'File "{mine}", line 2' in caught.value.lines
    assert "def broken(:" in caught.value.lines
