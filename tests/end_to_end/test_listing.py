"""What there is, as a user asks for it."""

from pathlib import Path

import pytest

from biograd import data, nets, penalties, rules


@pytest.mark.parametrize(
    ("command", "registry"), [("rules", rules), ("nets", nets), ("data", data), ("penalties", penalties)]
)
def test_every_name_is_listed_with_one_line(biograd, folder: Path, command, registry):
    rows = biograd(f"{command} --json").row[command]
    assert [row["name"] for row in rows] == [*registry.names(), *registry.REGISTRY.forms()]
    assert all(row["summary"] and "\\" not in row["summary"] for row in rows)
    assert not any("cannot be used" in row["summary"] for row in rows)
    assert all(f"  {row['name']} " in biograd(command).out for row in rows)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *(("rules", name) for name in rules.names()),
        *(("data", name) for name in [*data.names(), *data.REGISTRY.forms()]),
        *(("penalties", name) for name in penalties.names()),
    ],
)
def test_every_setting_of_a_name_is_told_with_its_meaning(biograd, folder: Path, command, name):
    row = biograd(f"{command} {name} --json").row
    assert row["name"] == name
    assert [setting["name"] for setting in row["settings"] if not setting["meaning"]] == []
    text = biograd(f"{command} {name}").out
    assert "\\" not in text
    assert ":math:" not in text
    section = {"penalties": "penalty"}.get(command, command.removesuffix("s"))
    for setting in row["settings"]:
        assert f"--{section}.{setting['name'].replace('_', '-')} " in text


@pytest.mark.parametrize("name", nets.names())
def test_every_net_tells_its_settings_and_size(biograd, folder: Path, name):
    row = biograd(f"nets {name} --json").row
    assert [setting["name"] for setting in row["settings"] if not setting["meaning"]] == []
    ((task, parameters),) = row["parameters"].items()
    assert parameters > 1000
    assert f"{parameters:,} parameters with its defaults on {task}" in biograd(f"nets {name}").out


def test_a_net_from_a_file(biograd, folder: Path):
    assert biograd("nets mine.py:net --json").row["parameters"] == {"mnist": 784 * 16 + 16 + 16 * 10 + 10}


def test_a_net_for_other_inputs_is_described_without_a_size(biograd, folder: Path):
    (folder / "flat.py").write_text(
        "def flat(input_shape, outputs, *, width: int = 3):\n    (features,) = input_shape\n    return features\n"
    )
    ended = biograd("nets flat.py:flat --json")
    assert (ended.code, ended.row["parameters"]) == (0, {})


def test_a_rule_tells_under_what_training_it_works(biograd, folder: Path):
    assert biograd("rules kp --json").row["default_training"]["optimizer.name"] == "adamw"
    assert "--optimizer.name" in biograd("rules kp").out
    assert "its seed comes from --seed" in biograd("rules kp").out
    assert "its seed comes from --seed" not in biograd("rules usf").out


def test_a_penalty_from_a_file(biograd, folder: Path):
    (folder / "lasso.py").write_text(
        "from biograd import Penalty\n\n\nclass Lasso(Penalty):\n"
        "    def __init__(self, net, *, strength: float = 1.0): ...\n    def add_gradient(self, net): ...\n"
    )
    assert biograd("penalties lasso.py:Lasso --json").row["settings"][0]["name"] == "strength"
    assert "is no penalty" in biograd("penalties mine.py:Scaled").mistake


def test_data_that_is_there_is_told_from_data_that_is_not(biograd, folder: Path):
    (folder / "data" / "mnist").mkdir(parents=True)
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (folder / "data" / "mnist" / name).write_bytes(b"12345")
    states = {row["name"]: row["state"] for row in biograd("data --data-dir data --json").row["data"]}
    assert (states["mnist"], states["cifar10"], states["iris"]) == ("present", "absent", "embedded")
    cache = biograd("data cache --data-dir data --json").row
    assert (cache["directory"], cache["bytes"]) == ("data", 20)
    assert biograd("data cache --data-dir data").out.splitlines()[0] == "data: 20 B"


def test_the_card_of_a_data_set(biograd, folder: Path):
    row = biograd("data mnist --json").row
    assert (row["train"], row["test"], row["shape"], row["classes"]) == (60000, 10000, [1, 28, 28], 10)
    assert "1×28×28" in biograd("data mnist").out


def test_a_benchmark_prints_ratios_beside_their_limits(biograd, folder: Path):
    ended = biograd("bench --rules shallow --nets mlp --repeats 1")
    header, line = ended.out.splitlines()
    assert header.split()[:3] == ["net", "rule", "ms"]
    assert line.split()[:2] == ["mlp", "shallow"]
    assert " 0.42 " in line
    rows = biograd("bench --rules shallow --nets mlp --repeats 1 --json").row["rows"]
    assert [(row["rule"], row["net"], row["limit"]) for row in rows] == [("shallow", "mlp", 0.42)]
    (row,) = biograd("bench --rules dfa --nets mlp --repeats 1 --json").row["rows"]
    assert (row["of_reference_limit"], row["clock"]) == (1.10, "processor")
    assert row["of_reference"] == pytest.approx(row["seconds"] / row["by_hand_seconds"])
