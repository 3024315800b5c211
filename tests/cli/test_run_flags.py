import argparse
from itertools import chain

import pytest

from biograd.cli.parsing import Parser, take_settings
from biograd.cli.run_flags import GROUPS, SECTIONS, add_run_flags, given, several
from biograd.errors import UserMistake
from biograd.training.config import RunConfig

FLAGS = list(chain.from_iterable(GROUPS.values()))
NEEDED = {"rule": {"name": "bp"}, "data": {"name": "digits"}, "net": {"name": "mlp"}}


def configured(**fields: str) -> RunConfig:
    return RunConfig.from_sources({**NEEDED, **fields})


def test_every_number_and_choice_of_a_run_has_a_flag_and_no_flag_is_for_nothing():
    assert {flag.key for flag in FLAGS} == {*RunConfig.model_fields, "lr"}


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.default], ids=lambda flag: flag.name)
def test_the_help_states_the_default(flag):
    config = RunConfig.from_sources(NEEDED)
    if flag.key in {"label", "data_dir", "clip_norm"}:
        assert getattr(config, flag.key) is None
    elif flag.key == "lr":
        assert config.optimizer.settings["lr"] == float(flag.default)
    elif flag.key in SECTIONS:
        assert getattr(config, flag.key).name == flag.default
    else:
        assert configured(**{flag.key: flag.default}) == config


@pytest.mark.parametrize(
    ("key", "least", "below"),
    [
        ("epochs", "1", "0"),
        ("batch_size", "1", "0"),
        ("lr", "1e-9", "0"),
        ("clip_norm", "1e-9", "0"),
        ("validation_fraction", "0", "-0.1"),
        ("validation_fraction", "0.99", "1"),
        ("seed", "0", "-1"),
        ("threads", "1", "0"),
        ("threads", "1024", "1025"),
        ("diagnostics_every", "0", "-1"),
        ("checkpoint_every", "0", "-1"),
        ("precision", "bfloat16", "float16"),
        ("loss", "squared-error", "squared"),
        ("schedule", "cosine", "linear"),
        ("optimizer", "adam-uncorrected", "shared"),
        ("feedback_optimizer", "shared", "none"),
        ("feedback_optimizer", "adam", "addam"),
        ("deterministic", "false", "perhaps"),
        ("label", "dtp-0.5+γ=1", "a/b"),
        ("device", "cpu", "gpu"),
    ],
)
def test_the_help_states_the_range(key, least, below):
    configured(**{key: least})
    with pytest.raises(UserMistake):
        configured(**{key: below})


def read(*words: str) -> argparse.Namespace:
    parser = Parser()
    add_run_flags(parser, without=["one-vs-rest"])
    namespace = parser.parse_args(list(words))
    namespace.settings = {"rule": {"scale": "2"}, "optimizer": {"weight_decay": "0.1"}}
    return namespace


def test_flags_become_a_nested_configuration():
    assert given(read("--rule", "fa", "--batch-size", "10", "--lr", "0.1")) == {
        "rule": {"name": "fa", "scale": "2"},
        "optimizer": {"weight_decay": "0.1"},
        "batch_size": "10",
        "lr": "0.1",
    }


def test_a_setting_of_the_feedback_optimizer_is_read_with_and_without_its_name():
    words = ["--feedback-optimizer.lr", "0.1"]
    rest, settings = take_settings(words, SECTIONS)
    namespace = argparse.Namespace(settings=settings)
    assert rest == []
    assert given(namespace) == {"feedback_optimizer": {"lr": "0.1"}}
    named = argparse.Namespace(settings=settings, feedback_optimizer="sgd")
    assert given(named) == {"feedback_optimizer": {"name": "sgd", "lr": "0.1"}}


def test_a_flag_can_be_left_out():
    with pytest.raises(UserMistake, match="--one-vs-rest"):
        read("--one-vs-rest", "3")


def test_settings_of_several_go_by_the_last_part_of_the_name_and_none_is_lost():
    named = several(["a.py:My", "my-tracker"], {"my_tracker.uri": "x", "My.epochs": "3"}, "track")
    assert named == {
        "My": {"name": "a.py:My", "epochs": "3"},
        "my-tracker": {"name": "my-tracker", "uri": "x"},
    }
    with pytest.raises(UserMistake, match="--track: 'My' is named twice"):
        several(["a.py:My,b.py:My"], {}, "track")
