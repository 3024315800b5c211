import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd import data, training
from biograd.training import RunConfig


@pytest.fixture(scope="session")
def digits():
    """A small net that reads digits, and 256 test images in [0, 1] with their classes; not to be changed."""
    dataset = data.load("digits")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(net(dataset.train.inputs), dataset.train.targets).backward()
        optimizer.step()
    net.requires_grad_(False)
    return net.eval(), dataset.test.inputs[:256], dataset.test.targets[:256]


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Small finished runs by name, in one folder; not to be changed: `runs` gives copies."""
    folder = tmp_path_factory.mktemp("trained")
    for name, flags in RUNS.items():
        config = RunConfig.from_sources({**COMMON, **flags})
        training.train(config, folder / name, progress=False)
    return folder


@pytest.fixture
def runs(trained, tmp_path):
    """The folder of the small runs, for this test alone."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


COMMON = {
    "rule": "bp",
    "data": "iris",
    "net": {"name": "mlp", "widths": "8"},
    "epochs": 20,
    "batch_size": 20,
    "optimizer": {"lr": 0.02},
    "device": "cpu",
}
RUNS = {
    "bp-0": {},
    "bp-1": {"seed": 1},
    "fa-0": {"rule": "fa"},
    "shallow-0": {"rule": "shallow"},
    "virginica": {"one_vs_rest": "virginica"},
    "double": {"rule": "dfa", "precision": "float64"},
    "half": {"rule": "stdp-association", "precision": "bfloat16"},
}
