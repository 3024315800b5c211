"""IDX files are read exactly, and what is no whole IDX file of bytes is refused in one line."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from biograd import data
from biograd.data.idx import read_idx
from biograd.errors import DataUnavailable
from tests.data.official_files import idx_bytes, mnist_files, write

arrays = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))


@settings(deadline=None)
@given(array=arrays, is_packed=st.booleans())
def test_what_is_written_is_read(tmp_path_factory, array, is_packed):
    folder = tmp_path_factory.mktemp("idx")
    content = idx_bytes(array)
    path = folder / ("some.gz" if is_packed else "some")
    path.write_bytes(gzip.compress(content) if is_packed else content)
    read = read_idx(path)
    assert read.dtype == np.uint8
    assert read.shape == array.shape
    assert (read == array).all()


@settings(deadline=None)
@given(
    content=st.binary(max_size=40)
    | arrays.map(idx_bytes).flatmap(lambda whole: st.binary().map(whole.__add__))
)
def test_any_bytes_are_either_read_whole_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("idx") / "some"
    path.write_bytes(content)
    again, refusal = content, str(path)
    try:
        again = idx_bytes(read_idx(path))
    except DataUnavailable as error:
        refusal = str(error)
    assert again == content
    assert str(path) in refusal
    assert "\n" not in refusal


GOOD = idx_bytes(np.arange(12).reshape(3, 4))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it starts with ''"),
        (b"\1\0\x08\2" + GOOD[4:], "it starts with '01 00 08 02'"),
        (b"\0\0\x0d\2" + GOOD[4:], "it starts with '00 00 0d 02'"),
        (b"\0\0\x08\0", "its header is cut short"),
        (GOOD[:9], "its header is cut short"),
        (b"\0\0\x08\2" + b"\xff" * 8, "its header says [4294967295, 4294967295], more than 8 dimensions or"),
        (b"\0\0\x08\x41" + bytes(4 * 65), "its header says 65 dimensions, more than 8 dimensions or"),
        (GOOD[:-1], "it holds 11 bytes of data where its header says [3, 4]"),
        (GOOD + b"x", "it holds more than 12 bytes of data where its header says [3, 4]"),
    ],
)
def test_a_broken_file_is_refused_with_the_reason(tmp_path, content, why):
    (tmp_path / "some").write_bytes(content)
    with pytest.raises(DataUnavailable) as caught:
        read_idx(tmp_path / "some")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [GOOD, gzip.compress(GOOD)[:-9], gzip.compress(GOOD)[:5], gzip.compress(GOOD)[:-8] + b"12345678"],
    ids=["not packed", "cut short", "cut within its header", "of another sum"],
)
def test_a_broken_package_is_refused(tmp_path, content):
    (tmp_path / "some.gz").write_bytes(content)
    with pytest.raises(DataUnavailable, match=r"some.gz is not an official file: it cannot be unpacked"):
        read_idx(tmp_path / "some.gz")


def test_packed_and_unpacked_files_give_the_same_set(tmp_path):
    write(tmp_path / "packed" / "mnist", mnist_files())
    unpacked = {name.removesuffix(".gz"): gzip.decompress(content) for name, content in mnist_files().items()}
    write(tmp_path / "unpacked" / "mnist", unpacked)
    one, other = (
        data.load("mnist", directory=tmp_path / form, download=False) for form in ("packed", "unpacked")
    )
    assert one.train.inputs.equal(other.train.inputs)
    assert one.test.targets.equal(other.test.targets)
    assert one.input_shape == (1, 28, 28)
    assert one.train.targets.tolist() == [index % 10 for index in range(30)]


@pytest.mark.parametrize(
    ("changed", "array", "why"),
    [
        (
            "train-images-idx3-ubyte.gz",
            np.zeros((29, 28, 28)),
            "train images of (29, 28, 28) and labels of (30,)",
        ),
        ("train-images-idx3-ubyte.gz", np.zeros((30, 28, 27)), "train images of (30, 28, 27)"),
        ("t10k-images-idx3-ubyte.gz", np.zeros((20, 784)), "t10k images of (20, 784)"),
        ("t10k-labels-idx1-ubyte.gz", np.full(20, 10), "a t10k label is 10, expected 0 to 9"),
        ("t10k-labels-idx1-ubyte.gz", np.zeros((20, 1)), "labels of (20, 1)"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(tmp_path, changed, array, why):
    write(tmp_path / "mnist", {**mnist_files(), changed: gzip.compress(idx_bytes(array))})
    with pytest.raises(DataUnavailable) as caught:
        data.load("mnist", directory=tmp_path, download=False)
    assert why in str(caught.value)
