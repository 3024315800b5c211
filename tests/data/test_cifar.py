"""CIFAR pickles are read as data; whatever else a pickle asks for is refused and never run."""

import os
import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biograd import data
from biograd.data.cifar import read_pickle
from biograd.errors import DataUnavailable
from tests.data.official_files import CIFAR10_NAMES, cifar10_files, python2_names, python2_pickle, write

PIXELS = np.arange(2 * 3072).reshape(2, 3072) % 256


def pickled(tmp_path, content):
    (tmp_path / "batch").write_bytes(content)
    return tmp_path / "batch"


def test_a_pickle_of_python_2_is_read(tmp_path):
    content = read_pickle(pickled(tmp_path, python2_pickle(PIXELS, [3, 7])))
    assert content["labels"] == [3, 7]
    assert (content["data"].array == PIXELS).all()


def test_a_pickle_of_todays_numpy_is_read(tmp_path):
    written = pickle.dumps({"data": PIXELS.astype(np.uint8), "labels": [3, 7]}, protocol=3)
    content = read_pickle(pickled(tmp_path, written))
    assert (content["data"].array == PIXELS).all()


class Asks:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_a_pickle_that_runs_a_command_is_refused_and_nothing_run(tmp_path):
    marker = tmp_path / "marker"
    forged = pickle.dumps({"data": Asks(os.system, f"touch {marker}"), "labels": []}, protocol=2)
    with pytest.raises(DataUnavailable, match=r"it asks for \w+.system, which is refused"):
        read_pickle(pickled(tmp_path, forged))
    assert not marker.exists()
    pickle.loads(forged)  # noqa: S301  (the pickle does what it is feared to do)
    assert marker.exists()


@pytest.mark.parametrize(
    ("forged", "why"),
    [
        (pickle.dumps({"data": Asks(eval, "1")}, protocol=2), "it asks for"),
        (pickle.dumps({"data": Asks(getattr, "text", "upper")}, protocol=4), "it asks for"),
        (pickle.dumps({"data": np.float64(1.0)}, protocol=3), "it asks for"),
        (pickle.dumps({"data": np.ma.zeros(3, dtype=np.uint8)}, protocol=3), "it asks for"),
        (pickle.dumps({"data": b"x"}, protocol=2), "it asks for _codecs.encode"),
        (pickle.dumps({"data": np.arange(3.0)}, protocol=3), "an array of type 'f8'"),
        (pickle.dumps({"data": np.array([b"x"])}, protocol=3), "an array of type 'S1'"),
        (pickle.dumps({"data": np.array([{}], dtype=object)}, protocol=3), "an array of type 'O8'"),
        (
            pickle.dumps({"data": np.zeros((3, 2), np.uint8, order="F")}, protocol=3),
            "an array that is not of unsigned bytes in C order",
        ),
        (b"cnumpy\nndarray.__class__\n.", "it asks for"),
        (b"cnumpy.core\nmultiarray._reconstruct\n.", "it asks for"),
    ],
    ids=[
        "eval",
        "getattr",
        "scalar",
        "masked",
        "codec",
        "float",
        "text",
        "object",
        "order",
        "dotted",
        "module",
    ],
)
def test_anything_but_plain_values_and_byte_arrays_is_refused(tmp_path, forged, why):
    with pytest.raises(DataUnavailable, match=f"is not an official file: {why}"):
        read_pickle(pickled(tmp_path, forged))


def test_a_pickle_cut_short_anywhere_is_refused_in_one_line(tmp_path):
    whole = python2_pickle(PIXELS[:, :200], [3, 7])
    for end in range(len(whole)):
        with pytest.raises(DataUnavailable) as caught:
            read_pickle(pickled(tmp_path, whole[:end]))
        assert "\n" not in str(caught.value)


# Every instruction but the one with which Python's unpickler fills as much memory as its four bytes ask for.
INSTRUCTIONS = [code.code.encode("latin1") for code in pickletools.opcodes if code.name != "LONG_BINPUT"]


@settings(deadline=None, max_examples=300)
@given(pieces=st.lists(st.sampled_from(INSTRUCTIONS) | st.sampled_from([b"\0", b"\1", b"\2", b"a", b"1\n"])))
def test_any_instructions_are_either_read_or_refused_in_one_line(tmp_path_factory, pieces):
    content, refusal = {}, ""
    try:
        content = read_pickle(pickled(tmp_path_factory.mktemp("pickle"), b"".join(pieces) + b"."))
    except DataUnavailable as error:
        refusal = str(error)
    assert isinstance(content, dict)
    assert "\n" not in refusal


def test_a_set_is_read_from_its_folder_of_pickles(tmp_path):
    write(tmp_path / "cifar-10-batches-py", cifar10_files(n=20))
    loaded = data.load("cifar10", directory=tmp_path, download=False)
    assert loaded.task.names == CIFAR10_NAMES
    assert loaded.train.inputs.shape == (100, 3, 32, 32)
    assert loaded.test.targets.tolist() == [index % 10 for index in range(20)]
    pixels = read_pickle(tmp_path / "cifar-10-batches-py" / "data_batch_2")["data"].array
    # A row is the red plane, the green and the blue, each row after row.
    assert loaded.train.inputs[20, 1, 3, 5].item() == pixels[0, 1024 + 3 * 32 + 5]


@pytest.mark.parametrize("labels", ["fine", "coarse"])
def test_cifar100_has_two_kinds_of_labels(tmp_path, labels):
    kinds = {
        "fine_label_names": [f"fine {k}" for k in range(100)],
        "coarse_label_names": [f"coarse {k}" for k in range(20)],
    }
    meta = pickle.dumps(
        {key.encode(): [name.encode() for name in names] for key, names in kinds.items()}, protocol=3
    )
    batch = pickle.dumps(
        {b"data": PIXELS.astype(np.uint8), b"fine_labels": [99, 4], b"coarse_labels": [19, 0]}, protocol=3
    )
    write(tmp_path / "cifar-100-python", {"train": batch, "test": batch, "meta": meta})
    loaded = data.load("cifar100", directory=tmp_path, download=False, labels=labels)
    assert loaded.outputs == {"fine": 100, "coarse": 20}[labels]
    assert loaded.train.targets.tolist() == {"fine": [99, 4], "coarse": [19, 0]}[labels]
    assert loaded.task.names[0] == f"{labels} 0"


def test_pixels_can_be_left_between_zero_and_one(tmp_path):
    write(tmp_path / "cifar-10-batches-py", cifar10_files())
    loaded = data.load("cifar10", directory=tmp_path, download=False, normalize=False)
    assert loaded.preprocessing.mean == (0, 0, 0)
    assert loaded.preprocessing.std == (1, 1, 1)
    assert data.load("cifar10", directory=tmp_path, download=False).preprocessing.mean != (0, 0, 0)


@pytest.mark.parametrize("augment", [True, False])
def test_augmentation_can_be_switched_off(tmp_path, augment):
    write(tmp_path / "cifar-10-batches-py", cifar10_files())
    loaded = data.load("cifar10", directory=tmp_path, download=False, augment=augment)
    assert (loaded.preprocessing.crop_padding, loaded.preprocessing.flip) == (
        (4, True) if augment else (0, False)
    )


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("data_batch_3", python2_pickle(PIXELS, [3, 10]), "a label is not one of 0 to 9"),
        ("data_batch_3", python2_pickle(PIXELS, [3]), "pixels of (2, 3072) for 1 labels"),
        ("data_batch_3", python2_pickle(PIXELS[:, :3071], [3, 7]), "pixels of (2, 3071)"),
        ("test_batch", python2_pickle(PIXELS, [3, 7], key="fine_labels"), "no list under 'labels'"),
        ("test_batch", pickle.dumps([1], protocol=2), "it holds a list, expected a dict"),
        ("test_batch", python2_names("labels", ["0"]), "no pixels under 'data'"),
        ("batches.meta", python2_names("names", CIFAR10_NAMES), "no list of names under 'label_names'"),
    ],
)
def test_files_that_hold_something_else_are_refused(tmp_path, file, content, why):
    write(tmp_path / "cifar-10-batches-py", {**cifar10_files(n=2), file: content})
    with pytest.raises(DataUnavailable) as caught:
        data.load("cifar10", directory=tmp_path, download=False)
    assert why in str(caught.value)
    assert file in str(caught.value)


def test_a_refusal_is_one_line_whatever_pickle_says(tmp_path):
    with pytest.raises(DataUnavailable) as caught:
        read_pickle(pickled(tmp_path, b"\x80\x02Pname\n."))  # Python's own message has two lines
    assert "\n" not in str(caught.value)
