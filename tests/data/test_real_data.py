"""The real sets, where $BIOGRAD_DATA holds them: sizes, balance, statistics and first labels as published."""

import os

import pytest
import torch

from biograd import data
from biograd.errors import DataUnavailable

FOLDER = os.environ.get("BIOGRAD_DATA")

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="$BIOGRAD_DATA does not name a folder with the real data sets"
)

MNIST_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
PUBLISHED = {  # first labels of each part, and examples a class in the training part
    "mnist": ([5, 0, 4, 1, 9], [7, 2, 1, 0, 4], MNIST_COUNTS),
    "fashion-mnist": ([9, 0, 0, 3, 0], [9, 2, 1, 1, 6], [6000] * 10),
    "kmnist": (None, None, [6000] * 10),
    "cifar10": ([6, 9, 9, 4, 1], [3, 8, 8, 0, 6], [5000] * 10),
    "cifar100": (None, None, [500] * 100),
}


@pytest.fixture(scope="module", params=PUBLISHED)
def loaded(request):
    try:
        return data.load(request.param, directory=FOLDER, download=False)
    except DataUnavailable as error:
        pytest.skip(str(error))


def test_sizes_are_those_of_the_card(loaded):
    card = data.describe(loaded.name).card
    assert (len(loaded.train), len(loaded.test)) == (card.train, card.test)
    assert (loaded.input_shape, loaded.outputs) == (card.shape, card.outputs)
    assert loaded.train.inputs.dtype == torch.uint8


def test_classes_are_balanced_as_published(loaded):
    counts = PUBLISHED[loaded.name][2]
    assert torch.bincount(loaded.train.targets).tolist() == counts
    if loaded.name != "mnist":
        assert torch.bincount(loaded.test.targets).unique().tolist() == [len(loaded.test) // loaded.outputs]


def test_first_labels_are_the_published_ones(loaded):
    train, test, _ = PUBLISHED[loaded.name]
    if train is None:
        pytest.skip("no published first labels to hand")
    assert loaded.train.targets[:5].tolist() == train
    assert loaded.test.targets[:5].tolist() == test


def test_the_constants_are_mean_and_deviation_of_the_training_part(loaded):
    channels = loaded.train.inputs.transpose(0, 1).flatten(1)
    counts = torch.stack([torch.bincount(channel, minlength=256) for channel in channels]).double()
    shares, levels = counts / counts.sum(1, keepdim=True), torch.arange(256).double() / 255
    mean = (shares * levels).sum(1)
    std = ((shares * levels**2).sum(1) - mean**2).sqrt()
    assert mean.tolist() == pytest.approx(loaded.preprocessing.mean, abs=2e-4)
    assert std.tolist() == pytest.approx(loaded.preprocessing.std, abs=2e-4)
