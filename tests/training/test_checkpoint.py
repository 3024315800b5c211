import os

import pytest
import safetensors.torch
import torch
from torch import nn

from biograd.errors import CheckpointError, RunFailed
from biograd.training import checkpoint, load_weights, optimizers, schedules

STATE = {"net": {"0.weight": torch.arange(6.0).view(2, 3)}, "position": {"epoch": 2, "seconds": 0.1}}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path, STATE, "abc")
    return path


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


def test_a_state_and_its_fingerprint_come_back(saved):
    state, fingerprint = checkpoint.load(saved)
    assert fingerprint == "abc"
    assert state["position"] == STATE["position"]
    assert torch.equal(state["net"]["0.weight"], STATE["net"]["0.weight"])


def test_it_is_a_plain_safetensors_file(saved):
    assert list(safetensors.torch.load_file(saved)) == ["0"]


def test_who_may_read_it_is_what_the_system_says_of_any_file(saved):
    other = saved.with_name("other")
    other.touch()
    assert saved.stat().st_mode == other.stat().st_mode


def test_a_missing_one_is_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.safetensors")
    assert "cannot read" in refusal(tmp_path)


def test_a_cut_one_is_refused_wherever_it_was_cut(saved):
    content = saved.read_bytes()
    for length in range(0, len(content), 7):
        saved.write_bytes(content[:length])
        assert "damaged or no checkpoint" in refusal(saved)


def test_one_flipped_bit_is_noticed_wherever_it_is(saved):
    content = saved.read_bytes()
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1
        saved.write_bytes(flipped)
        refusal(saved)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle, say", b"\x00" * 64, b"{}"])
def test_another_kind_of_file_is_refused(tmp_path, content):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    assert "damaged or no checkpoint" in refusal(path)


def test_tensors_of_someone_else_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"weight": torch.ones(2)}, path)
    assert "damaged or no checkpoint" in refusal(path)


def test_one_of_a_later_version_is_refused_by_its_number(saved, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 0)
    assert "has format 1, this version of biograd reads 0" in refusal(saved)


def test_loaded_tensors_are_aligned_and_not_of_the_file(saved):
    weight = checkpoint.load(saved)[0]["net"]["0.weight"]
    assert weight.data_ptr() % 64 == 0
    saved.write_bytes(b"")
    weight += 1


def test_a_full_disk_leaves_the_last_checkpoint_intact(small_disk):
    path = small_disk / "checkpoint.safetensors"
    checkpoint.save(path, STATE)
    with pytest.raises(RunFailed, match=r"No space left on device.*; what was there is as it was"):
        checkpoint.save(path, {"net": {"0.weight": torch.ones(100_000)}})
    assert [file.name for file in small_disk.iterdir()] == [path.name]
    assert checkpoint.load(path)[0]["position"] == STATE["position"]


def test_a_kill_before_the_rename_leaves_the_last_checkpoint(saved, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(saved, {"net": {}})
    monkeypatch.undo()
    assert checkpoint.load(saved)[1] == "abc"


def test_weights_load_into_their_net_alone(saved):
    net = nn.Sequential(nn.Linear(3, 2, bias=False))
    load_weights(saved, net)
    assert torch.equal(net[0].weight, STATE["net"]["0.weight"])
    for other in (nn.Linear(3, 2), nn.Linear(3, 3, bias=False), nn.Linear(3, 2, bias=False)):
        with pytest.raises(CheckpointError, match="the checkpoint is of another one: it holds"):
            load_weights(saved, nn.Sequential(other, nn.Linear(2, 2)) if other.bias is None else other)


def training(optimizer, schedule, dtype):
    """A small training whose only state is the weights, the optimiser's and the schedule's."""
    torch.manual_seed(0)
    net = nn.Linear(4, 3, bias=False, dtype=dtype)
    optimizer = optimizers.create(optimizer, net.parameters(), lr=0.1)
    return net, optimizer, schedules.create(schedule, optimizer, 3, 2, interval="step").scheduler


def advance(net, optimizer, scheduler, steps):
    for step in steps:
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(5, 4, generator=generator, dtype=net.weight.dtype)
        net(x).square().mean().backward()
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("schedule", ["cosine", "step"])
@pytest.mark.parametrize("name", optimizers.names())
def test_every_optimizer_and_schedule_goes_on_with_the_same_bits(name, schedule, dtype, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    whole, first, second = (training(name, schedule, dtype) for _ in range(3))
    advance(*whole, range(6))
    advance(*first, range(3))
    parts = ("net", "optimizer", "schedule")
    checkpoint.save(path, {part: thing.state_dict() for part, thing in zip(parts, first, strict=True)})
    state, _ = checkpoint.load(path)
    checkpoint.fill(second[0], state["net"], "net")
    checkpoint.fill_optimizer(second[1], state["optimizer"])
    second[2].load_state_dict(state["schedule"])
    advance(*second, range(3, 6))
    assert torch.equal(second[0].weight, whole[0].weight)
    assert second[1].param_groups[0]["lr"] == whole[1].param_groups[0]["lr"]
    for key, value in whole[1].state_dict()["state"][0].items() if whole[1].state_dict()["state"] else ():
        there = second[1].state_dict()["state"][0][key]
        assert getattr(there, "dtype", None) == getattr(value, "dtype", None)


def test_another_optimizers_state_is_refused():
    net = nn.Linear(2, 2)
    adam = optimizers.create("adam", net.parameters())
    half = optimizers.create("adam", [net.weight])
    with pytest.raises(
        CheckpointError, match=r"optimizer.param_groups.0.params: .*a list of 1, expected a list of 2"
    ):
        checkpoint.fill_optimizer(adam, half.state_dict())


def test_a_rule_whose_state_has_other_parts_is_refused_in_one_line():
    class Counting(torch.nn.Linear):
        def get_extra_state(self):
            return torch.tensor(3)

        def set_extra_state(self, state):
            assert state == 3

    counting, plain = Counting(2, 1), torch.nn.Linear(2, 1)
    for module, state in ((plain, counting.state_dict()), (counting, plain.state_dict())):
        with pytest.raises(
            CheckpointError, match=r"'_extra_state', expected .* the version of biograd"
        ) as caught:
            checkpoint.fill(module, state, "rule")
        assert "\n" not in str(caught.value)
    checkpoint.fill(counting, counting.state_dict(), "rule")
