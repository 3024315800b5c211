"""Runs on examples of several columns: taught as a loop by hand would be, resumed to the bit, refused in a line."""

import re

import pytest
import torch
import torch.nn.functional as F
from tests.training import small_columns
from tests.training.small_columns import OfADict, pair, whole

from biograd import data
from biograd.errors import UserMistake
from biograd.robustness import AttackSettings, measure_run
from biograd.training import RunConfig, build, compare, examples, grid, load_weights, resume, train
from biograd.training.restored import restored

FILE = small_columns.__file__


def chosen(**flags):
    small = {
        "rule": "bp",
        "net": OfADict,
        "data": pair,
        "epochs": 2,
        "batch_size": 10,
        "precision": "float64",
    }
    return {**small, "device": "cpu", "schedule": "none", **flags}


def test_a_run_is_the_loop_by_hand(tmp_path):
    train(chosen(seed=3), tmp_path / "run")
    config = RunConfig.from_sources(chosen(seed=3))
    net = build(config).net
    loaded = data.load(pair, seed=data.derive(3, "data"))
    batches = loaded.batches("train", 10, seed=3)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for epoch in range(2):
        for x, y in batches.epoch(epoch):
            optimizer.zero_grad()
            F.cross_entropy(net({"words": x["words"], "table": x["table"].double()}), y).backward()
            optimizer.step()
    trained = build(config).net
    load_weights(tmp_path / "run/checkpoint.safetensors", trained)
    torch.testing.assert_close(dict(trained.state_dict()), dict(net.state_dict()), rtol=1e-12, atol=0)
    x, _ = loaded.tensors("test")
    x["table"] = x["table"].double()
    back = restored(tmp_path / "run", objects={"net": OfADict, "data": pair})
    torch.testing.assert_close(back.predict(x), net.eval()(x), rtol=1e-12, atol=0)


FORMS = {
    "by keyword": {"net": f"{FILE}:ByKeyword", "by_keyword": "true"},
    "named columns of a file": {
        "data": {"name": f"{FILE}:items", "inputs": "words,table", "targets": "class"},
    },
    "named columns of an object": {
        "data": {"name": small_columns.items, "inputs": ("words", "table"), "targets": "class"},
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore:kp. learning rate")
def test_it_is_the_same_run_whatever_way_the_columns_come(form, tmp_path):
    results = [
        train(chosen(rule="kp", **flags), tmp_path / str(place))
        for place, flags in enumerate([{}, FORMS[form]])
    ]
    first, second = ({k: v for k, v in one.items() if "loss" in k or "accuracy" in k} for one in results)
    assert first == second


@pytest.mark.parametrize("rule", ["fa", "wm"])
def test_a_stopped_run_goes_on_to_the_same_bits(rule, tmp_path, stop_after, bits):
    flags = chosen(
        rule=rule, net=f"{FILE}:ByKeyword", data=f"{FILE}:pair", by_keyword=True, diagnostics_every=3
    )
    train(flags, tmp_path / "whole")
    stop_after(4)
    with pytest.raises(KeyboardInterrupt):
        train(flags, tmp_path / "stopped")
    stop_after(None)
    resume(tmp_path / "stopped")
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")


def test_rules_are_compared_on_columns(tmp_path):
    results = compare(grid(["bp", "usf"], 1, chosen(rule=None, epochs=1)), tmp_path / "all")
    assert [(one["rule"], one["status"]) for one in results] == [("bp", "done"), ("usf", "done")]


def test_examples_are_known_by_what_every_column_holds_and_is_called():
    config = RunConfig.from_sources(chosen(data=f"{FILE}:pair"))
    words, table = pair[0].values()
    others = [
        pair[0],
        {"words": words, "table": table + 1},
        {"words": words.flip(0), "table": table},
        {"text": words, "table": table},
        {"table": table, "words": words},
    ]
    found = [examples.digest(config, data.load((x, pair[1]))) for x in [pair[0], *others]]
    assert found[0] == found[1]
    assert len(set(found)) == len(others)


def shortened(net):
    """Without a vector for the last word, whose first examples are taught without it."""
    net.words = torch.nn.Embedding(8, 6)
    return net


REFUSED = {
    "by_keyword gives a net the columns of its inputs by name, and those of own data are one tensor": {
        "data": whole,
        "by_keyword": True,
    },
    "one of own data is called 'self', as the net itself is: give it another name": {
        "data": ({"self": pair[0]["table"]}, pair[1]),
        "by_keyword": True,
    },
    "mlp takes one tensor, and an example has the columns words (4,), table (5,): take a net": {"net": "mlp"},
    "one tensor": {"rule": {"name": "pepita", "blocks": ["words", "table", "head"]}},
    "missing 1 required positional argument: 'table'; the columns of an example reach it as one dict, by "
    "keyword with by_keyword": {"net": f"{FILE}:ByKeyword"},
    "IndexError: index out of range in self; the inputs of own data go from 0 to 8 in 'words'": {
        "net": lambda shape, outputs: shortened(OfADict(shape, outputs))
    },
    "got an unexpected keyword argument 'table'; the columns of an example reach it by keyword, as one dict without "
    "by_keyword (--by-keyword true)": {"net": f"{FILE}:Forgetful", "by_keyword": True},
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_taught_is_one_line_before_there_is_a_folder(why, tmp_path):
    with pytest.raises(UserMistake, match=re.escape(why)) as caught:
        train(chosen(**REFUSED[why]), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_attacks_want_one_tensor_before_a_source_of_transfer_is_looked_for(tmp_path):
    runs = [tmp_path / rule for rule in ("bp", "fa")]
    for run in runs:
        train(chosen(rule=run.name, net=f"{FILE}:OfADict", data=f"{FILE}:pair", epochs=1), run)
    with pytest.raises(
        UserMistake, match="an example of own data is several columns, and attacks change one"
    ):
        measure_run(runs[0], AttackSettings(attacks=("transfer",)), transfer_from=runs)
