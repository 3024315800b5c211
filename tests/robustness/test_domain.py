import pytest
import torch

from biograd.data import Classes, DataSet, Preprocessing, Split, TensorBatches, load
from biograd.robustness.domain import DEVIATIONS, PIXELS, domain_of, held_out_examples, to_net


def images(dtype, largest, classes=3):
    draw = torch.Generator().manual_seed(0)
    pixels = (torch.rand(12, 2, 3, 3, generator=draw) * largest).to(dtype)
    split = Split(pixels, torch.arange(12) % classes)
    return DataSet("images", split, split, Classes(tuple("abc")), Preprocessing((0.4, 0.5), (0.2, 0.1)))


@pytest.mark.parametrize(
    ("dataset", "domain"),
    [
        (images(torch.uint8, 256), PIXELS),
        (images(torch.float32, 1), PIXELS),
        (images(torch.float32, 3), DEVIATIONS),
        (load("digits"), PIXELS),
        (load("iris"), DEVIATIONS),
    ],
    ids=["bytes", "images in [0, 1]", "other images", "digits", "iris"],
)
def test_images_are_attacked_in_pixels_and_other_inputs_in_standard_deviations(dataset, domain):
    assert domain_of(dataset) is domain


@pytest.mark.parametrize(
    "dataset",
    [images(torch.uint8, 256), images(torch.float32, 1), images(torch.float32, 3), load("iris")],
    ids=["bytes", "images in [0, 1]", "other images", "iris"],
)
def test_a_net_is_shown_what_it_was_trained_on(dataset):
    x, y = held_out_examples(dataset, None, seed=3)
    batches = TensorBatches(
        dataset.test, dataset.preprocessing, dataset.task, batch_size=99, seed=0, device="cpu", train=False
    )
    ((expected, classes),) = batches.epoch(0)
    shown = to_net(dataset)(x)
    order = [
        next(i for i, row in enumerate(expected) if torch.allclose(row, one, atol=1e-5)) for one in shown
    ]
    torch.testing.assert_close(shown, expected[order])
    assert torch.equal(y, classes[order])
    if domain_of(dataset) is PIXELS:
        assert x.min() >= 0
        assert x.max() <= 1


def test_each_domain_has_the_sizes_and_bounds_that_the_page_states():
    assert (PIXELS.lower, PIXELS.upper) == (0.0, 1.0)
    assert (DEVIATIONS.lower, DEVIATIONS.upper) == (None, None)
    assert PIXELS.epsilons == (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
    assert DEVIATIONS.epsilons == (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
    assert (PIXELS.large, DEVIATIONS.large) == (0.5, 5.0)


@pytest.mark.parametrize(
    ("extremes", "domain"),
    [((0.0, 1.0), PIXELS), ((-1e-6, 1.0), DEVIATIONS), ((0.0, 1 + 1e-6), DEVIATIONS)],
)
def test_black_and_white_are_pixels_and_nothing_beyond(extremes, domain):
    dataset = images(torch.float32, 1)
    dataset.train.inputs.view(-1)[:2] = torch.tensor(extremes)
    assert domain_of(dataset) is domain


def test_a_standard_deviation_is_one_of_the_feature():
    iris = load("iris")
    x, _ = held_out_examples(iris, None, seed=0)
    spread = torch.tensor(iris.preprocessing.std)
    raw = iris.test.inputs
    torch.testing.assert_close((x.amax(0) - x.amin(0)) * spread, raw.amax(0) - raw.amin(0))


def test_the_first_examples_are_the_same_for_every_data_set_of_a_size_and_another_seed_has_others():
    first, second = images(torch.uint8, 256), images(torch.uint8, 200)
    (few, _), (all_, _), (other, _) = (held_out_examples(first, n, s) for n, s in ((4, 0), (None, 0), (4, 1)))
    assert (len(few), len(all_)) == (4, 12)
    assert torch.equal(few, all_[:4])
    assert not torch.equal(few, other)
    assert torch.equal(held_out_examples(first, 4, 0)[1], held_out_examples(second, 4, 0)[1])
    assert len(held_out_examples(first, 99, 0)[0]) == 12
