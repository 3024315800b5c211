"""Records stay whole: whatever stops a write, a reader finds the old file or the new one."""

import errno
import json
import math
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from biograd.errors import RunFailed, UserMistake
from biograd.records import (
    append_line,
    atomic_write,
    read_json,
    read_lines,
    remove_leftovers,
    replacing,
    truncate_lines,
    write_json,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    atomic_write(tmp_path / "a", "old")
    atomic_write(tmp_path / "a", b"\x00new")
    assert (tmp_path / "a").read_bytes() == b"\x00new"
    assert names(tmp_path) == ["a"]


def test_text_is_written_as_utf8(tmp_path):
    atomic_write(tmp_path / "a", "± °")
    assert (tmp_path / "a").read_bytes() == "± °".encode()


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path):
    write_json(tmp_path / "result.json", {"accuracy": 0.5})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))  # the kernel refuses to write beyond it
    try:
        with pytest.raises(RunFailed, match=r"cannot write .*result.json: .+; what was there is as it was"):
            atomic_write(tmp_path / "result.json", b"x" * (1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_json(tmp_path / "result.json") == {"accuracy": 0.5}
    assert names(tmp_path) == ["result.json"]


def test_a_disk_that_fills_up_while_syncing_leaves_the_old_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    atomic_write(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFailed, match="No space left on device"):
        atomic_write(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_an_error_of_the_writer_leaves_the_old_file(tmp_path):
    atomic_write(tmp_path / "a", "old")

    def interrupted():
        with replacing(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_missing_folder_is_one_clear_line(tmp_path):
    with pytest.raises(RunFailed, match=r"cannot write .*none/a: No such file or directory"):
        atomic_write(tmp_path / "none" / "a", "x")


def test_who_has_the_old_file_open_reads_all_of_it(tmp_path):
    atomic_write(tmp_path / "a", "old")
    with open(tmp_path / "a") as reader:
        atomic_write(tmp_path / "a", "new")
        assert reader.read() == "old"


def test_a_kill_at_any_instant_leaves_a_whole_file(tmp_path):
    code = (
        "import sys; from biograd.records import atomic_write\n"
        "while True:\n"
        "    for sign in b'ab': atomic_write(sys.argv[1], bytes([sign]) * 20_000_000)"
    )
    for delay in (0.0, 0.013, 0.029):
        path = tmp_path / f"after-{delay}"
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
        while not path.exists():
            time.sleep(0.005)
        time.sleep(delay)
        writer.kill()
        writer.wait()
        content = path.read_bytes()
        assert content in (b"a" * 20_000_000, b"b" * 20_000_000)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["after-0.0", "after-0.013", "after-0.029"]


def test_nan_and_infinity_are_written_as_null(tmp_path):
    write_json(tmp_path / "a.json", {"loss": math.nan, "list": (math.inf, 1.5), "in": {"x": -math.inf}})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "loss": None,
        "list": [None, 1.5],
        "in": {"x": None},
    }


def test_nan_that_something_else_wrote_reads_as_null(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"loss": NaN}\n{"loss": -Infinity}\n')
    assert read_lines(tmp_path / "a.jsonl") == [{"loss": None}, {"loss": None}]


def test_a_path_is_written_as_text_and_other_values_are_refused(tmp_path):
    write_json(tmp_path / "a.json", {"run": tmp_path})
    assert read_json(tmp_path / "a.json") == {"run": str(tmp_path)}
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"run": object()})
    assert read_json(tmp_path / "a.json") == {"run": str(tmp_path)}


@pytest.mark.parametrize("durable", [False, True])
def test_lines_come_back_in_order_with_every_digit(tmp_path, durable):
    rows = [{"epoch": n, "loss": 0.1 + n / 3, "name": "Δ\n"} for n in range(5)]
    for row in rows:
        append_line(tmp_path / "m.jsonl", row, durable=durable)
    assert read_lines(tmp_path / "m.jsonl") == rows


def test_no_file_has_no_lines(tmp_path):
    assert read_lines(tmp_path / "none.jsonl") == []
    truncate_lines(tmp_path / "none.jsonl", lambda row: True)
    assert names(tmp_path) == []


def test_a_line_that_a_full_disk_refuses_leaves_those_before_it(tmp_path):
    path = tmp_path / "m.jsonl"
    append_line(path, {"epoch": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(RunFailed, match=r"cannot write .*m.jsonl"):
            append_line(path, {"pad": "x" * (1 << 20)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == '{"epoch": 1}\n'


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_appending_to_a_full_device_says_so():
    with pytest.raises(RunFailed, match="cannot write /dev/full: No space left on device"):
        append_line("/dev/full", {"epoch": 1})


@pytest.mark.parametrize("torn", ['{"epoch": 2, "lo', "\0\0\0\0", '{"epoch": 2', "{", "\xff\n"])
def test_a_torn_last_line_is_left_out(tmp_path, torn):
    path = tmp_path / "m.jsonl"
    path.write_text('{"epoch": 1}\n' + torn, encoding="latin-1")
    assert read_lines(path) == [{"epoch": 1}]


def test_in_a_file_that_is_whole_no_line_is_torn(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"epoch": 1}\n{"epoch": 2')
    with pytest.raises(UserMistake, match=r"m\.jsonl line 2: not valid JSON; restore the file"):
        read_lines(path, is_whole=True)


def test_a_last_line_that_misses_only_its_newline_counts(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"epoch": 1}\n{"epoch": 2}')
    assert read_lines(path) == [{"epoch": 1}, {"epoch": 2}]


@pytest.mark.parametrize("bad", ["{", "[1]", "3", '{"a": 1}}', "null", "\xff"])
def test_a_corrupted_line_before_the_last_is_named(tmp_path, bad):
    path = tmp_path / "m.jsonl"
    path.write_text(f'{{"epoch": 1}}\n{bad}\n{{"epoch": 3}}\n', encoding="latin-1")
    with pytest.raises(UserMistake, match=r"m.jsonl line 2: .*; restore the file") as caught:
        read_lines(path)
    assert "\n" not in str(caught.value)


def test_truncation_keeps_whole_lines_byte_for_byte_and_drops_the_torn_one(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step":10,  "x": 1e-3}\n{"step": 20}\n{"step": 30}\n{"ste')
    truncate_lines(path, lambda row: row["step"] <= 20)
    assert path.read_text() == '{"step":10,  "x": 1e-3}\n{"step": 20}\n'
    append_line(path, {"step": 30})
    assert [row["step"] for row in read_lines(path)] == [10, 20, 30]


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff"])
def test_a_corrupted_json_file_is_one_line_that_names_it(tmp_path, content):
    (tmp_path / "result.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserMistake, match=r"result.json: .*; restore the file") as caught:
        read_json(tmp_path / "result.json")
    assert "\n" not in str(caught.value)


def test_a_missing_json_file_is_one_line_that_names_it(tmp_path):
    with pytest.raises(UserMistake, match=r"cannot read .*result.json: No such file"):
        read_json(tmp_path / "result.json")
