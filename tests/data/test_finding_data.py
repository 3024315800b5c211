"""Which folder is read, who else's data sets can be named, and what is at hand."""

import subprocess
import sys
from pathlib import Path

import pytest

from biograd import data
from biograd.errors import DataUnavailable, UserMistake
from tests.data.official_files import cifar10_files, mnist_files, write


def first_pixels(directory, name="mnist"):
    return data.load(name, directory=directory, download=False).train.inputs[0].flatten()[:20].tolist()


def test_the_argument_comes_before_the_variable_and_that_before_the_cache(tmp_path, monkeypatch):
    folders = {}
    for seed, name in enumerate(("argument", "variable", "cache")):
        write(tmp_path / name / "mnist", mnist_files(seed=seed))
        folders[name] = first_pixels(tmp_path / name)
    monkeypatch.setattr(
        "pooch.os_cache", lambda project: tmp_path / "cache" if project == "biograd" else None
    )
    assert first_pixels(None) == folders["cache"]
    monkeypatch.setenv("BIOGRAD_DATA", str(tmp_path / "variable"))
    assert first_pixels(None) == folders["variable"]
    assert first_pixels(tmp_path / "argument") == folders["argument"]
    assert len({tuple(pixels) for pixels in folders.values()}) == 3


@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw", "."])
def test_the_folders_that_hold_the_official_files_are_used_as_they_are(tmp_path, folder):
    root = tmp_path / "mnist"
    write(root / folder, mnist_files())
    assert first_pixels(root)


@pytest.mark.parametrize("folder", ["cifar-10-batches-py", "cifar10/cifar-10-batches-py", "."])
def test_a_folder_of_pickles_is_used_as_it_is(tmp_path, folder):
    root = tmp_path / "cifar-10-batches-py"
    write(root / folder, cifar10_files())
    assert first_pixels(root, "cifar10")


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist"])
def test_another_sets_folder_with_the_same_file_names_is_not_mistaken_for_it(tmp_path, name):
    write(tmp_path / "mnist", mnist_files())
    for directory in (tmp_path, tmp_path / "mnist"):
        with pytest.raises(DataUnavailable, match=r"lacks train-images-idx3-ubyte.gz"):
            data.load(name, directory=directory, download=False)


def test_a_folder_that_is_not_there_or_is_a_file_is_said_in_one_line(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"")
    for name in ("mnist", "iris"):
        with pytest.raises(DataUnavailable, match=r"nowhere does not exist"):
            data.load(name, directory=tmp_path / "nowhere")
        with pytest.raises(DataUnavailable, match=r"file is a file"):
            data.load(name, directory=file)
    monkeypatch.setenv("BIOGRAD_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataUnavailable, match=r"\$BIOGRAD_DATA .*nowhere does not exist"):
        data.load("mnist")
    with pytest.raises(DataUnavailable, match=r"\$BIOGRAD_DATA .*nowhere does not exist"):
        data.cached()


def test_unknown_names_and_settings_are_the_users_mistake():
    with pytest.raises(UserMistake, match="unknown data set 'mnits': did you mean 'mnist'"):
        data.load("mnits")
    with pytest.raises(UserMistake, match="data 'mnist' has no setting 'augment'"):
        data.load("mnist", augment=True)


OWN = '''
"""A set of one's own."""
import torch
from biograd.data import Classes, DataSet, Preprocessing, Split

def stripes(directory, download, seed, *, examples: int = 4) -> DataSet:
    """Stripes, upright or lying."""
    split = Split(torch.zeros(examples, 1, 2, 2), torch.arange(examples) % 2)
    return DataSet("stripes", split, split, Classes(("upright", "lying")), Preprocessing((0.0,), (1.0,)))

def nothing(directory, download, seed):
    return None
'''


def test_a_set_of_ones_own_is_one_file(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    name = f"{tmp_path / 'own.py'}:stripes"
    assert len(data.load(name, examples="6").train) == 6
    description = data.describe(name)
    assert (description.summary, description.card) == ("Stripes, upright or lying.", None)
    assert [setting.name for setting in description.settings] == ["examples"]
    with pytest.raises(UserMistake, match=r"gave a NoneType, expected a biograd.data.DataSet"):
        data.load(f"{tmp_path / 'own.py'}:nothing")


def test_the_cache_says_what_is_there_and_how_large_it_is(tmp_path):
    files = mnist_files()
    write(tmp_path / "mnist", files)
    write(tmp_path / "kmnist", dict(list(files.items())[:1]))
    rows = {row.name: row for row in data.cached(tmp_path)}
    assert list(rows) == data.names()
    assert rows["mnist"].state == "present"
    assert rows["mnist"].bytes == sum(len(content) for content in files.values())
    assert rows["mnist"].folder == tmp_path / "mnist"
    assert rows["kmnist"].state == "partial"
    assert (rows["cifar10"].state, rows["cifar10"].bytes) == ("absent", 0)
    assert (rows["iris"].state, rows["iris"].folder) == ("embedded", None)


def test_every_set_is_described_and_its_source_complete():
    for name in data.names():
        description = data.describe(name)
        assert description.summary.endswith(".")
        source = description.card.source
        if source is not None:
            assert all(mirror.endswith("/") for mirror in source.mirrors)
            assert all(len(checksum) == len("sha256:") + 64 for checksum in source.downloads.values())
            assert source.archive or set(source.files) == set(source.downloads)


def test_names_descriptions_and_the_cache_load_neither_torch_nor_pydantic(tmp_path):
    script = (
        "import sys; from biograd import data; data.names(); data.describe('mnist'); data.cached(sys.argv[1]);"
        "print(sorted({'torch', 'pydantic', 'sklearn', 'numpy'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_package_names_what_it_exports():
    assert all(getattr(data, name) for name in data.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = data.nothing
    assert Path(data.__file__).name == "__init__.py"
