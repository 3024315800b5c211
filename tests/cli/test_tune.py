from pathlib import Path

import pytest

from biograd import records

SEARCH = (
    "tune --rules bp,fa --data iris --net mlp --net.widths 8,8 --epochs 1 --trials 2 --seeds 1 --device cpu"
)


@pytest.fixture
def searched(biograd, tmp_path, blank_figures):
    ended = biograd(f"{SEARCH} --out {tmp_path / 'search'} --json")
    assert ended.code == 0
    return tmp_path / "search", ended.row


def test_the_row_holds_trials_choices_and_what_was_trained(searched):
    folder, row = searched
    assert [search["rule"] for search in row["searches"]] == ["bp", "fa"]
    assert [search["done"] for search in row["searches"]] == [2, 2]
    assert {trial["status"] for trial in row["trials"]} == {"done"}
    assert [(one["rule"], one["seed"]) for one in row["rows"]] == [("bp", 1), ("fa", 1)]
    assert row["report"] == str(folder / "report.html")
    for search, trained in zip(row["searches"], row["rows"], strict=True):
        settings = records.flatten(records.Run.load(trained["run"]).config)
        assert {name: settings[name] for name in search["space"]} == search["best"]["settings"]


def test_show_tells_the_state_and_trains_nothing(searched, biograd):
    folder, row = searched
    before = sorted(folder.rglob("*"))
    assert biograd(f"tune --show --out {folder} --json").row == {
        "searches": row["searches"],
        "trials": row["trials"],
    }
    told = biograd(f"tune --show --out {folder}").out
    assert "2 trials of 1 epoch each, sobol" in told
    assert "2 of 2" in told
    assert sorted(folder.rglob("*")) == before


def test_the_commands_that_are_printed_train_what_was_chosen(searched, biograd, tmp_path):
    folder, row = searched
    told = biograd(f"{SEARCH} --out {folder}").out
    lines = [line for line in told.splitlines() if line.startswith("biograd train")]
    assert len(lines) == 2
    again = biograd(f"{lines[1].removeprefix('biograd ')} --out {tmp_path / 'again'} --json").row
    same = {"train_loss", "validation_accuracy", "test_accuracy", "steps", "seed"}
    assert {key: again[key] for key in same} == {key: row["rows"][1][key] for key in same}


@pytest.mark.usefixtures("blank_figures")
def test_so_are_those_of_a_rule_in_a_file(biograd, tmp_path):
    own = f"{Path(__file__).parents[2] / 'examples' / 'own_rule.py'}:SparseFeedback"
    told = biograd(f"{SEARCH.replace('bp,fa', own)} --out {tmp_path / 'own'}").out
    assert len([line for line in told.splitlines() if line.startswith("biograd train")]) == 1


def test_mistakes_are_one_line(biograd, tmp_path):
    assert "there is no search in" in biograd(f"tune --show --out {tmp_path}").mistake
    assert (
        "nothing is left to search"
        in biograd(
            f"{SEARCH} --lr 1e-3 --optimizer.eps 1e-8 --rule.fa.scale 1 --out {tmp_path / 'none'}"
        ).mistake
    )
    assert (
        "validation_fraction is 0"
        in biograd(f"{SEARCH} --validation-fraction 0 --out {tmp_path / 'x'}").mistake
    )
    assert not (tmp_path / "none").exists()
