"""What tables call a thing is short, whatever it is named by."""

import pytest

from biograd.handed import hand, label_of


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("fa", "fa"),
        ("/home/me/my_rule.py:MyRule", "MyRule"),
        ("mine.py:Set cat vs rest", "Set cat vs rest"),
        ("table:/home/me/flowers.csv", "flowers"),
        ("folder:/home/me/cats.v2 siamese vs rest", "cats siamese vs rest"),
        ("object:Net@779d41d8201f", "Net"),
        ("object:own-data@779d41d8201f cat vs rest", "own-data cat vs rest"),
        (hand(lambda: 1), "lambda"),
        (hand(1, "a / b"), "a-b"),
        (hand(1, "…"), "object"),
    ],
)
def test_a_label_is_the_name_without_where_it_is_from(name, label):
    assert label_of(name) == label
