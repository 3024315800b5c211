import json

import pytest

from biograd.records import read_assessment

ASSESS = "assess fa --rungs iris --seeds 1 --device cpu"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("assessed")


@pytest.mark.usefixtures("blank_figures")
def test_verdicts_are_printed_and_kept_and_a_second_call_trains_nothing(biograd, folder):
    ended = biograd(f"{ASSESS} --out {folder}")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[-1] == str(folder / "report.html")
    assert any("open: judged at" in line for line in lines)
    assert "biograd assess: 36 runs with 800 epochs in all" in ended.err
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}
    again = biograd(f"{ASSESS} --out {folder} --json")
    assert "runs with" not in again.err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")} == before
    assert again.row == {
        **json.loads(json.dumps(read_assessment(folder))),
        "report": str(folder / "report.html"),
    }


def test_how_long_it_would_take_is_told_rung_by_rung_and_nothing_is_trained(biograd, tmp_path):
    place = tmp_path / "new"
    told = biograd(
        f"assess fa --rungs iris,digits --rungs imagenet* --budget full --estimate --jobs 2 --out {place}"
    )
    assert told.code == 0
    iris, digits, both, missing = told.out.splitlines()
    assert "assess, iris: 120 runs with 5600 epochs in all" in iris
    assert "assess, digits: 120 runs with 1600 epochs in all" in digits
    assert "all of them: 240 runs with 7200 epochs in all" in both
    assert "with 2 jobs" in iris
    assert missing.startswith("left out is imagenet-resnet18: ")
    row = biograd(f"assess fa --rungs iris --budget full --estimate --out {place} --json").row
    assert [one["runs"] for one in row["rungs"]] == [120]
    assert row["seconds"] > 0
    assert not place.exists()


@pytest.mark.usefixtures("blank_figures")
def test_baselines_can_be_assessed_and_the_exit_code_is_of_the_rules_that_were_asked_for(biograd, folder):
    biograd(f"{ASSESS} --out {folder}")
    assert biograd(f"{ASSESS.replace('fa', 'bp')} --out {folder} --json").code == 0
    told = biograd(f"{ASSESS.replace('fa', 'fa softhebb')} --out {folder} --estimate")
    nothing, reason = told.out.splitlines()
    assert nothing == "nothing is left to train"
    assert reason.startswith("left out of iris is softhebb: ")


@pytest.mark.usefixtures("blank_figures")
def test_a_rule_that_has_no_number_fails_where_another_had_some(biograd, folder, monkeypatch):
    from biograd.studies import assess

    biograd(f"{ASSESS} --out {folder}")
    found = {**read_assessment(folder), "across": []}
    monkeypatch.setattr(assess, "assess", lambda *_, **__: found)
    assert biograd(f"{ASSESS} --out {folder} --json").code == 0
    assert biograd(f"{ASSESS.replace('fa', 'dfa')} --out {folder} --json").code == 1


def test_mistakes_are_one_line(biograd, tmp_path):
    for words, line in (
        ("assess fq", "unknown rule 'fq'"),
        ("assess fa fa", "none of them twice"),
        ("assess fa --rungs moon", "no rung fits 'moon'"),
        ("assess fa --rungs cifar-lc", "the quick budget leaves it out"),
        ("assess fa dfa --rule.scale 2", "--rule.scale does not say whose"),
        ("assess fa --rule.scael 2", "scael"),
        ("assess bp --rule.x 1", "bp is a baseline"),
    ):
        assert line in biograd(f"{words} --out {tmp_path / 'new'}").mistake
    assert not (tmp_path / "new").exists()
