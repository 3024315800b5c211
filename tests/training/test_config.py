import json
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from biograd import Backpropagation, nets, rules
from biograd.errors import UserMistake
from biograd.training import Choice, RunConfig

TASK = {"data": "iris", "net": "mlp"}


@pytest.fixture
def from_text(tmp_path):
    """Configure from a file's text and flags."""

    def configure(text, **flags):
        file = tmp_path / "run.toml"
        file.write_text(text)
        return RunConfig.from_sources(flags, file)

    return configure


def refusal(**flags):
    with pytest.raises(UserMistake) as caught:
        RunConfig.from_sources({"rule": "bp", **TASK, **flags})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_are_adam_at_a_thousandth_without_a_schedule():
    config = RunConfig.from_sources({"rule": "bp", **TASK})
    assert config.optimizer == Choice(name="adam", settings={"lr": 1e-3})
    assert config.schedule == Choice(name="cosine")


def test_flags_win_over_the_file_over_the_rule_over_defaults_key_by_key(from_text):
    text = """
        rule = "kp"
        data = "iris"
        net = "mlp"
        epochs = 3
        seed = 4
        [optimizer]
        weight-decay = 0.25
    """
    config = from_text(text, seed="7")
    assert (config.epochs, config.seed, config.batch_size) == (3, 7, 100)
    assert config.optimizer == Choice(name="adamw", settings={"weight_decay": 0.25})
    assert from_text(text, optimizer={"weight_decay": "0.5"}).optimizer.settings["weight_decay"] == 0.5


def test_a_rules_own_training_stands_unless_the_user_names_something_else():
    assert RunConfig.from_sources({"rule": "kp", **TASK}).optimizer.name == "adamw"
    named = RunConfig.from_sources({"rule": "kp", **TASK, "optimizer": "sgd"})
    assert named.optimizer == Choice(name="sgd")
    rate = RunConfig.from_sources({"rule": "kp", **TASK, "lr": "0.5"})
    assert rate.optimizer == Choice(name="adamw", settings={"weight_decay": 1.2, "lr": 0.5})


@pytest.mark.parametrize(
    ("key", "first", "setting", "other"),
    [
        ("rule", "fa", {"scale": 0.5}, "dfa"),
        ("data", "synthetic", {"classes": 4}, "iris"),
        ("net", "mlp", {"widths": (3, 4)}, "lenet"),
        ("optimizer", "sgd", {"momentum": 0.5}, "adamw"),
        ("schedule", "step", {"every": 3}, "cosine"),
    ],
)
def test_naming_something_else_drops_the_files_settings_for_the_first(from_text, key, first, setting, other):
    ((name, value),) = setting.items()
    shown = list(value) if isinstance(value, tuple) else value
    task = {"rule": "bp", **TASK, key: None}
    text = f"[{key}]\nname = '{first}'\n{name} = {shown}\n"
    kept = getattr(from_text(text, **task), key)
    assert kept.settings[name] == value
    assert getattr(from_text(text, **{**task, key: first}), key) == kept
    assert getattr(from_text(text, **{**task, key: other}), key) == Choice(name=other)


def test_a_name_alone_is_short_for_a_table_with_that_name(from_text):
    rest = "data = 'iris'\nnet = 'mlp'\n"
    assert from_text("rule = 'fa'\n" + rest) == from_text(rest + "[rule]\nname = 'fa'\n")


def test_a_setting_alone_refines_what_lies_below_it(from_text):
    config = from_text("data = 'iris'\nnet = 'mlp'\n[rule]\nname = 'fa'\nscale = 0.5\n", rule={"seed": "3"})
    assert config.rule == Choice(name="fa", settings={"scale": 0.5, "seed": 3})


CONSTANT = {"name": "constant", "settings": {"gamma": 0.1}}
GAIT = "[rule]\nname = 'gait-prop'\n"


@pytest.mark.parametrize(
    ("below", "above", "form"),
    [
        ("form = {name = 'constant', gamma = 0.1}", {}, CONSTANT),
        ("form = {name = 'constant', gamma = 0.1}", {"form": "constant"}, CONSTANT),
        (
            "form = {name = 'constant', gamma = 0.1}",
            {"form": "linearised"},
            {"name": "linearised", "settings": {}},
        ),
        ("form = {name = 'constant', gamma = 0.3}", {"form.gamma": "0.1"}, CONSTANT),
        ("form = {name = 'adaptive', gamma = 0.3}", {"form": "constant", "form.gamma": "0.1"}, CONSTANT),
        ("form = 'constant'", {"form.gamma": "0.1"}, CONSTANT),
        ("form = 'constant'", {"form": {"gamma": 0.1}}, CONSTANT),
        ("form = {name = 'constant', settings = {gamma = 0.1}}", {"form": {"name": "constant"}}, CONSTANT),
        ("form = {name = 'constant', margin = 0.2}", {"form": {"gamma": 0.1, "margin": 1e-6}}, CONSTANT),
        ("inverse = 'exact'", {"form": "linearised"}, {"name": "linearised", "settings": {}}),
    ],
    ids=str,
)
def test_strategies_are_laid_over_one_another_key_by_key_and_another_one_whole(from_text, below, above, form):
    config = from_text(GAIT + below + "\n[net]\nname = 'square'\n", data="iris", rule=above)
    assert config.rule.settings["form"] == form
    again = RunConfig(**json.loads(json.dumps(config.to_json())))
    assert again == config
    assert again.digest() == config.digest()


def test_a_setting_of_another_strategy_than_the_files_is_refused_with_both_places(from_text):
    with pytest.raises(UserMistake) as caught:
        from_text(GAIT + "form = 'linearised'\n", **TASK, rule={"form.gamma": "0.1"})
    line = str(caught.value)
    assert "form 'linearised' has no setting 'gamma'; its settings: columns" in line
    assert line.endswith("run.toml or the configuration)")


def test_the_learning_rate_is_the_optimizers(from_text):
    assert RunConfig.from_sources({"rule": "bp", **TASK, "lr": "0.5"}).optimizer.settings == {"lr": 0.5}
    text = "rule = 'bp'\ndata = 'iris'\nnet = 'mlp'\nlr = 0.25\n"
    assert from_text(text).optimizer.settings == {"lr": 0.25}
    assert from_text(text, optimizer={"lr": 0.125}).optimizer.settings == {"lr": 0.125}
    assert "give one of them" in refusal(lr=0.1, optimizer={"lr": 0.2})


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"epochs": 0}, "epochs got 0"),
        ({"epochs": "-3"}, "epochs got '-3'"),
        ({"epochs": True}, "epochs got True"),
        ({"epochs": "many"}, "epochs got 'many'"),
        ({"batch_size": 0}, "batch_size got 0"),
        ({"batch-size": "-1"}, "batch_size got '-1'"),
        ({"seed": -1}, "seed got -1"),
        ({"threads": 0}, "threads got 0"),
        ({"validation_fraction": 1.0}, "validation_fraction got 1.0"),
        ({"validation_fraction": -0.1}, "validation_fraction got -0.1"),
        ({"validation_fraction": float("nan")}, "validation_fraction got nan"),
        ({"clip_norm": 0}, "clip_norm got 0"),
        ({"clip_norm": "inf"}, "clip_norm got 'inf'"),
        ({"checkpoint_every": -1}, "checkpoint_every got -1"),
        ({"diagnostics_every": -1}, "diagnostics_every got -1"),
        ({"precision": "float16"}, "precision got 'float16'"),
        ({"device": "gpu"}, "device got 'gpu'"),
        ({"data_dir": ""}, "data_dir got ''"),
        ({"deterministic": "perhaps"}, "deterministic got 'perhaps'"),
        ({"lr": 0}, "setting 'lr' got 0"),
        ({"rule": "fb"}, "did you mean"),
        ({"rule": {"name": "fa", "scale": 0}}, "setting 'scale' got 0"),
        ({"rule": {"name": "fa", "scael": 1}}, "no setting 'scael'; its settings: scale"),
        ({"data": "irsi"}, "did you mean 'iris'"),
        ({"net": "mlpp"}, "did you mean 'mlp'"),
        ({"net": {"name": "mlp", "widths": "8,0"}}, "setting 'widths"),
        ({"optimizer": "addam"}, "did you mean 'adam'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"rule": 3}, "expected a name or a table with a name, got 3"),
        ({"epoch": 3}, "did you mean 'epochs'?"),
        ({"learning_rate": 3}, "unknown key 'learning_rate'"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(flags, words):
    assert words in refusal(**flags)


@pytest.mark.parametrize("missing", ["rule", "data", "net"])
def test_what_to_train_has_no_default(missing):
    assert f"no {missing} is given: name one, --{missing} NAME" in refusal(**{missing: None})


def test_settings_need_a_name_to_go_with():
    assert "scale" in refusal(rule={"scale": 2})


def test_a_mistake_in_the_file_names_the_file(from_text, tmp_path):
    for text, words in {
        "epoch = 3": "run.toml has an unknown key 'epoch': did you mean 'epochs'?",
        "epochs = ": "run.toml is not valid TOML",
        "rule = 3": "run.toml: expected a name or a table",
    }.items():
        with pytest.raises(UserMistake, match=words):
            from_text(text)
    with pytest.raises(UserMistake, match=r"cannot read .*; expected a configuration file"):
        RunConfig.from_sources({}, tmp_path / "none.toml")


def test_it_comes_back_from_its_json_exactly(tmp_path):
    config = RunConfig.from_sources(
        {
            "rule": {"name": "fa", "scale": "0.1", "exact": "0"},
            "data": {"name": "synthetic", "features": "3,8,8"},
            "net": {"name": "mlp", "widths": "3,4"},
            "optimizer": {"name": "adam", "betas": "0.1,0.3", "fused": "false"},
            "schedule": {"name": "step", "at": "1,2"},
            "clip_norm": 1 / 3,
            "one_vs_rest": 2,
            "data_dir": str(tmp_path),
            "precision": "float64",
        }
    )
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_json()))
    assert RunConfig.load(path) == config
    assert RunConfig.from_sources({}, path) == config
    assert isinstance(RunConfig.load(path).net.settings["widths"], tuple)


def test_a_config_that_is_no_runs_is_refused_by_its_path(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"rule": "bp"}')
    with pytest.raises(UserMistake, match=r"config\.json: no data is given"):
        RunConfig.load(path)


def test_made_directly_it_is_checked_as_well():
    with pytest.raises(UserMistake, match="epochs got 0"):
        RunConfig(rule="bp", epochs=0, **TASK)
    with pytest.raises(UserMistake, match="unknown key 'epoch'"):
        RunConfig(rule="bp", epoch=1, **TASK)


def test_auto_is_recorded_as_the_device_it_is():
    found = "cuda" if torch.cuda.is_available() else "cpu"
    assert RunConfig.from_sources({"rule": "bp", **TASK}).device == found


def test_its_fingerprint_holds_everything_but_where_the_data_lies(tmp_path):
    config = RunConfig.from_sources({"rule": "bp", **TASK})
    moved = RunConfig.from_sources({"rule": "bp", **TASK, "data_dir": str(tmp_path)})
    longer = RunConfig.from_sources({"rule": "bp", **TASK, "epochs": 11})
    assert config.digest() == moved.digest() != longer.digest()


def test_a_file_given_as_a_name_is_recorded_by_its_whole_path(net_file, monkeypatch):
    file = Path(net_file("plain").rpartition(":")[0])
    monkeypatch.chdir(file.parent)
    config = RunConfig.from_sources({"rule": "bp", "data": "iris", "net": f"{file.name}:plain"})
    assert config.net.name == net_file("plain")
    assert config.net.label == "plain"


def test_a_rules_default_training_is_checked_too(monkeypatch):
    class Misspelt(Backpropagation):
        default_training: ClassVar = {"epoch": 3}

    monkeypatch.setattr(rules, "REGISTRY", SimpleNamespace(find=lambda name: Misspelt))
    assert "the default training of rule 'odd' has an unknown key 'epoch'" in refusal(rule="odd")


def test_a_setting_that_a_later_version_adds_changes_no_fingerprint():
    class Later(RunConfig):
        patience: int = 0

    task = {"rule": "bp", **TASK, "epochs": 3}
    assert Later(**task).digest() == RunConfig(**task).digest() != Later(**task, patience=1).digest()


@pytest.mark.parametrize(
    ("text", "flags", "place"),
    [
        ("epochs = 0", {}, r"run\.toml"),
        ('rule = {name = "fa", scale = -1}', {"rule": {"name": "fa"}}, r"run\.toml or the configuration"),
        ('net = "mpl"', {}, r"run\.toml"),
    ],
)
def test_a_mistake_in_a_file_names_the_file(text, flags, place, tmp_path):
    (tmp_path / "run.toml").write_text(text)
    task = {"rule": "fa", "data": "iris", **({} if "net" in text else {"net": "mlp"})}
    with pytest.raises(UserMistake, match=rf"\(in .*{place}\)$"):
        RunConfig.from_sources({**task, **flags}, tmp_path / "run.toml")


def test_an_unknown_rule_in_a_file_names_the_file(tmp_path):
    (tmp_path / "run.toml").write_text('rule = "faa"')
    with pytest.raises(UserMistake, match=r"did you mean 'fa'.*\(in .*run\.toml\)$"):
        RunConfig.from_sources({"data": "iris", "net": "mlp"}, tmp_path / "run.toml")


def test_a_mistake_beside_a_file_does_not(tmp_path):
    (tmp_path / "run.toml").write_text("epochs = 3")
    with pytest.raises(UserMistake, match="batch_size") as caught:
        RunConfig.from_sources(
            {"rule": "fa", "data": "iris", "net": "mlp", "batch_size": 0}, tmp_path / "run.toml"
        )
    assert "run.toml" not in str(caught.value)


def test_a_function_in_a_file_that_a_setting_names_is_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def decoder(site): ...")
    monkeypatch.chdir(tmp_path)
    rule = {"name": "dtp", "decoder": "mine.py:decoder"}
    config = RunConfig.from_sources({"rule": rule, "data": "digits", "net": "mlp"})
    assert config.rule.settings["decoder"] == f"{tmp_path / 'mine.py'}:decoder"


def test_a_file_in_the_settings_of_a_strategy_is_found_from_any_folder_too(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\n"
        "from biograd import Backpropagation\nfrom biograd.settings import Strategy\n\n\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Own(Strategy):\n"
        "    name: ClassVar[str] = 'own'\n    decoder: str = ''\n\n\n"
        "class Mine(Backpropagation):\n"
        "    def __init__(self, net, sample=None, *, way: Own = Own()): super().__init__(net)\n"
    )
    monkeypatch.chdir(tmp_path)
    rule = {"name": "mine.py:Mine", "way.decoder": "mine.py:decoder"}
    config = RunConfig.from_sources({"rule": rule, **TASK})
    settings = {"decoder": f"{tmp_path / 'mine.py'}:decoder"}
    assert config.rule.settings["way"] == {"name": "own", "settings": settings}


@pytest.mark.parametrize("net", ["vit", "gpt"])
def test_a_net_of_several_matrices_a_part_is_cut_at_each_under_rules_for_blocks_that_are_told_nothing_else(
    net,
):
    def settings(**flags):
        return RunConfig.from_sources({"data": "digits", "net": net, **flags}).rule.settings

    assert settings(rule={"name": "dfa", "scale": 2}) == {"scale": 2.0, "blocks": nets.cut_points(net)}
    assert settings(rule={"name": "dfa", "inside": "exact"}) == {"inside": "exact"}
    assert settings(rule={"name": "shallow", "blocks": "embed,head"}) == {"blocks": ("embed", "head")}
    assert settings(rule="fa") == {}
    assert RunConfig.from_sources({"data": "digits", "net": "mlp", "rule": "dfa"}).rule.settings == {}
