"""However a net of three blocks is dressed, a rule gives it the same update, or refuses it in one line."""

import pytest
import torch

from biograd import rules
from tests.rules.disguises import DISGUISES, one_process, outcome


@pytest.fixture(scope="module", autouse=True)
def process_group():
    torch._dynamo.reset()
    with one_process():
        yield


@pytest.fixture(scope="module")
def plain():
    return {rule: outcome(rule, "plain") for rule in rules.REGISTRY.built_in()}


@pytest.mark.parametrize("disguise", [name for name in DISGUISES if name != "plain"])
@pytest.mark.parametrize("rule", rules.REGISTRY.built_in())
def test_a_disguise_changes_nothing_or_is_refused_and_never_makes_a_rule_backpropagation(
    rule, disguise, plain
):
    found = outcome(rule, disguise)
    if found.refusal is not None:
        assert "\n" not in found.refusal
        assert rules.declared(rule)["nets"] == "chain"
        return
    assert rule == "bp" or not found.is_backpropagation
    if disguise != "residual units":  # another function, which has no plain form
        for ours, theirs in zip(found.taught, plain[rule].taught, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", [name for name in rules.REGISTRY.built_in() if name != "bp"])
def test_the_plain_net_is_taught_and_not_by_backpropagation(rule, plain):
    assert plain[rule].refusal is None
    assert not plain[rule].is_backpropagation
    assert not plain[rule].cosine > 0.999


CHAIN_RULES = [name for name in rules.REGISTRY.built_in() if rules.declared(name)["nets"] == "chain"]


@pytest.mark.parametrize("disguise", ["wrapped", "split", "nested with a hook", "residual units"])
@pytest.mark.parametrize("rule", CHAIN_RULES)
def test_rules_for_chains_refuse_what_hides_backpropagation_by_the_names_of_its_layers(rule, disguise):
    said = outcome(rule, disguise).refusal
    assert said is not None
    assert "weight layers, " in said
    assert "errors would be backpropagated inside" in said


@pytest.mark.parametrize("disguise", ["split", "residual units"])
@pytest.mark.parametrize("rule", ["dfa", "drtp", "shallow", "ddtp-linear"])
def test_the_users_word_lets_a_hidden_block_be_exact_inside_and_makes_no_rule_backpropagation(rule, disguise):
    found = outcome(rule, disguise, inside="exact")
    assert found.refusal is None
    assert not found.is_backpropagation
