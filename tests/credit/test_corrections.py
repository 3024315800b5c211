import math

import pytest
import torch

from biograd.credit.back.corrections import cost_of_another, foretold, further, is_dear


def test_no_more_corrections_are_made_where_the_next_one_leaves_enough():
    assert further(0.02, 0.02, 5e-4) == 0


@pytest.mark.parametrize(("rho", "rate"), [(0.1, 0.1), (0.4, 0.7), (0.05, 0.3)])
def test_further_corrections_are_those_at_the_rate_of_the_last(rho, rate):
    left = rho * rate ** (1 + further(rho, rate, 5e-4))
    assert left == pytest.approx(5e-4)


@pytest.mark.parametrize("rate", [1.0, 1.5, math.nan, math.inf])
def test_corrections_that_make_it_no_less_lead_nowhere(rate):
    assert further(2.0, rate, 5e-4) == math.inf


@pytest.mark.parametrize("rho", [0.0, 1e-9, 0.01, 0.05, 0.2])
def test_what_is_foretold_is_the_least_that_leaves_enough(rho):
    count = foretold(rho, 5e-4)
    assert rho ** (count + 1) <= 5e-4
    assert count == 1 or rho**count > 5e-4


def test_an_inverse_of_eight_times_as_many_rows_costs_ten_corrections():
    assert cost_of_another(torch.empty(1024, 1024), torch.empty(128, 1024)) == pytest.approx(32 / 3)


def test_going_on_until_calls_are_dear_is_the_cheapest_of_all_ages():
    """For corrections that grow with age the average over a whole life is least where the next call is above it."""
    corrections, cost = [1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 10], 10.0
    average = [(cost + sum(corrections[:calls])) / calls for calls in range(1, len(corrections) + 1)]
    dear = next(
        calls
        for calls in range(1, len(corrections) + 1)
        if is_dear(corrections[calls - 1], sum(corrections[:calls]), calls, cost)
    )
    assert min(average) == average[dear - 2]
