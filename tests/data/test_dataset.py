"""A data set turns into a binary task, and says what it does not know."""

import pytest
import torch

from biograd.data import Classes, DataSet, Preprocessing, Split
from biograd.errors import UserMistake

CLASSES = ("cat", "Dog", "3")


def animals():
    train, test = (Split(torch.zeros(len(t), 2), torch.tensor(t)) for t in ([0, 1, 2, 1], [2, 1]))
    return DataSet("animals", train, test, Classes(CLASSES), Preprocessing((0.0,), (1.0,)))


def test_a_set_knows_its_shape_and_number_of_classes():
    assert animals().input_shape == (2,)
    assert animals().outputs == 3


@pytest.mark.parametrize(
    ("cls", "index"), [("cat", 0), ("dog", 1), (" Dog ", 1), ("1", 1), (1, 1), ("3", 2), ("2", 2), (0, 0)]
)
def test_one_vs_rest_tells_one_class_from_all_others(cls, index):
    task = animals().one_vs_rest(cls)
    assert task.task.names == ("rest", CLASSES[index])
    assert task.train.targets.tolist() == [int(target == index) for target in (0, 1, 2, 1)]
    assert task.test.targets.tolist() == [int(target == index) for target in (2, 1)]
    assert task.train.targets.dtype == torch.int64
    assert task.outputs == 2


@pytest.mark.parametrize("cls", ["cta", "4", "-1", 3, -1, ""])
def test_an_unknown_class_is_answered_with_those_there_are(cls):
    with pytest.raises(UserMistake) as caught:
        animals().one_vs_rest(cls)
    assert "Its classes: cat, Dog, 3; or an index, 0 to 2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_near_miss_is_answered_with_the_nearest():
    with pytest.raises(UserMistake, match="did you mean 'Dog'"):
        animals().one_vs_rest("doog")


@pytest.mark.parametrize("cls", ["9" * 5000, "x" * 10_000])
def test_a_class_whose_name_is_a_book_is_refused_like_any_other(cls):
    with pytest.raises(UserMistake, match="animals has no class"):
        animals().one_vs_rest(cls)


def test_a_class_without_an_example_to_learn_from_is_refused():
    lonely = Split(torch.zeros(2, 2), torch.tensor([0, 1]))
    task = DataSet("animals", lonely, animals().test, Classes(CLASSES), Preprocessing((0.0,), (1.0,)))
    with pytest.raises(UserMistake, match="animals, training part: it has no example of class '3'"):
        task.one_vs_rest("3")


def test_a_set_and_a_part_show_themselves_in_one_line():
    assert repr(animals()) == "<DataSet 'animals': 4 + 2 examples of (2,), task classes, outputs 3>"
    assert repr(animals().train) == "<Split of 4 examples: (2,) float32 → () int64>"
    columns = Split({"image": torch.zeros(2, 1, 4, 4), "age": torch.zeros(2)}, torch.tensor([0, 1]))
    assert repr(columns) == "<Split of 2 examples: image (1, 4, 4) float32, age () float32 → () int64>"
    many = Split({f"column {n}": torch.zeros(2, dtype=torch.int64) for n in range(99)}, torch.tensor([0, 1]))
    assert len(repr(many)) < 300
    named = DataSet("many", many, many, Classes(CLASSES), None)
    assert len(repr(named)) < 300
