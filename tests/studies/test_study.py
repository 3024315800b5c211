"""A study that does not hold together is refused where it is declared."""

import dataclasses

import pytest

from biograd import studies
from biograd.errors import UserMistake
from biograd.robustness import AttackSettings
from biograd.studies.cells import chosen
from biograd.studies.quantities import AtEnd
from biograd.studies.study import Budget, Claim, Group, RobustnessPlan, Shown, Study

ACCURACY = AtEnd("test_accuracy")


def test_a_group_holds_the_cells_whose_names_fit(make_study):
    study = make_study()
    assert [cell.name for cell in study.cells_of(study.group("fa"))] == ["a/fa", "b/fa"]
    assert [cell.label for cell in study.cells] == ["bp", "bp", "fa", "fa"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"groups": (Group("all", "*", ()), Group("none", "c/*", ()))}, "no cell fits 'c/\\*'"),
        ({"groups": (Group("bp", "*/bp", ()),), "claims": ()}, "cell 'a/fa' is in no group"),
        ({"groups": (Group("all", "*", ()), Group("all", "a/*", ()))}, "has the group 'all' twice"),
        ({"claims": (Claim("", "kp", ACCURACY, 0.0),)}, "has no group 'kp'"),
        ({"claims": (Claim("", "fa", ACCURACY, 0.0, beside="kp"),)}, "has no group 'kp'"),
        ({"robustness": (RobustnessPlan("c", *[AttackSettings(epsilons=(0,))] * 2),)}, "no cell fits 'c'"),
    ],
)
def test_what_does_not_hold_together_is_refused(make_study, changes, complaint):
    with pytest.raises(UserMistake, match=complaint):
        make_study(**changes)


def test_a_cell_twice_is_refused(make_study, make_cell):
    group = Group("all", "*", (Shown(ACCURACY),))
    with pytest.raises(UserMistake, match="has the cell 'a/bp' twice"):
        make_study(cells=(make_cell("a/bp"), make_cell("a/bp")), groups=(group,), claims=())


def test_a_cell_that_only_the_papers_budget_trains_is_one_and_one_that_none_does_is_not(
    make_study, make_cell
):
    group = Group("all", "*", (Shown(ACCURACY),))
    alone = dataclasses.replace(make_cell("a/bp"), full=None, quick=None, paper=Budget(seeds=1, epochs=500))
    assert (alone.budgets, alone.result_epochs) == (["paper"], 500)
    study = make_study(cells=(alone,), groups=(group,), claims=())
    with pytest.raises(UserMistake, match="the full budget leaves out 'a/bp': --budget paper trains it"):
        chosen(study, "full", "*")
    with pytest.raises(UserMistake, match="no budget trains the cell 'a/bp'"):
        make_study(cells=(dataclasses.replace(alone, paper=None),), groups=(group,), claims=())


def test_a_plan_states_its_epsilons():
    with pytest.raises(UserMistake, match="names no epsilons"):
        RobustnessPlan("*", full=AttackSettings(epsilons=(0.1,)), quick=AttackSettings())


@pytest.mark.parametrize("name", studies.names())
def test_a_registered_study_is_called_as_it_is_registered_and_says_where_it_comes_from(name):
    study = studies.find(name)
    assert isinstance(study, Study)
    assert study.name == name
    assert study.title
    assert study.reference.endswith(".")


def test_a_study_of_a_file_must_be_one(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def nothing():\n    return 3\n")
    with pytest.raises(UserMistake, match=r"makes a int, expected a biograd\.studies\.study\.Study"):
        studies.find(f"{file}:nothing")


def test_what_a_study_of_a_file_fails_with_is_one_line(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def broken():\n    raise KeyError('mnist')\n")
    with pytest.raises(UserMistake, match=r"study '.*mine\.py:broken' failed: KeyError: 'mnist'"):
        studies.find(f"{file}:broken")
