"""Every rung asks the same of a rule and of its baselines."""

import pytest

from biograd import rules
from biograd.studies import tuned
from biograd.studies.cells import configuration
from biograd.studies.ladder import BASELINES, LADDER
from biograd.training import build

CONTENDERS = {name: name for name in (*BASELINES, "dfa")}


def test_rungs_go_from_iris_to_imagenet_and_a_first_look_climbs_the_lower_ones():
    names = [rung.name for rung in LADDER]
    assert (names[0], names[-1]) == ("iris", "imagenet-resnet18")
    assert len(set(names)) == len(names) == 9
    looked_at = [rung.quick is not None for rung in LADDER]
    assert looked_at == sorted(looked_at, reverse=True)


@pytest.mark.parametrize("rung", LADDER, ids=[rung.name for rung in LADDER])
def test_on_a_rung_rules_differ_in_the_rule_alone_and_each_is_searched(rung):
    cells = rung.cells(CONTENDERS)
    assert [cell.name for cell in cells] == [f"{rung.name}/{name}" for name in CONTENDERS]
    assert len({(cell.full, cell.quick) for cell in cells}) == 1
    shared = [{**cell.configuration, "rule": None} for cell in cells]
    assert all(one == shared[0] for one in shared)
    for cell in cells:
        assert cell.full.tuning.trials > 1
        assert "optimizer.lr" in tuned.contender(cell).space


def test_rules_that_teach_block_by_block_take_residual_units_as_a_whole_and_others_need_not():
    (resnet,) = (rung for rung in LADDER if rung.name == "cifar-resnet20")
    inside = {name: resnet.layer(name)["rule"].get("inside") for name in CONTENDERS}
    assert inside == {"bp": None, "shallow": "exact", "frozen": None, "dfa": "exact"}
    cut = {"name": "dfa", "blocks": ("0", "15")}
    assert resnet.layer(cut)["rule"] == cut
    assert all("inside" not in rung.layer("dfa")["rule"] for rung in LADDER if not rung.has_units)


@pytest.mark.parametrize(
    "rule", [name for name in rules.REGISTRY.built_in() if rules.declared(name)["tasks"]]
)
def test_a_rule_that_teaches_any_plain_net_can_step_on_the_first_rung(rule):
    needs_its_own_net = {"tp", "softhebb", "forward-forward"}
    if rule not in needs_its_own_net:
        (cell,) = LADDER[0].cells({rule: rule})
        setup = build(configuration(cell, "full", 0, {"device": "cpu"}))
        assert len(setup.training) > 1
