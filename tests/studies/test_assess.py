"""An assessment: who is trained on which rung, what is left out with a reason, and what a second call keeps."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from biograd.errors import UserMistake
from biograd.executor import Local
from biograd.records import ASSESSMENT, CONFIG, Run, find_runs, find_trials, pack, read_assessment
from biograd.studies.assess import NO_TRIAL, _is_of, assess, plan
from biograd.studies.cells import configuration
from biograd.studies.ladder import LADDER, Rung
from biograd.studies.study import Budget, Tuning
from biograd.training import train

DATA = {"name": "synthetic", "examples": 60, "test_examples": 20, "features": "4", "classes": 3}
TASK = {
    "data": DATA,
    "net": {"name": "mlp", "widths": (6, 6)},
    "device": "cpu",
    "batch_size": 10,
    "diagnostics_every": 5,
}
QUICK = Budget(seeds=2, epochs=1, tuning=Tuning(trials=2, epochs=1))
FULL = Budget(seeds=2, epochs=2, tuning=Tuning(trials=2, epochs=1))
LOW = Rung("low", "Low", TASK, full=FULL, quick=QUICK)
HIGH = Rung("high", "High", {**TASK, "net": {"name": "mlp", "widths": (8, 8, 8)}}, full=FULL, quick=None)
NOWHERE = Rung("nowhere", "Nowhere", {**TASK, "data": "folder:/nowhere"}, full=FULL, quick=QUICK)
WILD = '''
from biograd import Credit, Rule


class Wild(Rule):
    """Teaches what is no number."""

    def assign_credit(self, net, x, y, loss_fn, *, weight=None):
        self.entry.begin(self, net, x, weight)
        output = net(x)
        loss = loss_fn(output, y)
        loss.backward()
        for parameter in net.parameters():
            parameter.grad *= float("inf")
        return Credit(loss.detach(), output.detach())

    def __init__(self, net, sample=None):
        super().__init__()
'''
SOFTHEBB = {"name": "softhebb"}  # which needs a net of its own


def labels(folder):
    return sorted({run.label for run in find_runs(folder)})


def rows(found, **wanted):
    return [row for row in found["verdicts"] if all(row[key] == value for key, value in wanted.items())]


def test_a_rule_and_its_baselines_are_searched_alike_and_trained_from_fresh_seeds(tmp_path):
    found = assess(["fa"], tmp_path, ladder=[LOW, HIGH])
    assert labels(tmp_path) == ["bp", "fa", "frozen", "shallow"]
    runs = find_runs(tmp_path)
    assert sorted(run.seed for run in runs) == sorted([0, 1] * 4)
    assert {run.result["test_reads"] for run in runs} == {1}
    searches = find_trials(tmp_path)
    assert {(len(one.done), one.search["epochs"], one.search["seed"]) for one in searches} == {(2, 1, 1000)}
    assert found == read_assessment(tmp_path)
    assert [(row["rung"], row["left_out"]) for row in found["rungs"]] == [
        ("low", None),
        ("high", "the quick budget leaves it out"),
    ]
    assert [row["rule"] for row in found["verdicts"]] == ["bp", "shallow", "frozen", "fa"]
    (ours,) = rows(found, rule="fa")
    (search,) = (one for one in searches if one.search["rule"] == "fa")
    assert ours["settings"] == search.best["settings"] != {}
    assert (ours["runs"], ours["accuracy"]["n"], ours["gap"]["n"]) == (2, 2, 2)
    assert (ours["verdict"], ours["open"]) == (None, "judged at the full budget")
    assert ours["kept_bytes"] > 0
    assert {row["check"] for row in ours["checks"]} == {
        "growth",
        "reference",
        "stability over batches",
        "stability over steps",
    }


def test_the_full_budget_judges_and_says_what_all_rungs_say(tmp_path):
    found = assess(["fa"], tmp_path, budget="full", ladder=[LOW, HIGH])
    for row in rows(found, rule="fa"):
        assert re.fullmatch(
            r"(above|below|not told from) bp, (above|below|not told from) frozen", row["verdict"]
        )
    assert [(row["rule"], row["rungs"]) for row in found["across"]] == [
        (rule, 2) for rule in ("bp", "shallow", "frozen", "fa")
    ]


def test_a_second_call_keeps_what_is_there_and_adds_rules_and_rungs(tmp_path):
    assess(["fa"], tmp_path, budget="full", ladder=[LOW, HIGH], rungs="low")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    found = assess(["dfa"], tmp_path, budget="full", ladder=[LOW, HIGH])
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [row["rule"] for row in rows(found, rung="low")] == ["bp", "shallow", "frozen", "dfa", "fa"]
    assert [row["rule"] for row in rows(found, rung="high")] == ["bp", "shallow", "frozen", "dfa"]
    with pytest.raises(UserMistake, match="holds an assessment at the full budget"):
        assess(["dfa"], tmp_path, ladder=[LOW])


def test_a_rule_that_cannot_teach_a_net_has_a_row_that_says_why_and_the_others_go_on(tmp_path):
    found = assess([SOFTHEBB, "fa"], tmp_path, ladder=[LOW])
    (row,) = rows(found, rule="softhebb")
    assert row["reason"]
    assert (row["runs"], row["accuracy"]["value"], row["verdict"]) == (0, None, None)
    assert labels(tmp_path) == ["bp", "fa", "frozen", "shallow"]
    again = assess(["dfa"], tmp_path, ladder=[LOW])
    assert rows(again, rule="softhebb") == [row]


def test_nothing_is_trained_where_only_baselines_could_be(tmp_path):
    with pytest.raises(UserMistake, match="nothing can be trained on 'low'"):
        assess([SOFTHEBB], tmp_path / "new", ladder=[LOW])
    assert not (tmp_path / "new").exists()


def test_a_rung_without_data_is_left_out_and_says_so(tmp_path):
    found = assess(["fa"], tmp_path / "new", ladder=[NOWHERE, LOW])
    assert "nowhere does not exist" in found["rungs"][0]["left_out"]
    assert {row["rung"] for row in found["verdicts"]} == {"low"}
    with pytest.raises(UserMistake, match=r"nothing can be trained on 'nowhere': .*does not exist"):
        assess(["fa"], tmp_path / "other", ladder=[NOWHERE])


def test_a_rule_whose_trials_all_diverge_is_named_and_the_others_are_judged(tmp_path):
    path = tmp_path / "wild.py"
    path.write_text(WILD)
    found = assess([f"{path}:Wild", "fa"], tmp_path / "new", ladder=[LOW])
    (row,) = rows(found, rule="Wild")
    assert (row["reason"], row["runs"]) == (NO_TRIAL, 0)
    assert rows(found, rule="fa")[0]["accuracy"]["n"] == 2


def test_mistakes_are_said_before_anything_is_trained(tmp_path):
    place = tmp_path / "new"
    for rules, words in (
        ([], "needs a rule or more"),
        (["fa", {"name": "fa", "scale": 2.0}], "none of them twice; got 'fa, fa'"),
        ([{"name": "bp", "scale": 1}], "bp is a baseline"),
        (["fq"], "unknown rule 'fq'"),
        (["mine.py:frozen"], "'mine.py:frozen' would be called frozen, as a baseline is"),
        ([{"scale": 1}], "a rule is a name, or a table with one"),
    ):
        with pytest.raises(UserMistake, match=words):
            assess(rules, place, ladder=[LOW])
    with pytest.raises(UserMistake, match=r"no rung fits 'hi': did you mean high\? There are low, high"):
        assess(["fa"], place, ladder=[LOW, HIGH], rungs=["low", "hi"])
    assert not place.exists()


def test_a_folder_that_holds_something_else_is_refused_as_it_is(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CONFIG).write_text("{}")
    with pytest.raises(UserMistake, match="run is the folder of a single run: give another one"):
        assess(["fa"], tmp_path / "run", ladder=[LOW])
    train(
        configuration(LOW.cells({"fa": "fa"})[0], "quick", 0, {}),
        tmp_path / "low" / "fa-seed0",
        progress=False,
    )
    with pytest.raises(UserMistake, match=r"lies in a packed file, which is only read: biograd unpack"):
        assess(["fa"], pack(tmp_path / "low").file, ladder=[LOW])


def test_what_else_was_trained_in_the_folder_of_a_rung_is_not_judged(tmp_path):
    changes = {"data": {"data": "iris"}, "net": {"net": "ff-mlp"}, "budget": {}, "copy": {}}
    for label, change in changes.items():
        (cell,) = replace(LOW, configuration={**TASK, **change}).cells({label: "dfa"})
        name = "copy" if label == "copy" else f"{label}-seed0"
        config = configuration(cell, "quick" if label == "budget" else "full", 0, {})
        train(config, tmp_path / "low" / name, progress=False)
    found = assess(["fa"], tmp_path, budget="full", ladder=[LOW])
    assert {row["rule"] for row in found["verdicts"]} == {"bp", "shallow", "frozen", "fa"}


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
def test_runs_of_a_rung_are_known_as_its_own(rung):
    config = configuration(rung.cells({"fa": "fa"})[0], "full", 3, {})
    assert _is_of(Run.of(Path("fa-seed3"), {CONFIG: config.to_json()}), rung, "full")


@pytest.mark.parametrize("gone", ["nothing", "*/fa-seed?"])
def test_other_settings_than_an_upper_rung_has_are_refused_before_the_lower_ones_are_trained(tmp_path, gone):
    assess(["fa"], tmp_path, budget="full", ladder=[LOW, HIGH], rungs=["high"])
    for path in tmp_path.glob(gone):
        shutil.rmtree(path)
    with pytest.raises(UserMistake, match=r"high/.*fa.* holds a run with another .*rule.scale"):
        assess([{"name": "fa", "scale": 2.0}], tmp_path, budget="full", ladder=[LOW, HIGH])
    assert not (tmp_path / "low").exists()


def test_how_many_seeds_rules_have_is_told_where_the_budget_has_others(tmp_path):
    assert assess(["fa"], tmp_path, ladder=[LOW], seeds=3)["rungs"][0]["seeds"] == 3
    assert assess(["fa"], tmp_path, ladder=[LOW], seeds=1)["rungs"][0]["seeds"] == 3


def test_a_damaged_file_is_written_again_once_it_is_removed_as_its_message_says(tmp_path):
    found = assess(["fa"], tmp_path, ladder=[LOW])
    (tmp_path / ASSESSMENT).write_text("{}")
    with pytest.raises(UserMistake, match=r"remove the file, and biograd assess writes it again"):
        assess(["fa"], tmp_path, ladder=[LOW])
    (tmp_path / ASSESSMENT).unlink()
    assert assess(["fa"], tmp_path, ladder=[LOW]) == found


def test_a_device_of_another_machine_need_not_be_here(tmp_path):
    class Elsewhere(Local):
        is_on_this_machine = False

    here = {"ladder": [LOW], "budget": "quick", "machine": {"device": "cuda:7"}}
    (climb,) = plan(["fa"], tmp_path, executor=Elsewhere(), **here)
    assert [cell.label for cell in climb.cells] == ["bp", "shallow", "frozen", "fa"]
    with pytest.raises(UserMistake, match="device 'cuda:7' is not there"):
        plan(["fa"], tmp_path, **here)


def test_how_long_it_takes_is_said_once_for_all_rungs_and_nothing_of_what_is_done(tmp_path):
    said = []
    for _ in range(2):
        assess(["fa"], tmp_path, budget="full", ladder=[LOW, HIGH], announce=said.append)
    assert [(one.runs, one.epochs) for one in said] == [(2 * 4 * (2 + 2), 2 * 4 * (2 * 1 + 2 * 2))]
