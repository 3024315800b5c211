from concurrent.futures import ThreadPoolExecutor

import pytest

from biograd import UserMistake
from biograd.errors import RunFailed
from biograd.records import add_measurement, read_measurements


def measurement(key="a", source=None, value=0):
    settings = {"attacks": ["fgsm"], "gradients": ["true"], "epsilons": [0.0], "steps": 20, "step_size": None}
    return {
        "run": "runs/fa",
        "key": key,
        "settings": {**settings, "restarts": 1, "queries": 500, "examples": None, "seed": 0},
        "unit": "pixels",
        "lower": None,
        "upper": None,
        "examples": 10,
        "classes": ["a", "b"],
        "source": source,
        "clean": {"accuracy": 0.5, "balanced_accuracy": 0.5, "logit_scale": 1.0, "zero_gradients": {}},
        "rows": [],
        "verdict": {"masking": "not decided", "reasons": [], "checks": []},
        "environment": {},
        "seconds": 1.0,
        "value": value,
    }


def test_there_is_none_before_the_first(tmp_path):
    assert read_measurements(tmp_path) == []


def test_one_of_the_same_settings_and_source_replaces_and_all_others_stay(tmp_path):
    made = [measurement(), measurement("b"), measurement(source="bp/seed0"), measurement(value=1)]
    reads = [add_measurement(tmp_path, one)["test_reads"] for one in made]
    found = read_measurements(tmp_path)
    assert [(one["key"], one["source"], one["value"]) for one in found] == [
        ("b", None, 0),
        ("a", "bp/seed0", 0),
        ("a", None, 1),
    ]
    assert reads == [2, 3, 4, 5]
    assert [one["test_reads"] for one in found] == [3, 4, 5]


def test_nothing_but_the_file_and_its_lock_is_left_behind(tmp_path):
    add_measurement(tmp_path, measurement())
    assert {path.name for path in tmp_path.iterdir()} == {"robustness.json", ".robustness.json.lock"}


def test_of_measurements_that_are_added_at_the_same_time_none_is_lost(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda key: add_measurement(tmp_path, measurement(key)), "abcdefgh"))
    assert {one["key"] for one in read_measurements(tmp_path)} == set("abcdefgh")
    assert sorted(one["test_reads"] for one in added) == list(range(2, 10))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RunFailed, match=r"cannot write to .*gone: No such file"):
        add_measurement(tmp_path / "gone", measurement())


def test_a_corrupted_file_is_named(tmp_path):
    (tmp_path / "robustness.json").write_text("{")
    with pytest.raises(UserMistake, match=r"robustness\.json: not valid JSON"):
        read_measurements(tmp_path)
    with pytest.raises(UserMistake):
        add_measurement(tmp_path, measurement())
    (tmp_path / "robustness.json").write_text("{}")
    with pytest.raises(
        UserMistake, match=r"robustness\.json: reads is missing; restore it, or remove it and measure again"
    ):
        read_measurements(tmp_path)
