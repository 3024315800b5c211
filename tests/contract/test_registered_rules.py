from dataclasses import replace

import pytest

from biograd import rules
from biograd.rules.gait_prop import GaitProp
from biograd.testing import Subject, all_checks

KINDS = ["mlp", "convolutional", "locally-connected"]


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", rules.names())
def test_every_registered_rule_keeps_the_contract(rule, kind, check):
    check(Subject(rule, kind=kind))


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_rules_keep_the_contract_with_learned_inverses(kind, check):
    check(Subject("gait-prop", {"inverse": "learned"}, replace(GaitProp.examples, draws=True), kind))
