"""Runs that no training made, and a study small enough to be trained."""

from pathlib import Path

import pytest

from biograd.records import Run
from biograd.studies.quantities import AtEnd
from biograd.studies.study import Budget, Claim, Group, Published, Shown, Study, StudyCell

ACCURACY = AtEnd("test_accuracy")


def made_up_run(seed, accuracy, *, status="done", folder="nowhere", metrics=(), diagnostics=()):
    config = {key: {"name": key, "settings": {}} for key in ("rule", "data", "net")} | {"seed": seed}
    result = None if status == "unfinished" else {"status": status, "test_accuracy": accuracy}
    return Run(Path(folder), config, metrics=list(metrics), diagnostics=list(diagnostics), result=result)


def small_cell(name, *, rule="bp", seeds=2, quick=1, **configuration):
    data = {"name": "synthetic", "examples": 40, "test_examples": 12, "features": "4", "classes": 3}
    net = {"name": "mlp", "widths": (6,)}
    return StudyCell(
        name,
        {"rule": rule, "data": data, "net": net, "device": "cpu", "batch_size": 10, **configuration},
        full=Budget(seeds=seeds, epochs=2),
        quick=None if quick is None else Budget(seeds=quick, epochs=1),
    )


def small_study(**changes):
    parts = {
        "name": "small",
        "title": "A small study",
        "reference": "Nobody, never.",
        "cells": (
            small_cell("a/bp", one_vs_rest=0),
            small_cell("b/bp", one_vs_rest=1, quick=None),
            small_cell("a/fa", one_vs_rest=0, rule="fa"),
            small_cell("b/fa", one_vs_rest=1, rule="fa", quick=None),
        ),
        "groups": (
            Group("bp", "*/bp", (Shown(ACCURACY, Published(0.5, "Nobody", 0.1)),)),
            Group("fa", "*/fa", (Shown(ACCURACY),)),
        ),
        "claims": (Claim("fa is near bp", "fa", ACCURACY, at_least=-0.1, beside="bp"),),
    }
    return Study(**{**parts, **changes})


@pytest.fixture
def make_run():
    return made_up_run


@pytest.fixture
def make_study():
    return small_study


@pytest.fixture
def make_cell():
    return small_cell
