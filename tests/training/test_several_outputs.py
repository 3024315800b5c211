"""Runs of nets that give several tensors, and of batches that hold several."""

import dataclasses
import re

import pytest
import torch
from tests.training.mapped import MappedBatches, write

import biograd
from biograd.errors import UserMistake
from biograd.training import Ranks, build, train
from biograd.training.observers import of_run
from biograd.training.restored import restored
from biograd.training.trainer import Trainer


@pytest.fixture
def numbers(make_config, net_file, tmp_path):
    """The metrics of a run, its own folder's name left out."""

    def run(net, **flags):
        result = train(make_config(net=net_file(net), precision="float64", **flags), tmp_path / net)
        return {key: value for key, value in result.items() if "loss" in key or "accuracy" in key}

    return run


@pytest.mark.filterwarnings("ignore:kp. learning rate")
@pytest.mark.parametrize("rule", ["bp", "fa", "kp"])
def test_a_net_that_gives_a_dict_is_trained_and_judged_by_the_part_that_answers(numbers, rule):
    expected = numbers("plain", rule=rule)
    assert numbers("in_a_dict", rule=rule, answers="heads.policy") == expected
    assert expected["test_accuracy"] is not None


def test_a_loss_of_ones_own_reads_all_that_the_net_gives(make_config, net_file, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch.nn.functional as F\n"
        "def loss(output, y):\n"
        "    return F.cross_entropy(output['heads']['policy'], y) + output['value'].square().mean()\n"
    )
    config = make_config(net=net_file("in_a_dict"), answers="heads.policy", loss=f"{tmp_path}/mine.py:loss")
    setup = build(config)
    before = setup.net.value.weight.clone()
    (tmp_path / "run").mkdir()
    Trainer(setup, Ranks(setup.device), tmp_path / "run").run()
    assert not torch.equal(setup.net.value.weight, before)


def test_a_finished_run_predicts_the_part_that_answers(make_config, net_file, tmp_path):
    train(make_config(net=net_file("in_a_dict"), answers="heads.policy"), tmp_path / "run")
    run = restored(tmp_path / "run")
    x = torch.randn(4, 6)
    assert torch.equal(run.predict(x), run.net(x)["heads"]["policy"])


SEVERAL = "a dict with tensors (2, 3), (2, 1)"


@pytest.mark.parametrize(
    ("net", "answers", "line"),
    [
        ("in_a_dict", None, f"the net gives {SEVERAL}, and one tensor is to be judged: say which by answers"),
        ("in_a_dict", "heads", "answers = 'heads' stands for a dict with tensors (2, 3), and one tensor is"),
        ("in_a_dict", "x", f"'x' names no part of {SEVERAL} at 'x': it has 'heads', 'value'"),
        ("in_a_dict", "value", "gives (2, 1) for 2 examples, expected (2, 3): one output a class"),
        ("plain", "x", "'x' names no part of a tensor (2, 3) at 'x': it has no parts"),
    ],
)
def test_what_answers_is_one_tensor_of_the_shape_of_the_task(
    make_config, net_file, tmp_path, net, answers, line
):
    with pytest.raises(UserMistake, match=re.escape(line)):
        train(make_config(net=net_file(net), answers=answers, batch_size=6), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_rule_for_chains_refuses_such_a_net_before_the_run_has_a_folder(make_config, net_file, tmp_path):
    with pytest.raises(UserMistake, match="the net must be a chain"):
        train(make_config(rule="dfa", net=net_file("in_a_dict"), answers="heads.policy"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


class InParts(MappedBatches):
    """Each example in two parts, which the net takes as arguments."""

    def epoch(self, *args, **kwargs):
        for x, y in super().epoch(*args, **kwargs):
            yield biograd.Inputs(x[:, :2], right=x[:, 2:]), y


@pytest.mark.parametrize("rule", ["bp", "kp"])
def test_batches_may_hold_several_tensors(make_config, net_file, tmp_path, rule):
    write(tmp_path)
    ends = []
    for net, kind in (("plain", MappedBatches), ("of_two_parts", InParts)):
        flags = {"precision": "float64", "batch_size": 5, "validation_fraction": 0, "diagnostics_every": 4}
        config = make_config(net=net_file(net), rule=rule, **flags)
        batches = kind(tmp_path, 5, 3)
        setup = dataclasses.replace(build(config), training=batches, test=batches)
        (tmp_path / net).mkdir()
        trainer = Trainer(setup, Ranks(setup.device), tmp_path / net, of_run(config, Ranks(setup.device)))
        with trainer.watched():
            test = trainer.run()
        ends.append(([p.detach() for p in setup.net.parameters()], test, trainer.rows[-1]["train_loss"]))
    assert ends[0][1:] == ends[1][1:]
    torch.testing.assert_close(ends[0][0], ends[1][0], rtol=0, atol=0)
