"""A run on files of the user's own goes on from any folder, and not on other examples."""

import numpy as np
import pytest

from biograd.errors import UserMistake
from biograd.training import compare, resume, train


def write(path, shift=0.0):
    labels = np.arange(60) % 3
    inputs = np.random.default_rng(0).normal(size=(60, 6)) + labels[:, None] + shift
    np.savez(path, x=inputs, y=labels)


@pytest.fixture
def own(make_config, tmp_path, monkeypatch):
    """A run of two epochs of five batches on a file in the working folder."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine.npz")
    return lambda: make_config(data="arrays:mine.npz")


def test_a_run_goes_on_from_another_folder_to_the_same_bits(own, tmp_path, monkeypatch, stop_after, bits):
    train(own(), tmp_path / "whole")
    stop_after(7)
    with pytest.raises(KeyboardInterrupt):
        train(own(), tmp_path / "stopped")
    stop_after(None)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert resume(tmp_path / "stopped")["data"] == "mine"
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")


def test_a_path_that_is_left_out_is_asked_for(make_config):
    with pytest.raises(UserMistake, match="say which, folder:PATH"):
        make_config(data="folder:")


def test_a_run_on_a_file_that_has_changed_is_refused(own, tmp_path, stop_after):
    stop_after(7)
    with pytest.raises(KeyboardInterrupt):
        train(own(), tmp_path / "run")
    stop_after(None)
    write(tmp_path / "mine.npz", shift=1)
    with pytest.raises(UserMistake, match="the data has other examples than when the run in"):
        resume(tmp_path / "run")


def test_a_comparison_knows_a_file_that_was_moved_and_not_one_that_has_changed(own, make_config, tmp_path):
    (first,) = compare([own()], tmp_path / "all")
    (tmp_path / "moved").mkdir()
    (tmp_path / "mine.npz").rename(tmp_path / "moved/mine.npz")
    moved = make_config(data="arrays:moved/mine.npz")
    assert compare([moved], tmp_path / "all") == [first]
    write(tmp_path / "mine.npz", shift=1)
    with pytest.raises(UserMistake, match="the data has other examples"):
        compare([own()], tmp_path / "all")
