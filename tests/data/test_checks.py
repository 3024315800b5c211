"""What no step of a training could take is refused when the data is loaded, in one line that names the example."""

import math

import pytest
import torch

from biograd.data import (
    Classes,
    DataSet,
    Labels,
    Preprocessing,
    Regression,
    Split,
    TensorBatches,
    Tokens,
    load,
)
from biograd.errors import UserMistake

PLAIN = Preprocessing((0.0,), (1.0,))
TASK = Classes(("a", "b", "c"))


def split(targets=(0, 1, 2), inputs=None):
    return Split(torch.zeros(len(targets), 2) if inputs is None else inputs, torch.tensor(targets).long())


def made(train=None, test=None, classes=("a", "b", "c"), preprocessing=PLAIN):
    parts = (split() if part is None else part for part in (train, test))
    return DataSet("mine", *parts, Classes(classes), preprocessing)


def at(place, value):
    """Inputs of three examples, one of whose numbers is another."""
    inputs = torch.zeros(3, 2)
    inputs[place] = value
    return inputs


@pytest.mark.parametrize(
    ("targets", "example", "label"), [((0, 3, 9), 1, 3), ((0, -1, 1), 1, -1), ((0, 1, -100), 2, -100)]
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_label_that_is_no_class_is_named_with_its_example(part, targets, example, label):
    with pytest.raises(UserMistake) as caught:
        made(**{part: split(targets)})
    place = f"mine, {'training' if part == 'train' else 'test'} part"
    expected = f"the label of example {example} is {label}, expected 0 to 2, one of its 3 classes"
    assert str(caught.value) == f"{place}: {expected}"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_input_that_is_not_finite_is_named_with_its_example(value):
    with pytest.raises(UserMistake) as caught:
        made(test=split(inputs=at((1, 1), value)))
    assert str(caught.value) == f"mine, test part: an input of example 1 is {value}, expected finite numbers"


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_empty_part_is_refused(part):
    with pytest.raises(UserMistake, match=r"part: it is empty, expected at least one example$"):
        made(**{part: split(())})


@pytest.mark.parametrize("classes", [(), ("only",)])
def test_fewer_than_two_classes_are_nothing_to_tell_apart(classes):
    with pytest.raises(UserMistake, match=f"has {len(classes)} classes, expected at least 2"):
        made(split((0, 0, 0)), split((0, 0, 0)), classes)


@pytest.mark.parametrize("classes", ["ab", (0, 1, 2), (None, "b", "c")])
def test_classes_are_names(classes):
    with pytest.raises(UserMistake, match="expected a tuple of their names"):
        made(classes=classes)


@pytest.mark.parametrize(
    ("inputs", "targets", "why"),
    [
        (
            torch.zeros(3, 2),
            torch.zeros(2).long(),
            r"one target an example, got inputs \(3, 2\) and targets \(2,\)",
        ),
        (torch.zeros(3, 2), torch.zeros(3, 1).long(), r"got \(3, 1\) torch.int64$"),
        (torch.zeros(()), torch.zeros(0).long(), "one target an example"),
        (
            torch.zeros(3, 2),
            torch.zeros(3),
            r"mine, test part: a class an example is a target \(n,\) torch.int64, got \(3,\) torch.float32: use .long",
        ),
        (torch.zeros(3, 2), torch.zeros(3).to(torch.uint8), r"got \(3,\) torch.uint8: use .long"),
        (
            torch.zeros(3, 2).numpy(),
            torch.zeros(3).long(),
            "inputs are a ndarray, expected a dense torch.Tensor",
        ),
        (torch.zeros(3, 2), [0, 1, 2], "targets are a list"),
        (torch.zeros(3, 2).to_sparse(), torch.zeros(3).long(), "inputs are a torch.sparse_coo tensor"),
    ],
)
def test_a_split_is_tensors_with_one_class_an_example(inputs, targets, why):
    with pytest.raises(UserMistake, match=why):
        made(test=Split(inputs, targets))


@pytest.mark.parametrize("inputs", [torch.zeros(3, 2).double(), torch.zeros(3), torch.zeros(3, 0)])
def test_inputs_are_bytes_or_float32_and_have_features(inputs):
    with pytest.raises(UserMistake, match=r"mine, training part: inputs are \(n, …\) uint8 or float32, or"):
        made(split(inputs=inputs), split(inputs=inputs))


@pytest.mark.parametrize("inputs", [torch.zeros(3, 3), torch.zeros(3, 2, dtype=torch.uint8)])
def test_both_parts_hold_examples_of_one_kind(inputs):
    with pytest.raises(UserMistake, match=r"mine, test part: an example is .* in the training part"):
        made(test=split(inputs=inputs))


@pytest.mark.parametrize(
    "numbers",
    [
        {"mean": (math.nan,)},
        {"mean": ()},
        {"mean": 0.5},
        {"std": (0.0,)},
        {"std": (-1.0,)},
        {"std": (math.nan,)},
        {"std": ("1",)},
        {"crop_padding": -1},
        {"crop_padding": 0.5},
    ],
)
def test_preprocessing_is_of_numbers_that_prepare_an_input(numbers):
    with pytest.raises(UserMistake):
        Preprocessing(**{"mean": (0.0,), "std": (1.0,), **numbers})


def test_batches_made_without_a_set_are_looked_at_too():
    for wrong in (split((0, -1, 1)), split(inputs=at((2, 0), math.inf))):
        with pytest.raises(UserMistake, match=r"batches: .* example"):
            TensorBatches(wrong, PLAIN, TASK, batch_size=2, seed=0, device="cpu", train=True)


def test_a_batch_may_be_larger_than_the_set():
    batches = TensorBatches(split(), PLAIN, TASK, batch_size=2**70, seed=0, device="cpu", train=True)
    assert [len(y) for _, y in batches.epoch(0)] == [3]


def test_a_set_of_ones_own_is_named_by_its_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom biograd.data import Split\n"
        "def broken(directory, download, seed):\n    return Split(torch.zeros(3, 2), torch.zeros(2))\n"
    )
    with pytest.raises(UserMistake, match=r"data '.*mine.py:broken': a split needs one target an example"):
        load(f"{tmp_path / 'mine.py'}:broken")


def test_the_lines_of_another_file_that_a_loader_asks_for_are_kept(tmp_path):
    (tmp_path / "inner.py").write_text("1 / 0\n")
    line = f"return data.load({str(tmp_path / 'inner.py:inner')!r})"
    outer = f"from biograd import data\ndef outer(directory, download, seed):\n    {line}\n"
    (tmp_path / "outer.py").write_text(outer)
    with pytest.raises(UserMistake, match="cannot be imported: ZeroDivisionError") as caught:
        load(str(tmp_path / "outer.py:outer"))
    assert "    1 / 0" in caught.value.lines


REGRESSION = Regression(("a", "b"), (0.0, 0.0), (1.0, 1.0))


@pytest.mark.parametrize(
    ("task", "targets", "why"),
    [
        (REGRESSION, torch.zeros(3), r"2 numbers an example are targets \(n, 2\) torch.float32, got \(3,\)"),
        (REGRESSION, torch.zeros(3, 2).double(), r"got \(3, 2\) torch.float64: use .float"),
        (REGRESSION, torch.zeros(3, 1), r"got \(3, 1\)$"),
        (
            REGRESSION,
            torch.tensor([[0, 0], [0, math.nan], [0, 0]]),
            "a target of example 1 is nan, expected a finite",
        ),
        (
            Labels(("a", "b")),
            torch.tensor([[0, 1], [1, 0], [1, 2.0]]),
            "example 2 is 2, expected 1 for a label",
        ),
        (Labels(("a", "b")), torch.zeros(3, 2).long(), r"got \(3, 2\) torch.int64: use .float"),
        (
            Tokens(("a", "b")),
            torch.zeros(3).long(),
            r"a class a token is a target \(n, tokens\) torch.int64, got \(3,\)",
        ),
        (
            Tokens(("a", "b")),
            torch.tensor([[0], [-100], [1]]),
            "example 1 is -100, expected 0 to 1, one of its 2",
        ),
        (Tokens(("a", "b")), torch.zeros(3, 0).long(), "an example has no token"),
        (("a", "b"), torch.zeros(3).long(), r"its task is a tuple, expected biograd.data.Classes\(names\)"),
    ],
)
def test_targets_that_are_none_of_the_task_are_refused(task, targets, why):
    part = Split(torch.zeros(3, 2), targets)
    with pytest.raises(UserMistake, match=why):
        DataSet("mine", part, part, task, PLAIN)


def test_a_regression_has_a_mean_and_a_deviation_for_each_number():
    for mean, std in (((0.0,), (1.0, 1.0)), ((0.0, 0.0), (1.0, 0.0)), ((math.nan, 0.0), (1.0, 1.0))):
        with pytest.raises(UserMistake, match="a regression"):
            Regression(("a", "b"), mean, std)


def test_indices_are_handed_on_as_they_are_and_nothing_else_is():
    indices = torch.arange(6).view(3, 2)
    part = Split(indices, indices)
    made = DataSet("text", part, part, Tokens(tuple("abcdef")), None)
    batches = TensorBatches(part, None, made.task, batch_size=3, seed=0, device="cpu", train=False)
    ((x, y),) = batches.epoch(0)
    assert x.dtype == torch.int64
    assert x.equal(indices)
    assert y.equal(indices)
    assert batches.sample().equal(indices[:1])
    with pytest.raises(UserMistake, match="which are not normalised: give no preprocessing"):
        DataSet("text", part, part, made.task, PLAIN)
    with pytest.raises(UserMistake, match=r"inputs torch.float32 need a Preprocessing, mean and std"):
        DataSet("mine", split(), split(), TASK, None)
