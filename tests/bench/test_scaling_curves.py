import json

import pytest
import torch

from biograd import bench
from biograd.bench import scaling_curves
from biograd.bench.rows import row
from biograd.errors import UserMistake


def test_every_rule_has_a_row_at_every_size_of_every_curve(monkeypatch):
    monkeypatch.setattr(scaling_curves, "MIDDLE", {"width": 12, "depth": 2, "batch": 4})
    state = torch.get_rng_state()
    rows = bench.scaling(
        rules=["gait-prop", "bp", "softhebb"], widths=[10, 11], depths=[3], batches=[5], repeats=2
    )
    assert torch.equal(state, torch.get_rng_state())
    assert json.loads(json.dumps(rows)) == rows
    sizes = [("width", 10, 2, 4), ("width", 11, 2, 4), ("depth", 12, 3, 4), ("batch", 12, 2, 5)]
    assert [tuple(one[name] for name in ("along", "width", "depth", "batch", "rule")) for one in rows] == [
        (*size, rule) for size in sizes for rule in ("gait-prop", "bp", "softhebb")
    ]
    about = ("benchmark", "rule", "net", "along", "width", "depth", "batch", "threads", "repeats")
    assert all(one.keys() == {**dict.fromkeys(about), **row({}, None)}.keys() for one in rows)
    for moved, still, _ in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        assert moved["ratio"] > 0
        assert moved["of_reference"] > 0
        assert (moved["average"], moved["repeats"]) == ("mean", 8)
        assert (still["average"], still["repeats"], still["refreshes"]) == ("median", 2, None)


def test_a_curve_without_sizes_is_left_out():
    rows = bench.scaling(rules=["bp"], widths=[], depths=[], batches=[3], repeats=1)
    assert [one["along"] for one in rows] == ["batch"]


def test_long_steps_have_fewer_turns():
    sizes = {"width": 256, "depth": 4, "batch": 128}
    assert [scaling_curves._fitting(20, {**sizes, "width": width}) for width in (64, 1024, 2048)] == [
        20,
        10,
        5,
    ]
    assert scaling_curves._fitting(1, {**sizes, "width": 2048}) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"widths": [64, 0]}, "width must be at least 1, got 0"),
        ({"depths": [0]}, "depth must be at least 1, got 0"),
        ({"batches": [0]}, "batch must be at least 1, got 0"),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"rules": ["bb"]}, "unknown rule 'bb'"),
    ],
)
def test_bad_values_are_mistakes(given, message):
    with pytest.raises(UserMistake, match=message):
        bench.scaling(**given)
