"""Examples of one's own may have numbers, labels or a class a token for targets, where a setting says so."""

import numpy as np
import pytest
import torch

from biograd import data
from biograd.data import Labels, Regression, Tokens
from biograd.errors import UserMistake

X = np.arange(40.0).reshape(20, 2)


@pytest.mark.parametrize("shape", [(20,), (20, 1), (20, 2)])
def test_numbers_are_normalised_by_the_training_part(shape):
    y = np.arange(np.prod(shape)).reshape(shape)
    loaded = data.load((X, y), task="regression")
    assert isinstance(loaded.task, Regression)
    assert loaded.train.targets.shape == (16, loaded.outputs)
    assert loaded.outputs == (shape[1] if len(shape) == 2 else 1)
    torch.testing.assert_close(torch.tensor(loaded.task.mean), loaded.train.targets.mean(0))
    torch.testing.assert_close(torch.tensor(loaded.task.std), loaded.train.targets.std(0, correction=0))


def test_labels_are_0_or_1_each():
    y = np.arange(60).reshape(20, 3) % 2
    loaded = data.load((X, y), task="labels")
    assert isinstance(loaded.task, Labels)
    assert set(loaded.train.targets.unique().tolist()) == {0.0, 1.0}
    with pytest.raises(UserMistake, match="expected 1 for a label that it has, or 0"):
        data.load((X, 2 * y), task="labels")


def test_tokens_have_a_class_each_and_indices_stay_whole():
    words = np.arange(100).reshape(20, 5) % 7
    texts = np.array(list("abcdefg"))[words]
    loaded = data.load({"train": (words, texts), "test": (words[:3], texts[:3])}, task="tokens", indices=True)
    assert isinstance(loaded.task, Tokens)
    assert (loaded.task.names, loaded.preprocessing) == (tuple("abcdefg"), None)
    assert torch.equal(loaded.train.inputs, torch.tensor(words))
    assert torch.equal(loaded.test.targets, torch.tensor(words[:3]))
    without = np.char.replace(texts, "g", "a")
    with pytest.raises(
        UserMistake, match="its test part has examples of class 'g', and its training part has none"
    ):
        data.load({"train": (words, without), "test": (words, texts)}, task="tokens", indices=True)
    with pytest.raises(UserMistake, match="its inputs are indices, and no images"):
        data.load((words, words[:, 0]), indices=True, flip=True)
    with pytest.raises(UserMistake, match="inputs are float64, expected whole numbers"):
        data.load((X, words[:, 0]), indices=True)


@pytest.mark.parametrize(
    ("task", "y", "why"),
    [
        (
            "classes",
            X[:, 0],
            r"\(20,\) float64, expected a class for each example, .*; numbers are task = regression",
        ),
        ("tokens", np.arange(20), r"\(20,\) int64, expected a class for each token"),
        (
            "regression",
            np.zeros((20, 1, 1)),
            r"\(20, 1, 1\) float64, expected numbers, \(n,\) or \(n, outputs\)",
        ),
        ("labels", np.array(["a"] * 20), r"<U1, expected numbers"),
    ],
)
def test_targets_of_another_kind_are_one_line(task, y, why):
    with pytest.raises(UserMistake, match=why):
        data.load((X, y), task=task)


def test_a_file_of_arrays_says_its_task(tmp_path):
    np.savez(tmp_path / "mine.npz", x=X, y=X[:, 0])
    loaded = data.load(f"arrays:{tmp_path / 'mine.npz'}", task="regression")
    assert (loaded.task.kind, loaded.task.names) == ("regression", ("0",))


TABLE = "a,b,c,d\n" + "".join(f"{n},{n % 2},{n % 3 // 2},{n / 2}\n" for n in range(20))


def test_columns_of_a_table_are_numbers_or_labels(tmp_path):
    name = f"table:{tmp_path / 'mine.csv'}"
    (tmp_path / "mine.csv").write_text(TABLE)
    numbers = data.load(name, target="d,a", task="regression", normalize=False)
    assert (numbers.task.names, numbers.input_shape) == (("d", "a"), (2,))
    torch.testing.assert_close(2 * numbers.train.targets[:, 0], numbers.train.targets[:, 1])
    labels = data.load(name, target="b,c", task="labels", without="d", normalize=False)
    assert (labels.task.names, labels.input_shape) == (("b", "c"), (1,))
    torch.testing.assert_close(labels.train.targets[:, 0], labels.train.inputs[:, 0] % 2)
    with pytest.raises(UserMistake, match="the class is in one column, and target names 2: numbers are"):
        data.load(name, target="b,c")
    (tmp_path / "mine.csv").write_text(TABLE.replace("3,1,0,1.5", "3,1,0,?"))
    with pytest.raises(
        UserMistake, match=r"column 'd' holds '\?' in line 5, expected numbers to predict; classes are"
    ):
        data.load(name, target="d", task="regression")


def test_numbers_to_predict_are_learned_as_they_are_where_it_is_said(tmp_path):
    y = np.stack([X[:, 0] * 5 + 3, np.arange(len(X)) % 2], 1).astype(np.float32)
    np.savez(tmp_path / "mine.npz", x=X, y=y)
    (tmp_path / "mine.csv").write_text(TABLE)
    kept, learned = (
        data.load((X, y), task="regression", normalize_targets=normalize).tensors("test")[1]
        for normalize in (False, True)
    )
    assert set(kept[:, 1].tolist()) == {0, 1}
    assert set(learned[:, 1].tolist()) == {-1, 1}  # as many of both
    for name, more in (("arrays:{}/mine.npz", {}), ("table:{}/mine.csv", {"target": "d"})):
        loaded = data.load(name.format(tmp_path), task="regression", normalize_targets=False, **more)
        torch.testing.assert_close(loaded.tensors("test")[1], loaded.test.targets)
    with pytest.raises(
        UserMistake, match="normalize_targets is for numbers to predict, and targets are classes"
    ):
        data.load((X, np.arange(len(X)) % 2), normalize_targets=False)
