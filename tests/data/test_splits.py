"""A validation part is a fair, repeatable share of every class."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biograd.data import Classes, Split, carve_validation
from biograd.errors import UserMistake

TASK = Classes(tuple(map(str, range(10))))


def numbered(targets):
    """A split whose inputs are the examples' own numbers."""
    return Split(torch.arange(len(targets)).float().unsqueeze(1), torch.tensor(targets))


@settings(deadline=None)
@given(
    targets=st.lists(st.integers(0, 4), min_size=2, max_size=60),
    fraction=st.floats(0, 0.99),
    seed=st.integers(-5, 2**70),
)
def test_the_parts_share_every_class_and_lose_nothing(targets, fraction, seed):
    whole = numbered(targets)
    taken = round(len(targets) * fraction)
    if taken in (0, len(targets)) and fraction > 0:
        with pytest.raises(UserMistake, match="each part needs at least one"):
            carve_validation(whole, TASK, fraction, seed)
        return
    train, validation = carve_validation(whole, TASK, fraction, seed)
    numbers = torch.cat([train.inputs, validation.inputs]).flatten()
    assert sorted(numbers.tolist()) == list(range(len(targets)))
    assert len(validation) == taken
    for part in (train, validation):
        assert part.targets.equal(whole.targets[part.inputs.flatten().long()])
        assert part.inputs.flatten().tolist() == sorted(part.inputs.flatten().tolist())
    for cls in set(targets):
        assert abs(int((validation.targets == cls).sum()) - fraction * targets.count(cls)) < 1


def test_the_parts_are_a_function_of_the_seed():
    whole = numbered([0, 1] * 50)
    chosen = [carve_validation(whole, TASK, 0.2, seed)[1].inputs.flatten().tolist() for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1]
    assert chosen[0] != chosen[2]


def test_what_is_left_over_goes_to_the_largest_remainders_and_among_equals_to_the_first_class():
    """Shares of a half: 1½, 2 and 1½ of five; of a quarter: 1½, ¾ and ¾ of three."""
    for sizes, fraction, taken in (((3, 4, 3), 0.5, [2, 2, 1]), ((6, 3, 3), 0.25, [1, 1, 1])):
        targets = [cls for cls, size in enumerate(sizes) for _ in range(size)]
        _, validation = carve_validation(numbered(targets), TASK, fraction, seed=0)
        assert validation.targets.bincount(minlength=3).tolist() == taken


def test_classes_of_one_size_give_examples_of_different_places():
    _, validation = carve_validation(numbered([0] * 50 + [1] * 50), TASK, 0.2, seed=0)
    places = validation.inputs.flatten().reshape(2, 10) % 50
    assert places[0].tolist() != places[1].tolist()


def test_a_fraction_of_zero_gives_an_empty_validation_part():
    train, validation = carve_validation(numbered([0, 1, 2]), TASK, 0, seed=0)
    assert (len(train), len(validation)) == (3, 0)
    assert validation.inputs.shape == (0, 1)


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan"), float("inf")])
def test_a_fraction_out_of_range_is_the_users_mistake(fraction):
    with pytest.raises(UserMistake, match="at least 0 and less than 1"):
        carve_validation(numbered([0, 1, 2]), TASK, fraction, seed=0)


def test_the_global_generator_is_left_as_it_was():
    before = torch.get_rng_state()
    carve_validation(numbered([0, 1] * 10), TASK, 0.5, seed=0)
    assert torch.get_rng_state().equal(before)
