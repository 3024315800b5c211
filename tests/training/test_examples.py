"""Examples are known by their values, however the tensors that hold them are made."""

import pytest
import torch

from biograd.data import Classes, DataSet, Preprocessing, Split
from biograd.training import examples

INPUTS, TARGETS = torch.linspace(-1, 1, 24).reshape(6, 4), torch.arange(6) % 2


@pytest.fixture
def known(make_config, net_file):
    """What a set with these inputs is known by."""
    config = make_config(data=net_file("augmented").replace("small_nets", "small_data"))

    def digest(inputs):
        split = Split(inputs, TARGETS)
        return examples.digest(
            config, DataSet("own", split, split, Classes(("a", "b")), Preprocessing((0.0,), (1.0,)))
        )

    return digest


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda x: x.t().contiguous().t(), id="columns"),
        pytest.param(lambda x: x.clone().requires_grad_(), id="requires grad"),
        pytest.param(lambda x: torch._neg_view(-x), id="negative view"),
    ],
)
def test_the_same_values_are_the_same_examples(made, known):
    assert known(made(INPUTS)) == known(INPUTS)


def test_another_value_is_another_example(known):
    other = INPUTS.clone()
    other[5, 3] = torch.nextafter(other[5, 3], torch.tensor(2.0))
    assert known(other) != known(INPUTS)
