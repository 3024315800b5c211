import pytest
import torch
import torch.nn.functional as F

from biograd import rules
from biograd.robustness import rule_gradient, true_gradient


def test_each_example_has_the_gradient_of_its_own_loss_whatever_the_batch(digits):
    net, x, y = digits
    together = true_gradient(net)(x[:5], y[:5])
    for one in range(5):
        leaf = x[one : one + 1].clone().requires_grad_()
        (alone,) = torch.autograd.grad(F.cross_entropy(net(leaf), y[one : one + 1]), leaf)
        torch.testing.assert_close(together[one : one + 1], alone)


def test_a_model_that_ignores_its_input_has_a_gradient_of_zero():
    constant = torch.zeros(3, 2, requires_grad=True)
    assert not true_gradient(lambda x: constant)(torch.ones(3, 4), torch.zeros(3, dtype=torch.long)).any()


def test_the_true_gradient_is_there_where_none_are_recorded(digits):
    net, x, y = digits
    with torch.no_grad():
        assert true_gradient(net)(x[:2], y[:2]).any()


@pytest.mark.parametrize("rule", ["bp", "fa", "dfa"])
def test_the_rules_gradient_is_asked_for_where_the_net_is(digits, rule):
    net, x, y = digits
    rule = rules.create(rule, net, sample=x[:1])
    follow = rule_gradient(rule, net, lambda x: (x - 0.3) / 0.5)
    expected = rule.input_gradient(net, (x - 0.3) / 0.5, y, F.cross_entropy)
    torch.testing.assert_close(follow(x, y), expected)
    torch.testing.assert_close(
        rule_gradient(rule, net)(x, y), rule.input_gradient(net, x, y, F.cross_entropy)
    )


def test_the_gradient_has_the_precision_of_the_input(digits):
    net, x, y = digits
    wide = rule_gradient(rules.create("bp", net), net, lambda x: x.float())(x.double(), y)
    assert wide.dtype == torch.float64
