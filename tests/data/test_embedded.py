"""The sets that need no file: what they hold, and that a seed decides it."""

import pytest
import torch
from torch.nn.functional import one_hot

from biograd import data
from biograd.data import TensorBatches
from biograd.errors import UserMistake


def same(one, other):
    return all(
        a.inputs.equal(b.inputs) and a.targets.equal(b.targets)
        for a, b in ((one.train, other.train), (one.test, other.test))
    )


@pytest.mark.parametrize("name", ["iris", "digits", "synthetic"])
def test_a_set_is_what_its_card_says(name):
    card, loaded = data.describe(name).card, data.load(name)
    assert (len(loaded.train), len(loaded.test)) == (card.train, card.test)
    assert (loaded.input_shape, loaded.outputs) == (card.shape, card.outputs)
    assert loaded.train.inputs.dtype == torch.float32
    assert loaded.train.targets.dtype == torch.int64
    assert sorted(loaded.test.targets.unique().tolist()) == list(range(card.outputs))


@pytest.mark.parametrize("name", ["iris", "digits", "diabetes", "synthetic"])
def test_a_set_is_a_function_of_the_seed(name):
    assert same(data.load(name, seed=3), data.load(name, seed=3))
    assert not same(data.load(name, seed=3), data.load(name, seed=4))


@pytest.mark.parametrize("name", ["iris", "digits", "synthetic"])
def test_the_training_part_is_standardised_by_its_own_statistics(name):
    loaded = data.load(name)
    batches = TensorBatches(
        loaded.train, loaded.preprocessing, loaded.task, batch_size=10**4, seed=0, device="cpu", train=False
    )
    (x, _), *_ = batches.epoch(0)
    channels = x.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(channels.mean(1), torch.zeros(len(channels)).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        channels.std(1, correction=0), torch.ones(len(channels)).double(), rtol=0, atol=1e-5
    )


def test_every_iris_is_in_one_part_and_every_species_in_both():
    loaded = data.load("iris", seed=5)
    assert loaded.task.names == ("setosa", "versicolor", "virginica")
    assert torch.bincount(loaded.train.targets).tolist() in ([33, 33, 34], [33, 34, 33], [34, 33, 33])
    both = torch.cat([loaded.train.inputs, loaded.test.inputs])
    assert both.mean(0).tolist() == pytest.approx([5.8433, 3.0573, 3.7580, 1.1993], abs=1e-3)  # UCI's own


def test_of_diabetes_ten_measurements_foretell_a_number():
    card, loaded = data.describe("diabetes").card, data.load("diabetes", seed=2)
    assert (card.task, loaded.task.kind, loaded.outputs) == ("regression", "regression", card.outputs)
    assert (len(loaded.train), len(loaded.test), loaded.input_shape) == (card.train, card.test, card.shape)
    progression = torch.cat([loaded.train.targets, loaded.test.targets])
    assert (progression.min(), progression.max()) == (25, 346)  # as Efron et al. draw it
    prepared = loaded.task.prepared(loaded.train.targets)
    torch.testing.assert_close(prepared.mean(0), torch.zeros(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(prepared.std(0, correction=0), torch.ones(1))


@pytest.mark.parametrize(("kind", "task"), [("regression", data.Regression), ("labels", data.Labels)])
def test_a_synthetic_set_may_ask_for_numbers_or_labels(kind, task):
    loaded = data.load("synthetic", kind=kind, classes=3, examples=20, test_examples=10, noise=0)
    assert isinstance(loaded.task, task)
    assert loaded.train.targets.shape == (20, 3)
    numbers = data.load("synthetic", kind="regression", classes=3, examples=20, test_examples=10, noise=0)
    as_labels = (numbers.train.targets > 0).float()
    assert loaded.train.targets.equal(as_labels if kind == "labels" else numbers.train.targets)


def test_digits_are_images_in_the_unit_interval():
    loaded = data.load("digits")
    assert (loaded.train.inputs.min(), loaded.train.inputs.max()) == (0, 1)
    counts = torch.bincount(torch.cat([loaded.train.targets, loaded.test.targets]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def linear_accuracy(loaded):
    """Test accuracy of the least-squares classifier."""

    def with_bias(split):
        flat = split.inputs.flatten(1).double()
        return torch.cat([flat, torch.ones(len(flat), 1).double()], 1)

    wanted = one_hot(loaded.train.targets, loaded.outputs).double()
    weights = torch.linalg.lstsq(with_bias(loaded.train), wanted, driver="gelsd").solution
    return ((with_bias(loaded.test) @ weights).argmax(1) == loaded.test.targets).double().mean().item()


@pytest.mark.parametrize("features", [20, (3, 8, 8)])
def test_clusters_are_linear_and_the_noise_makes_them_hard(features):
    by_noise = [
        linear_accuracy(data.load("synthetic", features=features, noise=noise)) for noise in (0, 1, 20)
    ]
    assert by_noise[0] == 1
    assert by_noise[1] > 0.9
    assert by_noise[2] < 0.5


def test_a_teacher_is_better_than_chance_and_not_linear():
    exact = data.load("synthetic", kind="teacher", noise=0, examples=4000)
    assert 0.4 < linear_accuracy(exact) < 0.9
    assert torch.bincount(exact.train.targets, minlength=10).min() > 100
    assert linear_accuracy(data.load("synthetic", kind="teacher", noise=50)) < 0.2


def test_the_pattern_of_an_image_survives_averaging_over_it():
    loaded = data.load("synthetic", features=(3, 32, 32), classes=2, noise=0, examples=10, test_examples=10)
    averages = [loaded.train.inputs[loaded.train.targets == cls].mean((0, 2, 3)) for cls in (0, 1)]
    assert (averages[0] - averages[1]).norm() > 0.1


@pytest.mark.parametrize("features", ["3,6,5", (3, 6, 5), "7", (5,)])
@pytest.mark.parametrize("kind", ["clusters", "teacher"])
def test_synthetic_has_the_shape_and_sizes_asked_for(features, kind):
    loaded = data.load("synthetic", kind=kind, features=features, classes=3, examples=11, test_examples=4)
    shape = tuple(int(size) for size in features.split(",")) if isinstance(features, str) else features
    assert loaded.input_shape == shape
    assert (len(loaded.train), len(loaded.test), loaded.outputs) == (11, 4, 3)


@pytest.mark.parametrize(
    "settings",
    [{"classes": 1}, {"examples": 0}, {"features": "0"}, {"features": ""}, {"noise": -1}, {"kind": "moons"}],
)
def test_settings_out_of_range_are_the_users_mistake(settings):
    with pytest.raises(UserMistake, match=next(iter(settings))):
        data.load("synthetic", **settings)


def test_the_global_generator_is_left_as_it_was():
    before = torch.get_rng_state()
    for name in ("iris", "digits", "synthetic"):
        data.load(name)
    assert torch.get_rng_state().equal(before)
