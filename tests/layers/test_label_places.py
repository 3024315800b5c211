import pytest
import torch

from biograd.errors import UserMistake
from biograd.layers import LabelPlaces

X = torch.tensor([[7.0, 8.0, 9.0], [4.0, 5.0, 6.0]])
LABELS = torch.tensor([[0.0, 1.0], [1.0, 0.0]])


def test_by_itself_it_shows_the_neutral_label():
    expected = torch.tensor([[1.5, 1.5, 7, 8, 9], [1.5, 1.5, 4, 5, 6]])
    assert torch.equal(LabelPlaces(2, strength=3)(X), expected)


def test_a_label_stands_before_the_features_at_its_strength():
    expected = torch.tensor([[0.0, 3, 7, 8, 9], [3, 0, 4, 5, 6]])
    assert torch.equal(LabelPlaces(2, strength=3).write(X, LABELS), expected)


def test_or_over_the_first_of_them_and_the_batch_stays_as_it_was():
    before = X.clone()
    assert torch.equal(
        LabelPlaces(2, overwrite=True).write(X, LABELS), torch.tensor([[0.0, 1, 9], [1, 0, 6]])
    )
    assert torch.equal(X, before)


def test_images_keep_their_shape_and_lose_the_first_pixels_of_the_first_row():
    x = torch.randn(2, 1, 3, 3)
    shown = LabelPlaces(2, overwrite=True).write(x, LABELS)
    assert torch.equal(shown[:, 0, 0, :2], LABELS)
    assert torch.equal(shown[:, 0, 1:], x[:, 0, 1:])
    assert torch.equal(shown[:, 0, 0, 2], x[:, 0, 0, 2])


def test_labels_take_the_dtype_of_the_input():
    assert LabelPlaces(2).write(X.double(), LABELS.long()).dtype == torch.float64


def test_an_image_has_no_room_before_it():
    with pytest.raises(UserMistake, match=r"got \(2, 1, 3, 3\): put an nn.Flatten before it"):
        LabelPlaces(2)(torch.randn(2, 1, 3, 3))


def test_more_classes_than_features_cannot_overwrite_them():
    with pytest.raises(UserMistake, match="4 classes does not fit into examples of 3 numbers"):
        LabelPlaces(4, overwrite=True)(X)


def test_no_classes_are_refused():
    with pytest.raises(UserMistake, match="at least 1, got 0"):
        LabelPlaces(0)
