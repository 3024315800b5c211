"""What a rule learns, moved by an optimiser of its own."""

import pytest
import torch

from biograd import records
from biograd.errors import UserMistake
from biograd.training import Choice, RunConfig, build, checkpoint, resume, train

OWN = {"name": "sgd", "lr": 0.5, "momentum": 0.9}
TASK = {"data": "iris", "net": "mlp"}


@pytest.fixture
def mirrored(rule_file, net_file):
    return {"rule": rule_file("Mirrored"), "net": net_file("plain"), "precision": "float64"}


@pytest.fixture
def chosen(tmp_path):
    """The feedback optimiser that a file's text and flags come to."""

    def choose(text="", rule="fa", **flags):
        file = tmp_path / "run.toml"
        file.write_text(text)
        return RunConfig.from_sources({"rule": rule, **TASK, **flags}, file).feedback_optimizer

    return choose


def test_without_one_the_net_shares_its_own(make_config, mirrored):
    setup = build(make_config(**mirrored))
    held = [*setup.net.parameters(), *setup.rule.parameters()]
    assert [id(p) for p in setup.optimizer.param_groups[0]["params"]] == [id(p) for p in held]
    assert setup.feedback_optimizer is None
    assert setup.optimizers == [setup.optimizer]


def test_each_holds_its_own_parameters_and_settings(make_config, mirrored):
    setup = build(make_config(**mirrored, feedback_optimizer=OWN))
    (of_net,), (of_rule,) = (optimizer.param_groups for optimizer in setup.optimizers)
    assert [id(p) for p in of_net["params"]] == [id(p) for p in setup.net.parameters()]
    assert [id(p) for p in of_rule["params"]] == [id(p) for p in setup.rule.parameters()]
    assert (of_net["lr"], of_rule["lr"], of_rule["momentum"]) == (1e-3, 0.5, 0.9)


@pytest.mark.parametrize(
    "schedule", [{"name": "none"}, {"name": "cosine"}, {"name": "step", "at": "1"}], ids=str
)
def test_it_moves_what_the_rule_learns_as_a_loop_by_hand_does(schedule, make_config, mirrored, tmp_path):
    """Plain gradient descent, net and rule each at its own rate, which the schedule multiplies alike."""
    config = make_config(
        **mirrored, optimizer="sgd", lr=0.2, feedback_optimizer={"name": "sgd", "lr": 0.05}, schedule=schedule
    )
    train(config, tmp_path)
    setup = build(config)
    shares = {"none": lambda t: 1.0, "step": lambda t: 1.0 if t < 6 else 0.1}
    share = shares.get(
        config.schedule.name, lambda t: (1 + torch.cos(torch.tensor(torch.pi * t / 12)).item()) / 2
    )
    for epoch in range(2):
        for number, (x, y) in enumerate(setup.training.epoch(epoch)):
            held = [*setup.net.parameters(), *setup.rule.parameters()]
            for p in held:
                p.grad = None
            setup.rule.assign_credit(setup.net, x.double(), y, setup.loss_fn)
            with torch.no_grad():
                for place, p in enumerate(held):
                    rate = 0.2 if place < len(list(setup.net.parameters())) else 0.05
                    p -= rate * share(6 * epoch + number) * p.grad
    state, _ = checkpoint.load(tmp_path / "checkpoint.safetensors")
    for part in ("net", "rule"):
        for key, value in getattr(setup, part).state_dict().items():
            torch.testing.assert_close(state[part][key], value, rtol=1e-6, atol=1e-9)
    rows = records.read_lines(tmp_path / "metrics.jsonl")
    assert max(row["learning_rate"] for row in rows) <= 0.2  # the net's, though the rule's comes second
    assert rows[0]["learning_rate"] == pytest.approx(
        0.2 * share(6 if schedule["name"] == "cosine" else 5), rel=1e-6
    )


def test_a_rate_of_its_own_changes_nothing_else(make_config, mirrored, tmp_path):
    for name, rate in {"slow": 1e-3, "fast": 1e-1}.items():
        train(make_config(**mirrored, feedback_optimizer={"name": "sgd", "lr": rate}), tmp_path / name)
    slow, fast = (checkpoint.load(tmp_path / name / "checkpoint.safetensors")[0] for name in ("slow", "fast"))
    assert all(torch.equal(value, fast["net"][key]) for key, value in slow["net"].items())
    assert not torch.equal(slow["rule"]["mirror.weight"], fast["rule"]["mirror.weight"])


@pytest.mark.parametrize(
    "flags",
    [
        {"feedback_optimizer": OWN},
        {"feedback_optimizer": "adam", "clip_norm": 0.1},
        {"feedback_optimizer": {"name": "adam-uncorrected", "lr": 0.01}, "precision": "float32"},
        {"feedback_optimizer": OWN, "schedule": {"name": "step", "at": "1"}},
        {"feedback_optimizer": "nadam", "optimizer": {"name": "sgd", "momentum": 0.9}},
    ],
    ids=str,
)
@pytest.mark.parametrize("step", [3, 9])
def test_both_and_their_schedules_go_on_with_the_same_bits(
    step, flags, make_config, mirrored, stop_after, bits, tmp_path
):
    config = make_config(**{**mirrored, "checkpoint_every": 2, **flags})
    train(config, tmp_path / "whole")
    stop_after(step)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped")
    stop_after(None)
    resume(tmp_path / "stopped")
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")


def test_gradients_of_both_are_cut_together(make_config, mirrored, tmp_path):
    """Under plain gradient descent at rate 1 the longest possible way is steps × norm."""
    config = make_config(
        **mirrored, optimizer="sgd", lr=1.0, feedback_optimizer={"name": "sgd", "lr": 1.0}, clip_norm=1e-3,
        schedule="none",
    )  # fmt: skip
    train(config, tmp_path)
    start, (state, _) = build(config), checkpoint.load(tmp_path / "checkpoint.safetensors")
    way = [
        (state[part][key] - value).flatten()
        for part in ("net", "rule")
        for key, value in getattr(start, part).state_dict().items()
    ]
    assert 0.5 * 12 * 1e-3 < torch.cat(way).norm() <= 12 * 1e-3 * (1 + 1e-9)


@pytest.mark.parametrize("rule", ["bp", "fa", "dfa", "wm"])
def test_a_rule_that_learns_nothing_has_no_use_for_one(rule, make_config, tmp_path):
    with pytest.raises(UserMistake, match=f"rule '{rule}' learns no parameters of its own") as caught:
        train(make_config(rule=rule, feedback_optimizer="adam"), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_kolen_pollack_refuses_one(make_config, tmp_path):
    with pytest.raises(UserMistake, match="kp moves B as it moves W, so both belong in one optimiser"):
        train(make_config(rule="kp", feedback_optimizer={"name": "adamw", "lr": 1e-3}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_with_one_and_a_run_without_do_not_go_together(make_config, mirrored, tmp_path):
    for name, flags in {"shared": {}, "own": {"feedback_optimizer": OWN}}.items():
        train(make_config(**mirrored, **flags), tmp_path / name)
    assert "feedback_optimizer" not in checkpoint.load(tmp_path / "shared" / "checkpoint.safetensors")[0]
    state, _ = checkpoint.load(tmp_path / "own" / "checkpoint.safetensors")
    assert {"optimizer", "feedback_optimizer", "schedule", "feedback_schedule"} <= set(state)
    config = records.read_json(tmp_path / "own" / "config.json")
    (tmp_path / "own" / "result.json").unlink()
    records.write_json(tmp_path / "own" / "config.json", {**config, "feedback_optimizer": None})
    with pytest.raises(UserMistake, match="was made with another configuration"):
        resume(tmp_path / "own")


def test_a_run_from_before_there_were_any_goes_on(make_config, stop_after, bits, tmp_path):
    config = make_config(checkpoint_every=2)
    train(config, tmp_path / "whole")
    stop_after(9)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped")
    stop_after(None)
    old = records.read_json(tmp_path / "stopped" / "config.json")
    later = ("loss", "feedback_optimizer")
    records.write_json(
        tmp_path / "stopped" / "config.json", {key: old[key] for key in old if key not in later}
    )
    resume(tmp_path / "stopped")
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")


def test_a_setting_alone_is_adams_unless_something_below_is_named(chosen):
    assert chosen() == Choice(name="shared")
    assert chosen(feedback_optimizer={"lr": "0.1"}) == Choice(name="adam", settings={"lr": 0.1})
    assert chosen("feedback-optimizer.lr = 0.1") == Choice(name="adam", settings={"lr": 0.1})
    assert chosen(
        "[feedback_optimizer]\nname = 'sgd'\nmomentum = 0.5", feedback_optimizer={"lr": "0.1"}
    ) == Choice(name="sgd", settings={"momentum": 0.5, "lr": 0.1})
    assert chosen("feedback_optimizer.eps = 0.5", feedback_optimizer={"name": "adam", "lr": 0.1}) == Choice(
        name="adam", settings={"eps": 0.5, "lr": 0.1}
    )
    assert chosen("feedback_optimizer = 'shared'", feedback_optimizer={"lr": 0.1}).name == "adam"


def test_naming_another_drops_the_settings_below(chosen):
    text = "[feedback_optimizer]\nname = 'sgd'\nmomentum = 0.5"
    assert chosen(text, feedback_optimizer="rmsprop") == Choice(name="rmsprop")
    assert chosen("feedback_optimizer.lr = 0.5", feedback_optimizer="sgd") == Choice(name="sgd")
    assert chosen(text, feedback_optimizer="shared") == Choice(name="shared")


def test_a_rule_can_bring_one_and_the_user_refines_or_drops_it(chosen, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from biograd.rules.feedback_alignment import FeedbackAlignment\n"
        "class Mine(FeedbackAlignment):\n"
        "    default_training = {'feedback_optimizer': {'name': 'rmsprop', 'lr': 0.5}}\n"
    )
    rule = f"{tmp_path / 'mine.py'}:Mine"
    assert chosen(rule=rule) == Choice(name="rmsprop", settings={"lr": 0.5})
    assert chosen(rule=rule, feedback_optimizer={"eps": 0.1}).settings == {"lr": 0.5, "eps": 0.1}
    assert chosen("feedback_optimizer = 'adam'", rule=rule) == Choice(name="adam")
    assert chosen(rule=rule, feedback_optimizer="shared") == Choice(name="shared")
    written = RunConfig.from_sources({"rule": rule, **TASK, "feedback_optimizer": "shared"})
    records.write_json(tmp_path / "config.json", written.to_json())
    assert RunConfig.from_sources({}, tmp_path / "config.json") == written


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "addam"}, "feedback_optimizer: unknown optimizer 'addam': did you mean 'adam'"),
        ({"name": "adam", "lr": -1}, "feedback_optimizer: optimizer 'adam': setting 'lr' got -1"),
        ({"name": "lbfgs"}, "feedback_optimizer: optimizer 'lbfgs' cannot train here"),
        ({"name": "shared", "lr": 1}, "feedback_optimizer: 'shared' has no setting 'lr'; its settings: none"),
        ({"momentum": 1}, "feedback_optimizer: optimizer 'adam' has no setting 'momentum'"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(given, words, chosen):
    with pytest.raises(UserMistake) as caught:
        chosen(feedback_optimizer=given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_default_changes_no_fingerprint(make_config):
    assert make_config().digest() == make_config(feedback_optimizer="shared").digest()
    assert make_config().digest() != make_config(feedback_optimizer="adam").digest()
