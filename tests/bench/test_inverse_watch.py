import pytest
import torch
import torch.nn.functional as F

import biograd
from biograd import nets
from biograd.bench.inverse_watch import InverseWatch
from biograd.layers import InvertibleConv2d


def taught(**settings):
    net = nets.create("square", (6,), 3, hidden=3, seed=0).double()
    x, y = torch.randn(5, 6, dtype=torch.float64), torch.randint(3, (5,))
    rule = biograd.rules.create("gait-prop", net, **settings)
    return net, rule, InverseWatch(rule), lambda: rule.assign_credit(net, x, y, F.cross_entropy)


def test_it_counts_what_is_made_anew_and_nothing_before_it_is_told_to_look():
    net, _, watch, step = taught()
    step()
    assert watch.found.refreshes == 0
    watch.look()
    assert watch.found.refreshes == len(watch.kept) == 2
    step()
    watch.look()
    assert watch.found.refreshes == 2
    step()
    watch.forget()
    watch.look()
    assert watch.found.refreshes == 2
    net[2].weight = torch.nn.Parameter(net[2].weight.detach().clone())  # elsewhere in memory
    step()
    watch.look()
    assert watch.found.refreshes == 3


def test_the_residual_is_that_of_the_equation_which_the_signal_should_solve():
    net, _, watch, step = taught()
    step()
    watch.look()
    assert watch.found.residual < 1e-12
    with torch.no_grad():
        net[4].weight.mul_(1.01)
    step()
    watch.look()
    assert watch.found.residual == pytest.approx(1e-4)  # e = 2δX − 1.01 δX and W = 1.01 X⁻¹


def test_once_it_has_ended_it_sees_nothing():
    _, _, watch, step = taught()
    watch.end()
    step()
    watch.look()
    assert watch.found.refreshes == 0


def test_a_rule_that_keeps_no_inverse_has_nothing_to_watch():
    assert not taught(inverse="exact")[2].kept


def test_the_residual_of_a_convolution_is_that_of_its_inverse():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 32), torch.nn.Unflatten(1, (2, 4, 4)))
    net.extend([InvertibleConv2d(2, 2, 2), torch.nn.Flatten(), torch.nn.Linear(32, 3)]).double()
    rule = biograd.rules.create("gait-prop", net, sample=torch.zeros(1, 2, 4, 4, dtype=torch.float64))
    watch = InverseWatch(rule)
    assert len(watch.kept) == 1
    x, y = torch.randn(5, 2, 4, 4, dtype=torch.float64), torch.randint(3, (5,))
    rule.assign_credit(net, x, y, F.cross_entropy)
    with torch.no_grad():
        net[3].weight.mul_(1.01)
    rule.assign_credit(net, x, y, F.cross_entropy)
    watch.look()
    assert (watch.found.refreshes, watch.found.residual) == (1, pytest.approx(1e-4))
