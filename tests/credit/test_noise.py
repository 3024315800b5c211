import pytest
import torch

from biograd.credit.noise import normal_like


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
