"""An example may be several tensors by name: each is read, prepared and drawn as it would be alone."""

from collections import UserDict

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from biograd import data
from biograd.data import Classes, DataSet, Preprocessing, Split, TensorBatches
from biograd.errors import UserMistake

N = 24
DRAWN = np.random.default_rng(0)
COLUMNS = {
    "image": DRAWN.integers(0, 256, (N, 1, 4, 4), dtype=np.uint8),
    "table": DRAWN.normal(5, 3, (N, 2)).astype(np.float32),
    "age": DRAWN.normal(40, 10, N).astype(np.float32),
    "words": DRAWN.integers(0, 9, (N, 3)),
    "kind": DRAWN.integers(0, 3, N),
    "mask": DRAWN.random((N, 3)) < 0.5,
}
NAMES = list(COLUMNS)
Y = np.arange(N) % 3
TYPES = {
    "image": torch.uint8,
    "table": torch.float32,
    "age": torch.float32,
    "words": torch.int64,
    "kind": torch.int64,
    "mask": torch.bool,
}


class Items(Dataset):
    """Examples one by one, as ``make`` has them of their columns, their class and their number."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return N

    def __getitem__(self, place):
        return self.make({name: column[place] for name, column in COLUMNS.items()}, int(Y[place]), place)


class Table:
    """What a data set of Hugging Face looks like from here."""

    def __init__(self):
        self.column_names = ["id", *NAMES, "label"]

    def __len__(self):
        return N

    def __getitem__(self, name):
        return {**COLUMNS, "label": Y}[name].tolist() if name != "image" else COLUMNS["image"]


def pictured(columns, y, place):
    return columns | {"image": Image.fromarray(columns["image"][0])}, y


PICKED = {"inputs": NAMES, "targets": "label"}
FORMS = {
    "arrays by name": (({**COLUMNS}, Y), {}),
    "tensors by name": (
        (UserDict({n: torch.from_numpy(c) for n, c in COLUMNS.items()}), torch.from_numpy(Y)),
        {},
    ),
    "items of pairs": (Items(lambda columns, y, place: (columns, y)), {}),
    "items with images": (Items(pictured), {}),
    "items that are mappings": (
        Items(lambda columns, y, place: {"id": place, **columns, "label": y}),
        PICKED,
    ),
    "columns": (Table(), PICKED),
    "columns, as a command line names them": (Table(), {"inputs": ",".join(NAMES), "targets": "label"}),
    "lists": (([{n: c[place] for n, c in COLUMNS.items()} for place in range(N)], Y.tolist()), {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_inputs_by_name_become_columns(form):
    given, settings = FORMS[form]
    loaded = data.load(given, **settings)
    assert loaded.input_shape == {name: COLUMNS[name].shape[1:] for name in NAMES}
    read = {name: torch.cat([loaded.train.inputs[name], loaded.test.inputs[name]]) for name in NAMES}
    order = [int((read["table"] == torch.from_numpy(row)).all(1).nonzero()) for row in COLUMNS["table"]]
    for name in NAMES:
        assert read[name].dtype == TYPES[name]
        assert np.array_equal(read[name][order].numpy(), COLUMNS[name])
    targets = torch.cat([loaded.train.targets, loaded.test.targets])
    assert targets[order].tolist() == Y.tolist()


def test_arrays_in_a_file_are_columns_where_several_are_named(tmp_path):
    images = COLUMNS["image"].transpose(0, 2, 3, 1)
    stored = {"image": images, "words": COLUMNS["words"], "y": Y}
    np.savez(
        tmp_path / "mine.npz", **{f"{n}_{part}": c for n, c in stored.items() for part in ("train", "test")}
    )
    loaded = data.load(f"arrays:{tmp_path / 'mine.npz'}", inputs="image,words", axes="hwc")
    for part in (loaded.train, loaded.test):
        assert np.array_equal(part.inputs["image"].numpy(), COLUMNS["image"])
        assert np.array_equal(part.inputs["words"].numpy(), COLUMNS["words"])
    np.savez(tmp_path / "odd.npz", x_train=images, x_test=images, words=COLUMNS["words"], y_train=Y, y_test=Y)
    for settings, why in (
        ({"inputs": "x,words"}, "1 parts of 'words' and 2 of 'y'"),
        ({"inputs": "x,x"}, "the setting inputs names 'x' 2 times"),
        ({"inputs": ""}, "setting 'inputs' got"),
        ({"inputs": "x", "axes": "hw"}, "which are no images with the axes 'hw' each"),
    ):
        with pytest.raises(UserMistake, match=why):
            data.load(f"arrays:{tmp_path / 'odd.npz'}", **settings)


def test_numbers_and_bytes_are_standardised_on_the_training_part_and_all_else_is_as_it_is():
    loaded = data.load(({**COLUMNS}, Y), seed=1)
    assert list(loaded.preprocessing) == ["image", "table", "age"]
    x, _ = loaded.tensors("train", validation_fraction=0)
    for name in ("image", "table", "age"):
        raw = loaded.train.inputs[name].double() / (255 if name == "image" else 1)
        over = [axis for axis in range(raw.ndim) if axis != 1]
        mean, std = raw.mean(over, keepdim=True), raw.std(over, correction=0, keepdim=True)
        torch.testing.assert_close(x[name].double(), (raw - mean) / std, rtol=1e-5, atol=1e-5)
        assert x[name].dtype == torch.float32
    for name in ("words", "kind", "mask"):
        assert x[name].equal(loaded.train.inputs[name])
    plain, _ = data.load(({**COLUMNS}, Y), seed=1, normalize=False).tensors("train", validation_fraction=0)
    assert plain["table"].equal(loaded.train.inputs["table"])


def test_indices_are_whole_in_all_columns():
    bytes_ = {"a": COLUMNS["image"].reshape(N, 16), "b": COLUMNS["mask"]}
    loaded = data.load((bytes_, Y), indices=True)
    assert loaded.preprocessing is None
    assert {loaded.train.inputs[name].dtype for name in bytes_} == {torch.int64}
    with pytest.raises(UserMistake, match="column 'table': inputs are float32, expected whole numbers"):
        data.load(({**COLUMNS}, Y), indices=True)


PLAIN = Preprocessing((0.5,), (2.0,))
MOVED = Preprocessing((0.5,), (2.0,), crop_padding=1, flip=True)
TASK = Classes(("a", "b", "c"))


def batches(inputs, preprocessing, **flags):
    split = Split(inputs, torch.from_numpy(Y))
    flags = {"batch_size": 5, "seed": 3, "device": "cpu", "train": True, **flags}
    return TensorBatches(split, preprocessing, TASK, **flags)


@pytest.mark.parametrize("train", [True, False])
def test_a_column_has_the_bits_that_it_would_have_alone(train):
    images, table = (torch.from_numpy(COLUMNS[name]) for name in ("image", "table"))
    together = batches(
        {
            "image": images,
            "table": table,
            "same": images.clone(),
            "words": torch.from_numpy(COLUMNS["words"]),
        },
        {"image": MOVED, "table": PLAIN, "same": MOVED},
        train=train,
    )
    alone = {"image": batches(images, MOVED, train=train), "table": batches(table, PLAIN, train=train)}
    for start, rank, size in ((0, 0, 1), (2, 1, 2)):
        whole = list(together.epoch(4, start, rank=rank, size=size))
        for name, single in alone.items():
            for (x, y), (same_x, same_y) in zip(
                whole, single.epoch(4, start, rank=rank, size=size), strict=True
            ):
                assert x[name].equal(same_x)
                assert y.equal(same_y)
                assert x["image"].equal(x["same"])  # images of one size move alike
        assert [len(x["words"]) for x, _ in whole] == [len(y) for _, y in whole]
    sample = together.sample()
    assert all(sample[name].equal(single.sample()) for name, single in alone.items())


def test_only_images_are_cropped_and_mirrored():
    found = data.load(({**COLUMNS}, Y), flip=True, crop_padding=1).preprocessing
    assert {name: how.flip for name, how in found.items()} == {"image": True, "table": False, "age": False}
    assert found["image"].crop_padding == 1
    with pytest.raises(UserMistake, match=r"its columns table, words hold no images"):
        data.load(({"table": COLUMNS["table"], "words": COLUMNS["words"]}, Y), flip=True)


def test_batches_are_memory_of_their_own():
    made = batches({"words": torch.from_numpy(COLUMNS["words"])}, None, train=False)
    next(made.epoch(0))[0]["words"].zero_()
    assert np.array_equal(next(made.epoch(0))[0]["words"].numpy(), COLUMNS["words"][:5])


def part(**columns):
    return Split(
        {name: torch.from_numpy(COLUMNS[name]) for name in ("table", "words")} | columns, torch.from_numpy(Y)
    )


def ready(train=None, test=None, preprocessing=None):
    first = train or part()
    return DataSet(
        "mine", first, test or first, TASK, {"table": PLAIN} if preprocessing is None else preprocessing
    )


def torn(value):
    changed = torch.from_numpy(COLUMNS["age"].copy())
    changed[7] = value
    return changed


REFUSED = {
    r"the columns of inputs are \[\], expected at least one": lambda: Split({}, torch.from_numpy(Y)),
    r"the columns of inputs are \[3\], expected": lambda: Split({3: torch.zeros(N)}, torch.from_numpy(Y)),
    "inputs, column 'a' are a list": lambda: part(a=[1]),
    r"inputs, column 'a' \(5,\) and targets \(24,\)": lambda: part(a=torch.zeros(5)),
    "training part, column 'age': an input of example 7 is nan": lambda: ready(
        part(age=torn(torch.nan)), preprocessing={"table": PLAIN, "age": PLAIN}
    ),
    r"column 'age': inputs torch.float32 need a Preprocessing": lambda: ready(part(age=torn(0.0))),
    r"column 'a': a column is \(n, …\) uint8 .* got \(24,\) torch.float64": lambda: ready(
        part(a=torch.zeros(N).double())
    ),
    "column 'words': inputs are indices, torch.int64, which are not normalised": lambda: ready(
        preprocessing={"table": PLAIN, "words": PLAIN}
    ),
    "column 'table': preprocessing has 3 numbers as mean": lambda: ready(
        preprocessing={"table": Preprocessing((0.0,) * 3, (1.0,))}
    ),
    "column 'table': crops and flips need images": lambda: ready(preprocessing={"table": MOVED}),
    "inputs are the columns table, words, and preprocessing is those of tabel": lambda: ready(
        preprocessing={"tabel": PLAIN}
    ),
    "inputs are the columns table, words, and preprocessing is one for all": lambda: ready(
        preprocessing=PLAIN
    ),
    "inputs are one tensor, and preprocessing is a dict": lambda: ready(
        Split(torch.zeros(N, 2), torch.from_numpy(Y))
    ),
    "test part: its inputs are the columns table, words, a, in the training part the columns table, words": lambda: (
        ready(test=part(a=torch.zeros(N)))
    ),
    "test part: its inputs are one tensor, in the training part the columns": lambda: ready(
        test=Split(torch.zeros(N, 2), torch.from_numpy(Y))
    ),
    r"test part: an example, column 'words' is \(3,\) torch.bool": lambda: ready(
        test=part(words=torch.zeros(N, 3) > 0)
    ),
    "the input of example 1 is the columns b, that of the first the columns a": lambda: data.load(
        Items(lambda columns, y, place: ({"b" if place == 1 else "a": columns["table"]}, y))
    ),
    "the input of example 1 is array.*, that of the first the columns a": lambda: data.load(
        Items(lambda columns, y, place: (columns["table"] if place == 1 else {"a": columns["table"]}, y))
    ),
    "an input 'a' is a mapping of b: a column is one tensor": lambda: data.load(({"a": {"b": [1] * N}}, Y)),
    r"the input 'a' of example 1 has shape \(1,\), that of the first \(0,\)": lambda: data.load(
        Items(lambda columns, y, place: ({"a": [0] * place}, y))
    ),
    "differs when it is read again": lambda: data.load(
        Items(lambda columns, y, place: (columns | {"mask": torch.rand(3)}, y))
    ),
    "column 'name': inputs are <U3, expected numbers": lambda: data.load(({"name": ["elm", "oak"] * 12}, Y)),
    r"column 'table': inputs are \(24, 0\), expected": lambda: data.load(({"table": np.zeros((N, 0))}, Y)),
    "choose among the columns of data, and it gives pairs": lambda: data.load(
        ({**COLUMNS}, Y), inputs="table"
    ),
    "it gives pairs of an input and a target": lambda: data.load(
        Items(lambda columns, y, place: (columns, y)), targets="label"
    ),
    "the setting inputs names 'table' 2 times: name each column once": lambda: data.load(
        Table(), inputs=("table", "words", "table"), targets="label"
    ),
    "data has the columns id, .*, and its inputs are 'table, tabel'": lambda: data.load(
        Table(), inputs=("table", "tabel"), targets="label"
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_are_no_columns_is_one_line(why):
    with pytest.raises(UserMistake, match=why) as caught:
        REFUSED[why]()
    assert "\n" not in str(caught.value)
