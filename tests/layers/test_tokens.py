import pytest
import torch

from biograd import UserMistake
from biograd.layers import ClassToken, Positions


def test_every_token_gets_the_vector_of_its_place_also_in_a_shorter_sequence():
    positions, x = Positions(4, 3), torch.randn(2, 3, 3)
    shown = positions(x)
    assert torch.equal(shown[1, 2], x[1, 2] + positions.offsets[2])
    assert shown.shape == x.shape


def test_the_class_token_is_the_same_before_every_sequence():
    token, x = ClassToken(3), torch.randn(2, 4, 3)
    shown = token(x)
    assert torch.equal(shown[:, 0], token.token.expand(2, 3))
    assert torch.equal(shown[:, 1:], x)


def test_a_sequence_without_a_place_for_each_token_is_refused():
    with pytest.raises(UserMistake, match="got a sequence of 6 tokens, and the net has places for 5"):
        Positions(5, 3)(torch.zeros(2, 6, 3))
