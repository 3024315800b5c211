"""Examples as programs hold them become a data set, and what cannot is one line."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

from biograd import data
from biograd.errors import UserMistake

X, Y = torch.arange(24.0).view(12, 2), torch.arange(12) % 3
NAMES = ["oak", "elm", "fir"]


class Items(Dataset):
    """Examples one by one, made of X and Y."""

    def __init__(self, make=lambda x, y: (x, y), classes=None):
        self.make = make
        if classes is not None:
            self.classes = classes

    def __len__(self):
        return len(X)

    def __getitem__(self, place):
        return self.make(X[place], int(Y[place]))


class ClassLabel:
    names = NAMES


class Columns:
    """What a data set of Hugging Face looks like from here."""

    def __init__(self, columns, features=None):
        self.column_names = list(columns)
        self.features = features or {name: object() for name in columns}
        self._columns = columns

    def __len__(self):
        return len(X)

    def __getitem__(self, key):
        return self._columns[key]


def rows(loaded, *, shuffled=True):
    """Inputs and the names of their classes, sorted by the inputs where a part was carved."""
    x = torch.cat([loaded.train.inputs, loaded.test.inputs])
    names = [loaded.task.names[y] for y in torch.cat([loaded.train.targets, loaded.test.targets])]
    order = sorted(range(len(x)), key=lambda place: x[place].flatten()[0]) if shuffled else range(len(x))
    return x[list(order)], [names[place] for place in order]


NUMBERS = [str(int(y)) for y in Y]
TREES = [NAMES[y] for y in Y]
WHOLE = {
    "tensors": ((X, Y), NUMBERS),
    "arrays and lists": ([X.double().numpy(), Y.tolist()], NUMBERS),
    "texts": ((X.tolist(), TREES), TREES),
    "a tensor dataset": (TensorDataset(X, Y), NUMBERS),
    "items": (Items(), NUMBERS),
    "items with named classes": (Items(classes=NAMES), TREES),
    "items as mappings with one other key": (
        Columns({"x": X.tolist(), "label": Y.tolist()}, {"label": ClassLabel}),
        TREES,
    ),
    "a list of items": ([(x, y) for x, y in zip(X, Y, strict=True)], NUMBERS),
    "one part": ({"train": (X, Y)}, NUMBERS),
}


@pytest.mark.parametrize("form", WHOLE)
def test_a_fifth_of_the_examples_drawn_by_seed_is_the_test_part(form):
    given, names = WHOLE[form]
    loaded = data.load(given)
    assert (len(loaded.train), len(loaded.test)) == (10, 2)
    assert len(data.load(given, test_fraction=0.5).test) == 6
    x, found = rows(loaded)
    torch.testing.assert_close(x, X)
    assert found == names


@pytest.mark.parametrize(
    "given",
    [
        ((X[:8], Y[:8]), (X[8:], Y[8:])),
        {"train": TensorDataset(X[:8], Y[:8]), "test": (X[8:], Y[8:])},
        [TensorDataset(X[:8], Y[:8]), TensorDataset(X[8:], Y[8:])],
    ],
)
def test_a_test_part_is_taken_as_it_is(given):
    loaded = data.load(given)
    assert (loaded.train.inputs.tolist(), loaded.test.inputs.tolist()) == (X[:8].tolist(), X[8:].tolist())
    with pytest.raises(UserMistake, match="it has a test part of its own"):
        data.load(given, test_fraction=0.5)


def test_columns_that_are_named_are_read():
    columns = Columns({"id": TREES, "x": X.tolist(), "kind": Y.tolist()})
    x, names = rows(data.load(columns, inputs="x", targets="kind"))
    assert (x.tolist(), names) == (X.tolist(), NUMBERS)
    mappings = Items(lambda x, y: {"id": 0, "x": x, "kind": NAMES[y]})
    assert rows(data.load(mappings, inputs="x", targets="kind"))[1] == TREES
    for given, settings in ((columns, {}), (mappings, {"inputs": "y", "targets": "kind"})):
        with pytest.raises(
            UserMistake, match=r"data has the columns id, x, kind, and its inputs are .*: say which"
        ):
            data.load(given, **settings)


@pytest.mark.parametrize(("mode", "shape"), [("L", (1, 4, 5)), ("RGB", (3, 4, 5))])
def test_images_are_bytes_with_the_channel_first(mode, shape):
    def picture(x, y):
        pixels = np.full((4, 5, 3), 20 * y, np.uint8)
        pixels[0, 0] = 255
        return Image.fromarray(pixels).convert(mode), y

    loaded = data.load(Items(picture), flip=True, crop_padding=1)
    assert (loaded.input_shape, loaded.train.inputs.dtype) == (shape, torch.uint8)
    assert loaded.train.inputs[0, :, 0, 0].tolist() == [255] * shape[0]
    assert loaded.preprocessing.flip
    with pytest.raises(UserMistake, match="image of mode 'CMYK': convert it to 'RGB' or 'L'"):
        data.load(Items(lambda x, y: (Image.new("CMYK", (4, 5)), y)))


def test_a_data_set_is_as_it_is():
    digits = data.load("digits")
    assert data.load(digits) is digits
    with pytest.raises(UserMistake, match="has no setting 'flip'; its settings: none"):
        data.load(digits, flip=True)


def noisy(x, y):
    return x + torch.rand(2), y


def torn(x, y):
    raise KeyError("no such file")


def mirrored(x, y):
    return (x.flip(0) if torch.rand(()) < 0.5 else x), y


def relabelled(x, y):
    return x, int(torch.randint(1000, ()))


def put(value):
    changed = X.clone()
    changed[0, 0] = value
    return changed


REFUSED = {
    "differs when it is read again": Items(mirrored),
    "an example of the data differs when it is": Items(relabelled),
    r"inputs are \(12,\), expected \(n, …\)": (X[:, 0], Y),
    r"inputs are \(0, 2\), expected \(n, …\) of at least one example": (X[:0], Y[:0]),
    "an input of example 0 is nan, expected finite numbers": (put(torch.nan), Y),
    "data of type Items: own data: an input of example 0 is nan": Items(
        lambda x, y: (torch.where(x == 0, torch.nan, x), y)
    ),
    "an input of example 0 is inf, expected finite": (put(1.0).double().numpy() * 1e39, Y),
    "an input is a tensor torch.sparse_coo, expected a dense one": (X.to_sparse(), Y),
    "an input is a tensor without values": (X.to("meta"), Y),
    "own data: the label of example 0 is -1, expected 0 to 2": Columns(
        {"x": X, "label": Y - 1}, {"x": object(), "label": ClassLabel()}
    ),
    "a target is None, expected numbers": (X, [None] * 12),
    "a target is .*, expected numbers, text": (X, np.array(["a", None] * 6)),
    "differs when it is read again, and it is read once: leave random transforms out": Items(noisy),
    "example 0 of the data cannot be read: KeyError: 'no such file'": Items(torn),
    r"example 0 of the data is \(1, 2, 3\), expected a pair": Items(lambda x, y: (1, 2, 3)),
    r"the input of example 1 has shape \(1,\), that of the first \(0,\)": Items(
        lambda x, y: (x[: int(x[0]) // 2], y)
    ),
    "an input is .*, expected numbers, text or an image": Items(lambda x, y: (object, y)),
    "expected a class for each example": (X, Y.float()),
    "one target an example": (X, Y[:5]),
    "the targets are 3, expected one for each example": (X, 3),
    "data has the parts train, validation: expected train, and test": {"train": (X, Y), "validation": (X, Y)},
    "expected a class or function, a DataSet, or examples": 3,
    "data is a DataLoader, which hands out batches: give .* loader.dataset": DataLoader(TensorDataset(X, Y)),
    "a DataLoader, which hands out batches": [DataLoader(TensorDataset(X, Y))] * 2,
    "own data: its test part has examples of class '2', and its training part has none to learn from": {
        "train": (X[Y < 2], Y[Y < 2]),
        "test": (X, Y),
    },
    "own data: its test part has examples of class 'fir'": (
        Items(lambda x, y: (x, y % 2), classes=NAMES),
        Items(classes=NAMES),
    ),
    "a target is a mapping of c: a run takes one tensor of targets; for more, write a loop": (
        {"a": X, "b": X},
        {"c": Y},
    ),
    "a target is a mapping of a: a run takes one tensor": (X, {"a": Y}),
    "a target is a mapping of b: a run takes one tensor": Items(lambda x, y: (x, {"b": y})),
    "the inputs of 12 examples are a tuple of 2: one input is one tensor, and several have names, {'image'": (
        (X, X[:, 0]),
        Y,
    ),
    "the inputs of 12 examples are a list of 2: .* several have names": {
        "train": ([X.tolist()] * 2, Y.tolist())
    },
    r"an input is \(tensor.* expected numbers, text or an image; .* several have names": Items(
        lambda x, y: ((x, x[0]), y)
    ),
    "expected a pair of an input and a target, or a mapping; .* several have names": Items(
        lambda x, y: (x, x, y)
    ),
    "data is empty, expected at least one example": [],
    "empty, expected at least one example": TensorDataset(X[:0], Y[:0]),
    "the label of example 2 is 2, expected 0 to 1": [Items(classes=NAMES[:2])] * 2,
}


def test_numbers_to_predict_are_finite():
    with pytest.raises(UserMistake, match="a target of example 0 is nan, expected finite numbers"):
        data.load((X, put(torch.nan)), task="regression")


def test_a_column_of_texts_may_hold_objects():
    loaded = data.load((X, np.array(["elm", "oak"] * 6, dtype=object)))
    assert loaded.task.names == ("elm", "oak")


def test_numbers_that_numpy_lacks_are_read():
    x = X.to(torch.float8_e5m2)
    loaded = data.load((x, Y), normalize=False)
    assert set(loaded.train.inputs.flatten().tolist()) <= set(x.float().flatten().tolist())


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_no_data_is_one_line(why):
    with pytest.raises(UserMistake, match=why) as caught:
        data.load(REFUSED[why])
    assert "\n" not in str(caught.value)


OWN = """
import torch
from torch.utils.data import Dataset, TensorDataset
from biograd.data import load

X, Y = torch.arange(24.0).view(12, 2), torch.arange(12) % 3
tensors = (X, Y)
whole = TensorDataset(X, Y)
ready = load("iris")

def by_seed(seed, *, shift: float = 0.0):
    return X + seed + shift, Y

def by_place(_, __, number):
    return X + number, Y

def of_nothing():
    return TensorDataset(X, Y)

def of_others(path):
    return X, Y

def ready_made(seed):
    return load("iris", seed=seed)

class Mine(Dataset):
    def __init__(self, width=2, *, shift: float = 0.0):
        self.x = X[:, :width] + shift
    def __len__(self):
        return 12
    def __getitem__(self, place):
        return self.x[place], Y[place]
"""


def test_what_a_function_asks_for_by_name_is_no_setting():
    def by_name(*, seed, shift: float = 0.0):
        return X + seed + shift, Y

    assert rows(data.load(by_name, seed=5, shift=1))[0][0].tolist() == [6, 7]
    with pytest.raises(UserMistake, match=r"has no setting 'size'; its settings: inputs, .*, shift"):
        data.load(by_name, size=3)


def test_a_file_names_a_function_a_class_or_an_instance(tmp_path):
    (tmp_path / "own.py").write_text(OWN)

    def first(name, **settings):
        return rows(data.load(f"{tmp_path / 'own.py'}:{name}", **settings))[0][0].tolist()

    for name in ("tensors", "whole", "of_nothing", "Mine"):
        assert first(name) == [0, 1]
    assert first("by_seed", seed=5) == first("by_place", seed=5) == [5, 6]
    numbers = data.load(f"{tmp_path / 'own.py'}:by_seed", task="regression", test_fraction="0.5", shift="1")
    assert (numbers.task.kind, len(numbers.test)) == ("regression", 6)
    assert data.load(f"{tmp_path / 'own.py'}:ready_made").name == "iris"
    with pytest.raises(
        UserMistake, match="it gives a DataSet, whose examples are as they are: leave out flip"
    ):
        data.load(f"{tmp_path / 'own.py'}:ready_made", flip=True)
    assert first("by_seed", shift="0.5") == first("Mine", shift="0.5") == [0.5, 1.5]
    assert len(data.load(f"{tmp_path / 'own.py'}:whole", test_fraction="0.5").test) == 6
    assert data.load(f"{tmp_path / 'own.py'}:ready").name == "iris"
    with pytest.raises(UserMistake, match=r"it takes \(path\), expected \(directory, download, seed"):
        first("of_others")
    with pytest.raises(
        UserMistake, match=r"has no setting 'width'; its settings: inputs, targets, .*, shift"
    ):
        first("Mine", width=1)


def test_very_many_whole_numbers_are_classes_only_where_that_is_said_or_they_have_names():
    x, y = torch.randn(60, 3), torch.arange(60) // 2
    with pytest.raises(
        UserMistake, match="the targets of 60 examples are 30 different whole numbers: say what they are"
    ):
        data.load((x, y))
    with pytest.raises(UserMistake, match="the targets of 60 examples are 30 different"):
        data.load(((x[:50], y[:50]), (x[50:], y[50:])))  # of both parts together
    assert data.load((x, y), task="classes").outputs == 30
    assert data.load((x, y), task="regression").outputs == 1
    assert data.load(WithClasses(x, y)).task.names[29] == "29"


class WithClasses(torch.utils.data.TensorDataset):
    classes = tuple(str(number) for number in range(30))
