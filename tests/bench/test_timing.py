import gc

import pytest
import torch

from biograd.bench import timing
from biograd.bench.timing import Timed, clock_name, compare, quiet_process


class Clock:
    """Time that passes only when a step says so."""

    def __init__(self, monkeypatch):
        self.now = 0
        self.calls = []
        for name in ("perf_counter_ns", "process_time_ns"):
            monkeypatch.setattr(timing.time, name, lambda: self.now)

    def step(self, name, *nanoseconds):
        durations = iter(nanoseconds * 100)

        def run():
            self.calls.append(name)
            self.now += next(durations)

        return run


def test_a_ratio_is_the_median_over_turns(monkeypatch):
    clock = Clock(monkeypatch)
    steps = {"a": Timed(clock.step("a", 3 * 10**9)), "b": Timed(clock.step("b", 10**9))}
    found = compare(steps, clock.step("reference", 2 * 10**9), repeats=5, seed=0)
    assert found["a"] == (3.0, (2.0, 1.5, 1.5, 1.5), None)
    assert found["b"] == (1.0, (2.0, 0.5, 0.5, 0.5), None)


def test_an_update_by_hand_is_timed_in_the_same_turns(monkeypatch):
    clock = Clock(monkeypatch)
    step = Timed(clock.step("a", 3 * 10**9), by_hand=clock.step("hand", 4 * 10**9))
    found = compare({"a": step}, clock.step("-", 2 * 10**9), repeats=6, seed=0)
    assert found["a"] == (3.0, (2.0, 1.5, 1.5, 1.5), (4.0, 0.75, 0.75, 0.75))
    turns = [clock.calls[i : i + 3] for i in range(6, 24, 3)]
    assert all(sorted(turn) == ["-", "a", "hand"] for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 2


def test_one_thread_is_timed_by_the_time_of_the_process_and_several_by_the_wall(monkeypatch):
    monkeypatch.setattr(timing.time, "process_time_ns", iter(range(10**6)).__next__)
    monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: pytest.fail("wall"))
    with quiet_process(1):
        compare({"a": Timed(list)}, list, repeats=2, seed=0)
    monkeypatch.setattr(timing.time, "process_time_ns", lambda: pytest.fail("processor"))
    monkeypatch.setattr(timing.time, "perf_counter_ns", iter(range(10**6)).__next__)
    with quiet_process(2):
        compare({"a": Timed(list)}, list, repeats=2, seed=0)


def test_it_is_told_how_many_rounds_are_done(monkeypatch):
    clock, rounds = Clock(monkeypatch), []
    compare({"a": Timed(clock.step("a", 1))}, clock.step("-", 1), repeats=3, seed=0, reached=rounds.append)
    assert rounds == [1, 2, 3]


def test_a_slow_spell_that_lasts_a_pair_does_not_move_the_ratio(monkeypatch):
    clock = Clock(monkeypatch)
    spell = [1, 1, 7, 7, 1]  # as long for both, since a pair runs back to back
    own, reference = ([d * s for s in spell] for d in (4, 8))
    warm = [[own[0]] * 2 + own, [reference[0]] * 2 + reference]
    steps = {"a": Timed(clock.step("a", *warm[0]))}
    found = compare(steps, clock.step("reference", *warm[1]), repeats=5, seed=1)["a"].plain
    assert found.ratio == found.low == found.high == 0.5


def test_the_interval_holds_the_ratio_and_tells_noise(monkeypatch):
    clock = Clock(monkeypatch)
    noisy = clock.step("a", *range(80, 121, 3))
    found = compare({"a": Timed(noisy)}, clock.step("reference", 100), repeats=28, seed=0)["a"].plain
    assert 0.8 < found.low < found.ratio < found.high < 1.21


def test_steps_run_interleaved_in_random_order_each_beside_the_reference(monkeypatch):
    clock = Clock(monkeypatch)
    names = "abcd"
    compare({n: Timed(clock.step(n, 1)) for n in names}, clock.step("-", 1), repeats=12, seed=3)
    timed = clock.calls[4 * len(names) :]
    pairs = ["".join(timed[i : i + 2]) for i in range(0, len(timed), 2)]
    assert all(sorted(pair)[0] == "-" and pair != "--" for pair in pairs)
    assert {pair.index("-") for pair in pairs} == {0, 1}
    rounds = ["".join(pairs[i : i + 4]).replace("-", "") for i in range(0, len(pairs), 4)]
    assert all(sorted(order) == list(names) for order in rounds)
    assert len(set(rounds)) > 6


def test_the_ratio_of_a_moving_step_is_that_of_the_means_so_that_what_is_rare_counts(monkeypatch):
    clock = Clock(monkeypatch)
    rare = clock.step("a", *[0, 0], *[1 * 10**9] * 7, 9 * 10**9)  # two to warm up
    hand = clock.step("hand", 10**9)
    steps = {"a": Timed(rare, by_hand=hand, move=list), "b": Timed(clock.step("b", 10**9))}
    found = compare(steps, clock.step("reference", 10**9), repeats=2, seed=0)
    assert found["a"].seconds == found["a"].plain.ratio == found["a"].by_hand.ratio == 2.0
    assert 1.0 <= found["a"].plain.low < 2.0 < found["a"].plain.high
    assert found["b"] == (1.0, (1.0, 1.0, 1.0, 1.0), None)


def test_weights_move_after_every_turn_outside_the_time(monkeypatch):
    clock = Clock(monkeypatch)
    step = Timed(clock.step("a", 2), move=clock.step("move", 50))
    found = compare({"a": step}, clock.step("reference", 1), repeats=2, seed=0)["a"]
    assert found.plain.ratio == 2.0
    timed = clock.calls[4:]
    assert timed[2::3] == ["move"] * 8
    assert all(sorted(timed[i : i + 2]) == ["a", "reference"] for i in range(0, 24, 3))


def test_the_order_is_a_function_of_the_seed(monkeypatch):
    def order(seed):
        clock = Clock(monkeypatch)
        compare({n: Timed(clock.step(n, 1)) for n in "abc"}, clock.step("-", 1), repeats=4, seed=seed)
        return clock.calls

    assert order(5) == order(5) != order(6)


@pytest.mark.parametrize("is_collecting", [True, False])
def test_threads_garbage_collection_and_random_numbers_are_as_before_afterwards(is_collecting):
    had_gc, threads, state = gc.isenabled(), torch.get_num_threads(), torch.get_rng_state()
    (gc.enable if is_collecting else gc.disable)()
    try:
        with pytest.raises(KeyError), quiet_process(threads + 1):
            _fail_when_quiet(threads + 1)
        assert torch.get_num_threads() == threads
        assert gc.isenabled() == is_collecting
        assert torch.equal(state, torch.get_rng_state())
    finally:
        (gc.enable if had_gc else gc.disable)()


def _fail_when_quiet(threads):
    assert torch.get_num_threads() == threads
    assert not gc.isenabled()
    torch.rand(3)
    raise KeyError


def test_a_step_on_another_device_has_run_when_its_work_is_done(monkeypatch):
    settled = []
    monkeypatch.setattr(torch.cuda, "synchronize", settled.append)
    cuda = torch.device("cuda")
    compare({"a": Timed(list)}, list, repeats=2, seed=0, device=cuda)
    assert settled == [cuda] * 8  # before and after each of two steps in two turns
    assert clock_name(cuda) == "wall"
