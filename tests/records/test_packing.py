"""Packing keeps every record, says what it leaves out, and never writes over other content unasked."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biograd.errors import RunFailed, UserMistake
from biograd.records import pack, packed, unpack

TREES = st.dictionaries(
    st.lists(st.sampled_from(["a", "b-seed0", "λ", "with space"]), max_size=3).map("/".join),
    st.dictionaries(
        st.sampled_from(["config.json", "metrics.jsonl", "study.json", "fa-3.json"]),
        st.text(st.characters(exclude_categories=["Cs"])).map(str.encode),
        min_size=1,
    ),
    min_size=1,
)


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def read(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture
def folder(tmp_path):
    return write(
        tmp_path / "runs",
        {
            "fa-seed0/config.json": b"{}",
            "fa-seed0/metrics.jsonl": b'{"epoch": 1}\n{"ep',
            "fa-seed1/config.json": b"{}",
            "fa-seed1/result.json": b"{}",
        },
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(tree=TREES)
def test_a_folder_comes_back_byte_for_byte(tmp_path_factory, tree):
    root = tmp_path_factory.mktemp("tree")
    files = {f"{folder}/{name}".lstrip("/"): text for folder, of in tree.items() for name, text in of.items()}
    made = pack(write(root / "runs", files))
    again, count = unpack(made.file, root / "again")
    assert read(again) == files
    assert (made.records, count) == (len(files), len(files))
    assert pack(again).file.read_bytes() == made.file.read_bytes()


def test_what_was_packed_is_told(folder):
    made = pack(folder)
    assert made.file == folder.with_name("runs.records.xz")
    assert (made.records, made.runs, made.unfinished) == (4, 2, 1)
    assert (made.text, made.size) == (23, made.file.stat().st_size)
    assert made.left_out == {}


def test_what_is_no_record_is_left_out_and_counted(folder, tmp_path):
    others = (
        "fa-seed0/checkpoint.safetensors",
        "fa-seed1/checkpoint.safetensors",
        "mine.py",
        ".git/a.json",
        ".lock",
    )
    write(folder, dict.fromkeys(others, b"\xff"))
    (folder / "linked.json").symlink_to(folder / "fa-seed0" / "config.json")
    os.mkfifo(folder / "pipe.json")
    made = pack(folder)
    assert made.left_out == {"checkpoint.safetensors": 2} | dict.fromkeys(
        (".lock", "a.json", "linked.json", "mine.py", "pipe.json"), 1
    )
    assert next(iter(made.left_out)) == "checkpoint.safetensors"
    assert sorted(read(unpack(made.file, tmp_path / "again")[0])) == sorted(
        f"fa-seed{name}" for name in ("0/config.json", "0/metrics.jsonl", "1/config.json", "1/result.json")
    )


def test_the_same_content_is_not_written_again_and_other_content_only_when_asked(folder):
    file = pack(folder).file
    written = file.stat().st_mtime_ns
    assert pack(folder).file.stat().st_mtime_ns == written
    (folder / "fa-seed0" / "config.json").write_bytes(b"{ }")
    before = file.read_bytes()
    with pytest.raises(UserMistake, match=r"runs.records.xz is there with other content: .*--replace"):
        pack(folder)
    assert file.read_bytes() == before
    assert pack(folder, replace=True).file.read_bytes() != before
    file.write_bytes(b"a thesis")
    with pytest.raises(UserMistake, match=r"is there with other content"):
        pack(folder)


def test_what_cannot_be_packed_is_told_in_a_line(folder, tmp_path, monkeypatch):
    for source, file, complaint in (
        (tmp_path / "none", None, r"there is no folder .*none; give one that holds runs"),
        (folder / "fa-seed0" / "config.json", None, r"there is no folder"),
        (folder, tmp_path / "a.zip", r"a.zip does not end in .records.xz"),
        (folder, tmp_path / ".records.xz", r"does not end in .records.xz"),
        (write(tmp_path / "no", {"a.txt": b""}), None, r"holds no records \(.json, .jsonl\)"),
        (
            write(tmp_path / "bytes", {"a.json": b"\xff"}),
            None,
            r"cannot be packed: a.json is no text in UTF-8",
        ),
        (write(tmp_path / "name", {"a\nb.json": b""}), None, r"cannot be packed: 'a\\nb.json' is no name"),
        (
            write(tmp_path / "twice", {"b.records.xz": b"", "a.json": b""}),
            None,
            r"b.records.xz is packed already",
        ),
    ):
        with pytest.raises(UserMistake, match=complaint):
            pack(source, file)
    monkeypatch.setattr(packed, "LARGEST", 20)
    with pytest.raises(UserMistake, match=r"the records of .*runs have 23 bytes, more than the 20"):
        pack(folder)
    assert not list(tmp_path.glob("*.records.xz"))


def test_unpacking_goes_on_where_it_was_stopped(folder, tmp_path):
    file = pack(folder).file
    again = write(tmp_path / "again", {"report.html": b"mine", "fa-seed0/config.json": b"{}"})
    unpack(file, again)
    assert read(again) == read(folder) | {"report.html": b"mine"}


@pytest.mark.parametrize("there", ["fa-seed1/config.json", "fa-seed1", "fa-seed1/config.json/a"])
def test_unpacking_leaves_what_is_there(folder, tmp_path, there):
    again = write(tmp_path / "again", {there: b"mine"})
    with pytest.raises(UserMistake, match=r"fa-seed1.* is there with other content"):
        unpack(pack(folder).file, again)
    assert read(again) == {there: b"mine"}


def test_unpacking_follows_no_link_out_of_its_folder(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "fa-seed1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserMistake, match=r"leads out of .*again by a link"):
        unpack(pack(folder).file, tmp_path / "again")
    assert not read(tmp_path / "elsewhere")


def test_the_folder_of_a_dot_is_packed_beside_itself(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert pack(".").file.resolve() == folder.with_name("runs.records.xz")


def test_a_full_disk_leaves_the_old_file(folder, monkeypatch):
    file = pack(folder).file
    before = file.read_bytes()
    (folder / "a.json").write_bytes(b"{}")
    monkeypatch.setattr(
        os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(RunFailed, match=r"cannot write .*No space left"):
        pack(folder, replace=True)
    assert file.read_bytes() == before
    assert [path.name for path in folder.parent.iterdir() if path.is_file()] == [file.name]
