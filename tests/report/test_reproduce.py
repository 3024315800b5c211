"""The printed command repeats the run: the command line reads it back to the same configuration."""

import shlex

import pytest

from biograd.report.reproduce import command, script
from biograd.report.table import Table

PARTS = """
from typing import Literal

def net(input_shape, outputs, *, widths: tuple[int, ...] = (3,), bias: bool = True, kind: Literal["a", "b c"] = "a"):
    ...

def data(directory, download, seed, *, examples: int = 5):
    ...
"""
TRAININGS = [
    {},
    {
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True},
        "schedule": "cosine",
        "epochs": 3,
        "one_vs_rest": "it's 3",
        "clip_norm": 1.5,
        "deterministic": False,
        "device": "cpu",
        "diagnostics_every": 7,
        "penalty": {"name": "decay", "strength": 0.1, "weights": ["1.*", "3.weight"]},
    },
]


@pytest.mark.parametrize("training", TRAININGS)
def test_the_command_line_reads_a_command_back_to_the_same_configuration(training, tmp_path):
    from biograd.cli import make_parser
    from biograd.cli.parsing import parse
    from biograd.cli.run_flags import given
    from biograd.training.config import RunConfig

    file = tmp_path / "my parts.py"
    file.write_text(PARTS)
    net = {"name": f"{file}:net", "widths": [5, 6], "bias": False, "kind": "b c"}
    config = RunConfig.from_sources({"rule": "fa", "net": net, "data": f"{file}:data", "seed": 3, **training})
    program, *words = shlex.split(command(config.to_json(), 3))
    again = RunConfig.from_sources(given(parse(make_parser(), words)))
    assert program == "biograd"
    assert again == config


def test_seeds_of_a_cell_become_a_loop(make_run, tmp_path):
    for seed in (0, 2):
        make_run(tmp_path / f"{seed}", "fa", seed)
    make_run(tmp_path / "bp", "bp", 7)
    single, loop = script(Table.below(tmp_path)).splitlines()
    assert loop.startswith("for seed in 0 2; do biograd train --rule fa ")
    assert loop.endswith(' --seed "$seed"; done')
    assert single.endswith(" --seed 7")


def test_a_name_cannot_break_out_of_its_word():
    hostile = "x'; rm -rf ~ #.py:Net"
    words = shlex.split(command({"net": {"name": hostile, "settings": {}}}, 0))
    assert words == ["biograd", "train", "--net", hostile, "--seed", "0"]
