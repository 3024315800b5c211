"""Readers find the same in a packed file as in the folder that was packed, and nobody writes into it."""

import os

import pytest
from tests.records.test_robustness import measurement
from tests.records.test_run_folder import RESULT

from biograd import records
from biograd.errors import UserMistake
from biograd.records import Run, find_runs, read_json, read_lines
from biograd.records.places import find, is_folder, read_bytes

RUN = {
    "rule": {"name": "fa", "settings": {}},
    "data": {"name": "digits", "settings": {}},
    "net": {"name": "mlp", "settings": {}},
}


@pytest.fixture
def folder(tmp_path):
    """Three runs, one of them unfinished and torn, beside what a study found."""
    root = tmp_path / "study"
    for seed, name in enumerate(("iris/fa-seed0", "iris/fa-seed1", "fa-seed2")):
        place = root / name
        place.mkdir(parents=True)
        records.write_json(place / "config.json", {**RUN, "seed": seed})
        records.append_line(place / "metrics.jsonl", epoch(seed))
        records.write_json(place / "result.json", RESULT | {"test_accuracy": 0.1 * seed})
    (root / "iris" / "fa-seed1" / "result.json").unlink()
    with (root / "iris" / "fa-seed1" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "tra')
    records.add_measurement(root / "fa-seed2", measurement("a"))
    records.write_json(root / "study.json", {"title": "A study"})
    return root


@pytest.fixture
def file(folder):
    return records.pack(folder).file


def epoch(seed):
    return {"epoch": 1, "step": 1, "train_loss": 0.1 * seed, "train_accuracy": 0.5, "seconds": 1.0}


def below(root, paths):
    return [path.relative_to(root).as_posix() for path in paths]


def test_runs_read_the_same_from_a_packed_file(folder, file):
    for ours, theirs in zip(find_runs(folder), find_runs(file), strict=True):
        assert vars(theirs) | {"folder": None} == vars(ours) | {"folder": None}
        assert theirs.folder == file / ours.folder.relative_to(folder)
        assert records.read_measurements(theirs.folder) == records.read_measurements(ours.folder)


def test_a_place_in_a_packed_file_is_read_as_a_folder(folder, file):
    assert below(file, [run.folder for run in find_runs(file / "iris")]) == ["iris/fa-seed0", "iris/fa-seed1"]
    assert Run.load(file / "iris" / "fa-seed1").status == "unfinished"
    assert read_json(file / "study.json") == {"title": "A study"}
    assert read_lines(file / "iris" / "fa-seed1" / "metrics.jsonl") == [epoch(1)]
    assert read_lines(file / "iris" / "fa-seed1" / "diagnostics.jsonl") == []


@pytest.mark.parametrize(
    "place", ["", "iris", "iris/fa-seed0", "iris/fa-seed0/config.json", "none", "iris/fa"]
)
def test_a_place_is_what_it_is_in_the_folder(folder, file, place):
    for tell in (records.exists, is_folder):
        assert tell(file / place) == tell(folder / place)
    assert below(file, records.folders(file / place)) == below(folder, records.folders(folder / place))
    assert below(file, find(file / place, "config.json")) == below(
        folder, find(folder / place, "config.json")
    )


def test_packed_files_among_folders_are_found_with_them(folder, file):
    (folder / "fa-seed2").rename(folder.with_name("zone"))
    found = below(folder.parent, [run.folder for run in find_runs(folder.parent)])
    packed = [f"study.records.xz/{name}" for name in ("fa-seed2", "iris/fa-seed0", "iris/fa-seed1")]
    assert found == ["study/iris/fa-seed0", "study/iris/fa-seed1", *packed, "zone"]


def test_a_packed_file_that_changes_is_read_again(folder, file):
    assert len(find_runs(file)) == 3
    records.write_json(folder / "fa-seed2" / "config.json", {**RUN, "seed": 9})
    records.pack(folder, replace=True)
    assert sorted(run.seed for run in find_runs(file)) == [0, 1, 9]


def test_what_is_drawn_goes_to_the_folder_that_would_be_unpacked(folder, file):
    assert records.unpacked(file / "iris") == folder / "iris"
    assert records.unpacked(folder / "iris") == folder / "iris"


def test_nothing_is_written_into_a_packed_file(file):
    before = file.read_bytes()
    for write in (
        lambda: records.write_json(file / "study.json", {}),
        lambda: records.append_line(file / "fa-seed2" / "metrics.jsonl", {}),
        lambda: records.add_measurement(file / "fa-seed2", measurement("b")),
    ):
        with pytest.raises(
            UserMistake, match=r"lies in a packed file, which is only read: biograd unpack .*xz"
        ):
            write()
    assert file.read_bytes() == before
    assert len(list(file.parent.iterdir())) == 2


def test_a_folder_whose_name_ends_like_a_packed_files_is_a_folder(folder):
    named = folder.rename(folder.with_name("study.records.xz"))
    assert not records.is_packed(named / "study.json")
    assert len(find_runs(named)) == 3
    assert len(find_runs(named.parent)) == 3


def test_a_record_that_is_not_there_and_a_file_that_is_none(file, tmp_path):
    with pytest.raises(FileNotFoundError):
        read_bytes(file / "none.json")
    with pytest.raises(UserMistake, match=r"cannot read .*none.json: no such record"):
        read_json(file / "none.json")
    with pytest.raises(UserMistake, match=r"is no run's folder"):
        Run.load(file / "iris")
    os.mkfifo(tmp_path / "pipe.records.xz")
    for read in (find_runs, records.unpack):
        with pytest.raises(UserMistake, match=r"there is no (folder|file) .*pipe.records.xz"):
            read(tmp_path / "pipe.records.xz")
    assert len(find_runs(tmp_path)) == 6
