"""Nets as people write them, under every kind of rule: in a loop of one's own and by the command line."""

import re
from pathlib import Path

import pytest

from biograd import rules
from biograd.records import Run
from tests.zoo.animals import ANIMALS, Animal
from tests.zoo.outcomes import FALLS_TO
from tests.zoo.page import PAGE, outcomes, remarks, row

HERE = Path(__file__).parent
BY_COMMAND = ("fa", "dfa", "kp", "dtp", "dfa", "dtp", "usf", "usf")
"""A rule for each net."""


@pytest.mark.parametrize("animal", ANIMALS, ids=lambda animal: animal.name)
def test_a_rule_teaches_a_net_or_refuses_it_as_the_page_says(animal: Animal):
    found = outcomes(animal)
    taught = {name: one for name, one in found.items() if one.kind != "refused"}
    too_slow = {name: one.fell_to for name, one in taught.items() if one.fell_to > FALLS_TO.get(name, 0.92)}
    assert too_slow == {}
    assert {name: set(one.still) for name, one in taught.items()} == {
        name: set(one.untaught) for name, one in taught.items()
    }
    exact = {one.exact for name, one in taught.items() if rules.REGISTRY.find(name).family == "feedback"}
    assert len(exact) == 1  # the page says it of all feedback rules
    assert all("\n" not in one.line for one in found.values())
    page = PAGE.read_text()
    assert row(animal, found) in page, "the page is not current: python -m tests.zoo"
    assert remarks(animal, found) in page, "the page is not current: python -m tests.zoo"


def test_the_page_has_the_nets_of_the_zoo_and_no_others():
    names = re.findall(r"^\| `(\w+)`: ", PAGE.read_text(), re.MULTILINE)
    assert names == [animal.name for animal in ANIMALS]


@pytest.mark.parametrize(
    ("animal", "rule"),
    list(zip(ANIMALS, BY_COMMAND, strict=True)),
    ids=[animal.name for animal in ANIMALS],
)
def test_the_command_line_trains_a_net_and_a_set_of_a_file(biograd, tmp_path, animal: Animal, rule):
    net, blocks = animal.by_command
    cuts = () if rules.REGISTRY.find(rule).nets == "any" else ("--rule.blocks", ",".join(blocks))
    ended = biograd(
        *("train", "--rule", rule, *cuts, "--net", f"{HERE}/nets.py:{net}"),
        *("--data", f"{HERE}/data.py:{animal.data.__name__}", "--validation-fraction", 0),
        *("--lr", 0.03, "--batch-size", 8, "--epochs", 8, "--out", tmp_path / "run", "--json"),
    )
    assert ended.code == 0, ended.err
    losses = [row["train_loss"] for row in Run.load(tmp_path / "run").metrics]
    assert losses[-1] < 0.9 * losses[0]
