import pytest
import torch

from biograd.data.seeded import derive
from biograd.training import seeding
from biograd.training.seeding import settled


def process_state():
    return (
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


@pytest.fixture
def unusual_process():
    """A caller who changed everything that a run settles."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True, warn_only=True)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)


def test_seeds_differ_by_run_and_by_purpose_and_never_change():
    purposes = ["data", "validation", "order", "net", "rule", "dropout 0", "dropout 1"]
    seeds = [derive(seed, purpose) for seed in (0, 1, 2**62) for purpose in purposes]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derive(0, "net") == 1430754014  # runs of earlier versions must stay reproducible


def test_the_block_depends_on_its_arguments_alone(unusual_process):
    drawn = []
    for _ in range(2):
        torch.rand(1)
        with settled(seed=5, threads=1):
            assert torch.get_num_threads() == 1
            assert torch.is_grad_enabled()
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
            drawn.append(torch.rand(2))
    assert drawn[0].dtype == torch.float32
    assert torch.equal(*drawn)


def test_the_callers_state_is_as_it_was(unusual_process):
    before = process_state()
    with settled(seed=5, threads=1, deterministic=False):
        torch.rand(3)
    assert process_state() == before


def test_it_is_so_after_an_exception_too(unusual_process):
    before = process_state()
    with pytest.raises(KeyError), settled(seed=5, threads=1):
        raise KeyError
    assert process_state() == before


def test_a_run_works_under_inference_mode():
    with torch.inference_mode(), settled(seed=0, threads=1):
        weight = torch.ones(2, requires_grad=True)
        weight.sum().backward()
    assert weight.grad is not None


def test_random_state_goes_back():
    device = torch.device("cpu")
    with settled(seed=1, threads=1):
        state = seeding.random_state(device)
        first = torch.rand(3)
        seeding.restore_random_state(state, device)
        assert torch.equal(first, torch.rand(3))
