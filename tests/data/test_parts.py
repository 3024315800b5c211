"""A data set hands out batches and tensors that a net takes, those that a run of its seed trains on."""

import pytest
import torch

from biograd import data
from biograd.data import Classes, DataSet, Preprocessing, Regression, Split
from biograd.errors import UserMistake
from biograd.training import RunConfig, build


@pytest.fixture
def images():
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (50, 3, 8, 8), generator=draws).to(torch.uint8)
    train, test = Split(pixels[:40], torch.arange(40) % 4), Split(pixels[40:], torch.arange(10) % 4)
    prepared = Preprocessing((0.5, 0.4, 0.3), (0.2,), crop_padding=2, flip=True)
    return DataSet("images", train, test, Classes(tuple("abcd")), prepared)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0])
def test_batches_are_those_that_a_run_of_the_seed_trains_on(images, fraction):
    config = RunConfig.from_sources(
        {
            "rule": "bp",
            "net": "mlp",
            "data": images,
            "batch_size": 16,
            "seed": 3,
            "validation_fraction": fraction,
        }
    )
    run = build(config)
    for part, theirs in (("train", run.training), ("validation", run.validation), ("test", run.test)):
        if theirs is None:
            continue
        ours = images.batches(part, theirs.batch_size, seed=3, validation_fraction=fraction)
        for epoch in (0, 1):
            pairs = list(zip(ours.epoch(epoch), theirs.epoch(epoch), strict=True))
            assert pairs
            assert all(torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in pairs)


def test_tensors_are_all_of_a_part_normalised_in_order_and_as_they_are(images):
    x, y = images.tensors("test")
    mean = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)
    torch.testing.assert_close(x, (images.test.inputs / 255 - mean) / 0.2)
    assert y.tolist() == images.test.targets.tolist()
    whole, _ = images.tensors("train", validation_fraction=0)
    torch.testing.assert_close(whole, (images.train.inputs / 255 - mean) / 0.2)
    x, y = images.tensors("train", seed=1)
    held_out, _ = images.tensors("validation", seed=1)
    assert (len(x), len(held_out)) == (36, 4)
    torch.testing.assert_close(x.sum() + held_out.sum(), whole.sum())


def test_targets_are_as_a_loss_takes_them():
    numbers = torch.arange(12.0).view(12, 1)
    split = Split(numbers, 2 * numbers)
    task = Regression.standardised(("twice",), split.targets)
    _, y = DataSet("lines", split, split, task, Preprocessing((0.0,), (1.0,))).tensors("test")
    torch.testing.assert_close((y.mean(), y.std(correction=0)), (torch.tensor(0.0), torch.tensor(1.0)))


def test_a_part_that_is_not_there_is_one_line(images):
    for settings, part, names in (
        ({}, "valid", "train, validation, test"),
        ({"validation_fraction": 0}, "validation", "train, test"),
    ):
        with pytest.raises(UserMistake, match=f"images has no part '{part}': its parts are {names}$"):
            images.batches(part, **settings)
    with pytest.raises(UserMistake, match="a validation fraction is at least 0 and less than 1"):
        images.tensors("train", validation_fraction=1)


def test_the_test_part_of_a_run_is_drawn_by_a_seed_derived_from_its_own():
    config = RunConfig.from_sources({"rule": "bp", "net": "mlp", "data": "iris", "seed": 3})
    (x, _), *_ = build(config).test.epoch(0)
    ours = data.load("iris", seed=data.derive(3, "data"))
    assert torch.equal(ours.tensors("test")[0], x)
