"""Batches are pure functions of seed, epoch and place, and hold what a slow plain loader would give."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import biograd.data.tensor_batches
from biograd.data import Classes, Preprocessing, Split, TensorBatches
from biograd.data.augment import crop_and_flip
from biograd.data.seeded import seeded
from biograd.errors import UserMistake

PLAIN = Preprocessing((0.0,), (1.0,))


def numbered(n):
    """A split whose inputs and targets are the examples' own numbers."""
    return Split(torch.arange(n).float().unsqueeze(1), torch.arange(n))


def pictures(n, channels=3, height=6, width=5, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, channels, height, width), dtype=np.uint8)
    return Split(torch.from_numpy(images), torch.arange(n))


def make(split, preprocessing=PLAIN, batch_size=3, seed=0, train=True):
    return TensorBatches(
        split, preprocessing, TASK, batch_size=batch_size, seed=seed, device="cpu", train=train
    )


TASK = Classes(tuple(map(str, range(10**4))))
AUGMENTED = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), crop_padding=2, flip=True)


@settings(deadline=None)
@given(
    n=st.integers(1, 50),
    batch_size=st.integers(1, 60),
    seed=st.integers(-3, 2**64),
    epoch=st.integers(0, 10**6),
)
def test_an_epoch_shows_every_example_once(n, batch_size, seed, epoch):
    batches = make(numbered(n), batch_size=batch_size, seed=seed)
    seen = list(batches.epoch(epoch))
    assert len(seen) == len(batches)
    assert all(x.flatten().long().equal(y) for x, y in seen)
    assert sorted(torch.cat([y for _, y in seen]).tolist()) == list(range(n))
    assert [len(y) for _, y in seen[:-1]] == [batch_size] * (len(batches) - 1)


@settings(deadline=None)
@given(start=st.integers(0, 4), epoch=st.integers(0, 20))
def test_an_epoch_entered_in_the_middle_gives_the_same_batches(start, epoch):
    whole = list(make(pictures(13), AUGMENTED).epoch(epoch))
    rest = list(make(pictures(13), AUGMENTED).epoch(epoch, start=start))
    assert len(rest) == 5 - start
    for (x, y), (same_x, same_y) in zip(whole[start:], rest, strict=True):
        assert x.equal(same_x)
        assert y.equal(same_y)


def test_epochs_that_run_side_by_side_do_not_touch_each_other_or_the_global_generator():
    batches, before = make(pictures(13), AUGMENTED), torch.get_rng_state()
    apart = [list(batches.epoch(epoch)) for epoch in (0, 1)]
    together = list(zip(batches.epoch(0), batches.epoch(1), strict=True))
    for epoch in (0, 1):
        assert all(pair[epoch][0].equal(x) for pair, (x, _) in zip(together, apart[epoch], strict=True))
    assert torch.get_rng_state().equal(before)


def test_orders_differ_from_epoch_to_epoch_and_from_seed_to_seed():
    orders = {
        tuple(torch.cat([y for _, y in make(numbered(30), seed=seed).epoch(epoch)]).tolist())
        for seed in range(6)
        for epoch in range(6)
    }
    assert len(orders) == 36  # (seed, epoch) and (seed + 1, epoch - 1) are strangers too


def test_seeds_of_either_sign_and_any_size_are_their_own():
    draws = [torch.randperm(30, generator=seeded(seed)).tolist() for seed in (0, 1, -1, 2**63, -(2**40))]
    assert all(draws[i] != draws[j] for i in range(5) for j in range(i))


def test_the_order_does_not_depend_on_the_batch_size_or_the_augmentation():
    orders = [
        torch.cat([y for _, y in make(pictures(13), preprocessing, size).epoch(4)]).tolist()
        for preprocessing, size in ((AUGMENTED, 3), (AUGMENTED, 5), (PLAIN, 3))
    ]
    assert orders[0] == orders[1] == orders[2]


def test_every_place_in_the_order_is_as_likely_for_every_example():
    counts = torch.zeros(5, 5)
    batches = make(numbered(5), batch_size=5)
    for epoch in range(2000):
        (_, y), *_ = batches.epoch(epoch)
        counts[torch.arange(5), y] += 1
    assert ((counts - 400).abs() < 5 * 400**0.5).all()


def test_without_training_examples_come_in_order_and_unaugmented():
    seen = list(make(pictures(7), AUGMENTED, train=False).epoch(3))
    assert torch.cat([y for _, y in seen]).tolist() == list(range(7))
    assert torch.cat([x for x, _ in seen]).equal(
        torch.cat([x for x, _ in make(pictures(7), AUGMENTED, train=False).epoch(0)])
    )


@pytest.mark.parametrize("largest", [2**30, 0], ids=["at once", "batch by batch"])
@pytest.mark.parametrize("train", [True, False])
def test_inputs_are_normalised_channel_by_channel(monkeypatch, largest, train):
    monkeypatch.setattr(biograd.data.tensor_batches, "LARGEST_FLOAT_SET", largest)
    split, mean, std = pictures(7), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    for x, y in make(split, Preprocessing(mean, std), train=train).epoch(0):
        pixels = split.inputs[y].double() / 255
        expected = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        assert x.dtype == torch.float32
        torch.testing.assert_close(x.double(), expected, rtol=0, atol=2e-6)


def test_normalising_at_once_and_batch_by_batch_give_the_same_bits(monkeypatch):
    at_once = list(make(pictures(7), Preprocessing((0.3,), (0.7,))).epoch(0))
    monkeypatch.setattr(biograd.data.tensor_batches, "LARGEST_FLOAT_SET", 0)
    by_batch = list(make(pictures(7), Preprocessing((0.3,), (0.7,))).epoch(0))
    assert all(x.equal(same) for (x, _), (same, _) in zip(at_once, by_batch, strict=True))


def test_float_inputs_are_not_scaled_to_the_range_of_bytes():
    (x, _), *_ = make(numbered(3), Preprocessing((1.0,), (0.5,)), train=False).epoch(0)
    assert x.flatten().tolist() == [-2.0, 0.0, 2.0]


def slow_crop_and_flip(images, padding, flip, generator):
    """Image by image: pad with black, cut a window out, mirror it."""
    n, _, height, width = images.shape
    top = torch.randint(0, 2 * padding + 1, (n, 1), generator=generator)
    left = torch.randint(0, 2 * padding + 1, (n, 1), generator=generator)
    mirrored = torch.rand(n, 1, generator=generator) < 0.5 if flip else torch.zeros(n, 1).bool()
    result = []
    for image, y, x, is_mirrored in zip(images, top, left, mirrored, strict=True):
        padded = torch.zeros(len(image), height + 2 * padding, width + 2 * padding, dtype=image.dtype)
        padded[:, padding : padding + height, padding : padding + width] = image
        window = padded[:, y : y + height, x : x + width]
        result.append(window.flip(2) if is_mirrored else window)
    return torch.stack(result)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_crops_and_flips_are_those_of_a_slow_plain_loop(padding, flip):
    images = pictures(40).inputs
    fast = crop_and_flip(images, padding, flip, seeded(1))
    assert fast.equal(slow_crop_and_flip(images, padding, flip, seeded(1)))


def test_every_window_and_both_mirror_images_come_up():
    # One white pixel in the middle tells where the window was cut; the column beside it tells the mirror image.
    images = torch.zeros(4000, 1, 9, 9, dtype=torch.uint8)
    images[:, 0, 4, 4], images[:, 0, 4, 5] = 2, 1
    found = crop_and_flip(images, 2, True, seeded(0))
    places = (found == 2).flatten(1).int().argmax(1)
    is_mirrored = (found == 1).flatten(1).int().argmax(1) < places
    counts = torch.bincount(places * 2 + is_mirrored)
    counts = counts[counts > 0]
    assert len(counts) == 5 * 5 * 2
    assert ((counts - 80).abs() < 5 * 80**0.5).all()


def test_padding_is_black_after_normalisation_too():
    white = Split(torch.full((200, 1, 4, 4), 255, dtype=torch.uint8), torch.zeros(200, dtype=torch.int64))
    batches = make(white, Preprocessing((0.25,), (0.5,), crop_padding=1), batch_size=200)
    (x, _), *_ = batches.epoch(0)
    assert sorted(x.unique().tolist()) == [-0.5, 1.5]


def test_each_batch_and_each_epoch_is_augmented_anew():
    same = Split(pictures(1).inputs.expand(60, -1, -1, -1), torch.zeros(60, dtype=torch.int64))
    batches = make(same, AUGMENTED, batch_size=20)
    seen = [x for epoch in (0, 1) for x, _ in batches.epoch(epoch)]
    assert not any(seen[i].equal(seen[j]) for i in range(6) for j in range(i))


@pytest.mark.parametrize("train", [True, False])
def test_a_batch_changed_in_place_leaves_the_set_as_it_was(train):
    batches = make(numbered(6), train=train)
    before = [x.clone() for x, _ in batches.epoch(0)]
    for x, y in batches.epoch(0):
        x.fill_(9)
        y.fill_(9)
    assert all(x.equal(kept) for (x, _), kept in zip(batches.epoch(0), before, strict=True))


def test_the_sample_is_the_first_example_normalised_and_not_augmented():
    split = pictures(4)
    plain = make(split, AUGMENTED, train=False, batch_size=1)
    (first, _), *_ = plain.epoch(0)
    for train in (True, False):
        sample = make(split, AUGMENTED, train=train).sample()
        assert sample.shape == (1, 3, 6, 5)
        assert sample.equal(first)


def test_an_empty_part_has_no_batches_and_no_sample():
    empty = make(numbered(0), train=False)
    assert (len(empty), list(empty.epoch(0))) == (0, [])
    with pytest.raises(UserMistake, match="this part of the data is empty"):
        empty.sample()


@pytest.mark.parametrize("batch_size", [0, -1, 2.5])
def test_a_batch_size_that_is_no_positive_whole_number_is_refused(batch_size):
    with pytest.raises(UserMistake, match="at least 1 example"):
        make(numbered(3), batch_size=batch_size)


@pytest.mark.parametrize(
    ("split", "preprocessing", "why"),
    [
        (pictures(2), Preprocessing((0.0, 0.0), (1.0,)), "2 numbers as mean"),
        (pictures(2), Preprocessing((0.0,), (1.0, 1.0)), "2 numbers as std"),
        (numbered(2), Preprocessing((0.0,), (1.0,), flip=True), "need images"),
        (Split(torch.zeros(2, 3).double(), torch.arange(2)), PLAIN, "uint8 or float32"),
    ],
)
def test_preprocessing_that_does_not_fit_is_refused(split, preprocessing, why):
    with pytest.raises(UserMistake, match=why):
        make(split, preprocessing)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("largest", [2**30, 0], ids=["at once", "batch by batch"])
def test_the_parts_of_processes_make_up_the_batch_augmented_alike(train, largest, size, monkeypatch):
    monkeypatch.setattr(biograd.data.tensor_batches, "LARGEST_FLOAT_SET", largest)
    batches = make(pictures(11), AUGMENTED, batch_size=4, train=train)  # the last batch has 3 examples
    parts = zip(*(batches.epoch(2, rank=rank, size=size) for rank in range(size)), strict=True)
    for number, ((x, y), of_ranks) in enumerate(zip(batches.epoch(2), parts, strict=True)):
        assert torch.cat([mine for mine, _ in of_ranks]).equal(x)
        assert torch.cat([mine for _, mine in of_ranks]).equal(y)
        assert batches.examples(number) == len(y)
        lengths = [len(mine) for _, mine in of_ranks]
        assert max(lengths) - min(lengths) <= 1


def test_a_process_loads_its_part_alone(monkeypatch):
    batches, loaded = make(pictures(12), AUGMENTED, batch_size=6), []
    select = torch.Tensor.index_select
    monkeypatch.setattr(
        torch.Tensor, "index_select", lambda t, dim, index: loaded.append(len(index)) or select(t, dim, index)
    )
    for _ in batches.epoch(0, rank=1, size=3):
        pass
    assert loaded == [2] * 4  # inputs and targets of two batches


@pytest.mark.parametrize("start", [0, 3])
def test_batches_that_are_made_ahead_are_those_made_one_by_one(start, monkeypatch):
    ahead = make(pictures(23), AUGMENTED).epoch(1, start=start)
    monkeypatch.setattr(biograd.data.tensor_batches, "AT_ONCE", 3 * 4 * 90 * 2)
    two_at_once = make(pictures(23), AUGMENTED).epoch(1, start=start)
    monkeypatch.setattr(biograd.data.tensor_batches, "AT_ONCE", 0)
    one_by_one = make(pictures(23), AUGMENTED).epoch(1, start=start)
    for batches in zip(ahead, two_at_once, one_by_one, strict=True):
        (x, y), *others = batches
        assert all(x.equal(other) and y.equal(targets) for other, targets in others)
