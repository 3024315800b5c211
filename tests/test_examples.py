import runpy
from pathlib import Path

import pytest
import torch

from biograd import rules

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, *args, **kwargs):
    return load(name)["main"](*args, **kwargs)


def load(name):
    return runpy.run_path(str(EXAMPLES / name))


def test_one_changed_line_trains_with_three_rules(capsys):
    accuracy = run("one_line.py")
    assert list(accuracy) == ["bp", "fa", "dfa"]
    assert min(accuracy.values()) > 0.94
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_rule_in_one_file_keeps_the_contract_and_learns(capsys):
    assert run("own_rule.py") > 0.95
    assert "keeps the contract" in capsys.readouterr().out


def test_the_rule_in_one_file_is_found_by_its_path_and_its_settings_are_checked():
    net = torch.nn.Linear(50, 40)
    name = f"{EXAMPLES / 'own_rule.py'}:SparseFeedback"
    rule = rules.create(name, net, kept="0.1")
    assert rule.B["weight"].count_nonzero() / net.weight.numel() == pytest.approx(0.1, abs=0.03)
    with pytest.raises(ValueError, match="'kept' got 2"):
        rules.create(name, net, kept=2)


def test_a_net_data_and_a_rule_of_ones_own_train_in_one_loop(capsys):
    accuracy = run("your_own.py")
    assert list(accuracy) == ["fa", "dfa", "node perturbation"]
    assert min(accuracy.values()) > 0.9
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_node_perturbation_is_backpropagation_on_average_over_the_noise():
    own = load("your_own.py")
    torch.manual_seed(0)
    x = torch.randn(512, 2, dtype=torch.float64)
    net = own["Net"]((2,), 3, width=4).double()
    rule = own["NodePerturbation"](net, x[:1], blocks=("embed", "layers.*", "head"), noise=1e-5)

    def gradients(rule, times):
        net.zero_grad()
        for _ in range(times):
            rule.assign_credit(net, x, x.norm(dim=1).long().clamp(max=2), torch.nn.functional.cross_entropy)
        return torch.cat([p.grad.flatten() / times for n, p in net.named_parameters() if "head" not in n])

    mean, exact = gradients(rule, 100), gradients(rules.create("bp", net), 1)
    assert torch.nn.functional.cosine_similarity(mean, exact, dim=0) > 0.99
    assert mean.norm() / exact.norm() == pytest.approx(1, abs=0.03)


def test_tensorboard_gets_the_loss_and_the_angles(tmp_path, capsys):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    angle = run("tensorboard_loop.py", str(tmp_path), epochs=1)
    read = events.EventAccumulator(str(tmp_path)).Reload()
    assert {"loss", "gradient_angle/1.weight", "norm_ratio/3.weight"} <= set(read.Tags()["scalars"])
    assert [scalar.step for scalar in read.Scalars("gradient_angle/1.weight")] == [0, 20]
    assert read.Scalars("gradient_angle/1.weight")[-1].value == pytest.approx(angle)
    assert len(read.Scalars("loss")) == 23
    assert f"in the first layer: {angle:.0f}°" in capsys.readouterr().out


def test_every_example_is_tested():
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    assert [e.name for e in EXAMPLES.glob("*.py") if f'run("{e.name}"' not in tests] == []
