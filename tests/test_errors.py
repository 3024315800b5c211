"""Whatever comes, a message about it is a line that can be read."""

import pytest
import torch
from torch import nn

from biograd import data, nets, rules
from biograd.errors import UserMistake, brief, cut_short
from biograd.training import RunConfig, grid

TASK = {"rule": "fa", "data": "iris", "net": "mlp"}
LONG = "x" * 5000
LARGE = {
    "text": LONG,
    "lines": "a\n" * 500,
    "tensor": torch.randn(50, 50),
    "net": nn.Sequential(*(nn.Linear(3, 3) for _ in range(40))),
    "list": list(range(5000)),
    "mapping": {f"key {n}": n for n in range(500)},
    "nested": {"a": {"b": {"c": [LONG] * 50}}},
    "number": 10**4000,
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_a_large_value_is_a_short_line(value):
    assert len(brief(value)) <= 165
    assert "\n" not in brief(value)


@pytest.mark.parametrize("value", ["fa", 3, 0.5, None, (1, 2), {"a": 1}, True])
def test_a_small_one_is_shown_as_python_does(value):
    assert brief(value) == repr(value)


def test_a_text_that_is_cut_keeps_both_ends():
    assert cut_short("begin " + LONG + " end", 30).startswith("begin ")
    assert cut_short("begin " + LONG + " end", 30).endswith(" end")


NET = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
PLACES = {
    "a rule's setting": lambda value: rules.create("fa", NET, scale=value),
    "a choice of a rule": lambda value: rules.create("dtp", NET, schedule=value),
    "a strategy": lambda value: rules.create("gait-prop", NET, form=value),
    "a net's setting": lambda value: nets.create("mlp", (4,), 3, widths=value),
    "a net's outputs": lambda value: nets.create("mlp", (4,), value),
    "a data set's setting": lambda value: data.load("synthetic", examples=value),
    "epochs": lambda value: RunConfig.from_sources({**TASK, "epochs": value}),
    "a rule": lambda value: RunConfig.from_sources({**TASK, "rule": value}),
    "an optimizer": lambda value: RunConfig.from_sources({**TASK, "optimizer": value}),
    "an optimizer's setting": lambda value: RunConfig.from_sources({**TASK, "lr": value}),
    "observers": lambda value: RunConfig.from_sources({**TASK, "observe": value}),
    "a device": lambda value: RunConfig.from_sources({**TASK, "device": value}),
    "a class": lambda value: data.load("iris").one_vs_rest(str(value)),
    "seeds": lambda value: grid(["bp"], [0] * 5000, {"data": "iris", "net": "mlp"}),
    "a rule's settings for several": lambda value: grid(["bp", "fa"], 1, {"rule": {"scale": value}}),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("value", [value for kind, value in LARGE.items() if kind != "number"])
def test_a_message_about_a_large_value_can_be_read(place, value):
    with pytest.raises(UserMistake) as caught:
        place(value)
    assert len(str(caught.value)) < 900
    assert "\n" not in str(caught.value)


WORDS = {
    "a command": [LONG],
    "a number": ["train", "--epochs", LONG],
    "a count": ["bench", "--repeats", LONG],
    "names": ["compare", "--rules", f",{LONG}"],
    "a flag": ["train", f"--{LONG}", "1"],
}


@pytest.mark.parametrize("line", WORDS.values(), ids=WORDS)
def test_so_can_one_about_a_long_word_of_a_command_line(biograd, line):
    assert len(biograd(*line).mistake) < 900
