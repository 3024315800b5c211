import json

import pytest
import torch

from biograd.bench import locally_connected
from biograd.bench.rows import row
from biograd.errors import UserMistake


def test_each_layer_and_their_chain_are_timed_beside_a_convolution(monkeypatch):
    monkeypatch.setattr(locally_connected, "BATCH", 1)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    rows = locally_connected.measure(repeats=1, seed=0)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert json.loads(json.dumps(rows)) == rows
    about = ("benchmark", "rule", "batch", "threads", "repeats", "limit")
    assert {tuple(found[key] for key in about) for found in rows} == {
        ("locally_connected", "bp", 1, 1, 1, 1.6)
    }
    names = [f"locally-connected {name}" for name in (*locally_connected.LAYERS, "chain")]
    assert [found["net"] for found in rows] == names
    assert all(found["seconds"] > 0 and found["ratio"] > 0 for found in rows)
    assert all(found.keys() == {**row({}, None), **dict.fromkeys([*about, "net"])}.keys() for found in rows)


def test_layer_and_convolution_have_the_same_shapes():
    x = torch.randn(2, 3, 32, 32)
    for name in locally_connected.LAYERS:
        own, shared = locally_connected._local(name), locally_connected._shared(name)
        assert own(x).shape == shared(x).shape
        x = shared(x)
    assert x.shape == (2, 256, 8, 8)


def test_no_repeats_is_a_mistake():
    with pytest.raises(UserMistake, match="at least 1, got 0"):
        locally_connected.measure(repeats=0, seed=0)
