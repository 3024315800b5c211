import weakref

import pytest
import torch

from biograd.credit.noise import generator_behind, normal_like


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(64, 32), (3, 4), (1, 0, 20), (100, 7, 216, 5), (33, 16, 15, 1)])
def test_parts_hold_the_numbers_of_one_draw(sizes, dtype):
    tensors = [torch.empty(size, dtype=dtype) for size in sizes]
    parts = [*normal_like(tensors, 0.5, torch.Generator().manual_seed(3))]
    drawn = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(3), dtype=dtype)
    assert torch.equal(torch.cat(parts), drawn * 0.5)


def test_nothing_is_drawn_before_it_is_asked_for():
    generator = torch.Generator().manual_seed(0)
    start, noise = generator.get_state(), normal_like([torch.empty(32)] * 2, 1.0, generator)
    assert torch.equal(generator.get_state(), start)
    next(noise)
    half = generator.get_state()
    next(noise)
    assert not torch.equal(generator.get_state(), half)


@pytest.mark.parametrize("size", [32, 35])
def test_a_generator_behind_a_draw_goes_on_where_the_draw_ends_and_leaves_it_to_be_drawn(size):
    generator, tensors = torch.Generator().manual_seed(0), [torch.empty(size)] * 2
    behind = generator_behind(tensors, generator)
    *_, last = normal_like([*tensors, torch.empty(16)], 1.0, torch.Generator().manual_seed(0))
    for _ in normal_like(tensors, 1.0, generator):
        pass
    assert torch.equal(behind.get_state(), generator.get_state())
    assert size % 16 or torch.equal(torch.randn(16, generator=behind), last)


def test_what_noise_was_made_for_is_not_held_while_it_is_used():
    waiting = [torch.empty(16), torch.empty(16)]
    held = [weakref.ref(tensor) for tensor in waiting]
    noise = normal_like(waiting, 1.0, torch.Generator())
    next(noise)
    del waiting
    assert [ref() is None for ref in held] == [True, False]
