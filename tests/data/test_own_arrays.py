"""Arrays of one's own are read from a file as they were written, and what cannot be read is one line."""

import numpy as np
import pytest
import torch

from biograd import data
from biograd.errors import UserMistake

LABELS = np.arange(40) % 3


@pytest.fixture
def write(tmp_path):
    def written(**arrays):
        np.savez(tmp_path / "mine.npz", **arrays)
        return f"arrays:{tmp_path / 'mine.npz'}"

    return written


def numbers(n=40, *shape):
    return np.random.default_rng(0).normal(size=(n, *(shape or (5,))))


def pixels(n=40, *shape):
    return np.random.default_rng(0).integers(0, 256, (n, *shape)).astype(np.uint8)


def test_texts_are_classes_and_a_fifth_drawn_by_seed_is_the_test_part(write):
    names = np.array(["oak", "elm", "fir"])
    mine = data.load(write(x=numbers(), y=names[LABELS]))
    assert (mine.name, mine.task.names, mine.input_shape) == ("mine", ("elm", "fir", "oak"), (5,))
    assert (len(mine.train), len(mine.test)) == (32, 8)
    other = data.load(write(x=numbers(), y=names[LABELS]), seed=1)
    assert not torch.equal(mine.test.inputs, other.test.inputs)
    halves = data.load(write(x=numbers(), y=names[LABELS]), test_fraction=0.5)
    assert len(halves.train) == len(halves.test)
    for part in (mine.train, mine.test):  # each input is still with its own label
        rows = [int(np.abs(numbers().astype(np.float32) - x.numpy()).sum(1).argmin()) for x in part.inputs]
        assert [mine.task.names[y] for y in part.targets] == [names[LABELS][row] for row in rows]


@pytest.mark.parametrize("stem", ["{}_train {}_test", "train_{} test_{}"])
def test_parts_are_told_by_name(write, stem):
    train, test = stem.split()
    x, y = numbers(), LABELS[:, None] + 7
    arrays = {train.format("x"): x[:30], train.format("label"): y[:30]}
    arrays |= {test.format("x"): x[30:], test.format("label"): y[30:]}
    mine = data.load(write(**arrays), targets="label")
    assert (mine.task.names, mine.test.targets.tolist()) == (("7", "8", "9"), LABELS[30:].tolist())
    torch.testing.assert_close(mine.train.inputs.double(), torch.tensor(x[:30]), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("axes", "stored"), [("hw", (6, 7)), ("hwc", (6, 7, 3)), ("as-they-are", (3, 6, 7))])
def test_images_are_bytes_with_the_channel_first(write, axes, stored):
    x = pixels(40, *stored)
    mine = data.load(write(x=x, y=LABELS), axes=axes, crop_padding=1, flip=True)
    channels = 1 if axes == "hw" else 3
    assert mine.input_shape == (channels, 6, 7)
    assert (mine.train.inputs.dtype, mine.preprocessing.crop_padding, mine.preprocessing.flip) == (
        torch.uint8,
        1,
        True,
    )
    first = x[0].reshape(1, 6, 7) if axes == "hw" else np.moveaxis(x[0], -1, 0) if axes == "hwc" else x[0]
    whole = torch.cat([mine.train.inputs, mine.test.inputs])
    assert (whole == torch.tensor(first)).flatten(1).all(1).any()


def test_bytes_are_normalised_by_the_statistics_of_the_training_part(write):
    mine = data.load(write(x=pixels(40, 3, 4, 4), y=LABELS))
    scaled = mine.train.inputs.double() / 255
    torch.testing.assert_close(torch.tensor(mine.preprocessing.mean).double(), scaled.mean((0, 2, 3)))
    torch.testing.assert_close(
        torch.tensor(mine.preprocessing.std).double(), scaled.transpose(0, 1).flatten(1).std(1, correction=0)
    )
    plain = data.load(write(x=pixels(40, 3, 4, 4), y=LABELS), normalize=False).preprocessing
    assert (plain.mean, plain.std) == ((0.0,), (1.0,))


@pytest.mark.parametrize(
    ("arrays", "settings", "why"),
    [
        ({"x": numbers()}, {}, r"no array 'y' nor 'y_train': it holds x; --data.inputs and"),
        ({"a": numbers(), "y": LABELS}, {}, "no array 'x' nor 'x_train': it holds a, y"),
        ({"x_train": numbers(), "x_test": numbers(), "y": LABELS}, {}, "2 parts of 'x' and 1 of 'y'"),
        ({"x": numbers(), "y": LABELS[:5]}, {}, "one target an example"),
        ({"x": numbers(), "y": np.eye(3)[LABELS].astype(complex)}, {}, "expected a class for each example"),
        ({"x": np.array([["a"]] * 40), "y": LABELS}, {}, "inputs are <U1, expected numbers"),
        ({"x": np.array([object()] * 40), "y": LABELS}, {}, "or holds Python objects, which are not read"),
        (
            {"x": numbers(), "y": LABELS},
            {"axes": "hwc"},
            r"inputs are \(40, 5\), which are no images with the axes",
        ),
        (
            {"x_train": numbers(), "x_test": numbers(), "y_train": LABELS, "y_test": LABELS},
            {"test_fraction": 0.5},
            "it has a test part of its own: test_fraction = 0.5 would carve another",
        ),
    ],
)
def test_what_is_no_set_is_one_line(write, arrays, settings, why):
    with pytest.raises(UserMistake, match=why) as caught:
        data.load(write(**arrays), **settings)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none_is_one_line(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "one.npy", LABELS)
    for name, why in {
        "text.npz": "is no file of arrays",
        "one.npy": "holds one array, expected several by name",
        "no.npz": "No such file",
        "": "Is a directory",
    }.items():
        with pytest.raises(UserMistake, match=why):
            data.load(f"arrays:{tmp_path / name}")


def test_files_of_ones_own_are_a_form_that_needs_a_path():
    for name in ("arrays", "arrays:", "arrays: "):
        with pytest.raises(UserMistake, match="'arrays' is of files of your own: say which, arrays:FILE"):
            data.load(name)
    assert data.describe("arrays:FILE.npz").card is None
