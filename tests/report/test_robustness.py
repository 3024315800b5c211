"""Curves and tables of measurements that no attack made."""

import math
import re

import pytest

from biograd.records import add_measurement
from biograd.report.attacked import comparisons, pooled
from biograd.report.page import write_report
from biograd.report.robustness import printed, robustness, robustness_tables
from biograd.report.table import Table

SIZES = [0.0, 0.1, 0.3]


def measurement(accuracy, *, key="k", masking="not seen", curves=None, source=None, **settings):
    """What a run's attacks left, each point ``accuracy`` less ε."""
    curves = curves or [("fgsm", "true"), ("pgd", "true"), ("square", "none")]
    rows = [
        {
            "attack": attack,
            "gradient": gradient,
            "epsilon": size,
            "accuracy": max(0.0, accuracy - size),
            "balanced_accuracy": max(0.0, accuracy - 2 * size),
            "reason": None,
        }
        for attack, gradient in curves
        for size in SIZES
    ]
    defaults = {"steps": 20, "step_size": None, "restarts": 1, "queries": 500, "examples": 100, "seed": 0}
    return {
        "run": "nowhere",
        "key": key,
        "source": source,
        "settings": {
            "attacks": ["fgsm", "pgd", "square"],
            "gradients": ["true", "rule"],
            "epsilons": SIZES,
            **defaults,
            **settings,
        },
        "unit": "pixels scaled to [0, 1]",
        "lower": 0.0,
        "upper": 1.0,
        "classes": ["a", "b"],
        "environment": {},
        "seconds": 1.0,
        "examples": 100,
        "clean": {
            "accuracy": accuracy,
            "balanced_accuracy": max(0.0, accuracy - 0.1),
            "logit_scale": 10 * accuracy,
            "zero_gradients": {"true": 0.02, "rule": None},
        },
        "rows": rows,
        "verdict": {
            "masking": masking,
            "reasons": [] if masking == "not seen" else ["a reason"],
            "checks": [],
        },
    }


@pytest.fixture
def attacked(tmp_path, make_run):
    """A function that writes a run and what was measured of it, and the folder of them all."""

    def write(name, accuracy, rule="bp", seed=0, cls=None, measured=(), **of_measurement):
        folder = make_run(tmp_path / "all" / name, rule, seed, one_vs_rest=cls)
        for one in measured or [measurement(accuracy, **of_measurement)]:
            add_measurement(folder, one)

    return write, tmp_path / "all"


def found(folder):
    return comparisons(Table.below(folder))


def test_a_curve_is_the_mean_and_spread_over_seeds(attacked):
    write, folder = attacked
    for seed, accuracy in enumerate((0.9, 0.7)):
        write(f"bp-{seed}", accuracy, seed=seed)
    ((member,),) = [comparison.members for comparison in found(folder)]
    band = member.band("pgd", "true", "accuracy")
    assert band.x == SIZES
    assert band.mean == pytest.approx([80, 70, 50])
    assert band.sd == pytest.approx([100 * math.sqrt(2) / 10] * 3)
    assert member.band("pgd", "true", "balanced_accuracy").mean == pytest.approx([80, 60, 20])
    assert member.band("transfer", "transfer", "accuracy") is None


def test_one_seed_has_no_spread(attacked):
    write, folder = attacked
    write("bp", 0.9)
    assert found(folder)[0].members[0].band("fgsm", "true", "accuracy").sd is None


def test_classes_one_by_one_are_averaged_within_a_seed_and_the_spread_is_over_seeds(attacked):
    """Classes differ much, seeds little: the spread must be that of the seeds."""
    write, folder = attacked
    for seed in (0, 1):
        for cls, accuracy in (("3", 0.9), ("8", 0.5)):
            write(f"bp-{cls}-{seed}", accuracy + 0.02 * seed, seed=seed, cls=cls)
    (comparison,) = found(folder)
    assert comparison.task == "mnist, 2 classes one by one · mlp"
    (member,) = comparison.members
    assert member.classes == ["3", "8"]
    band = member.band("pgd", "true", "accuracy")
    assert band.mean == pytest.approx([71, 61, 41])
    assert band.sd == pytest.approx([math.sqrt(2)] * 3)


def test_classes_that_a_seed_lacks_have_no_part_in_the_mean_and_the_page_says_so(attacked):
    write, folder = attacked
    write("bp-3-0", 0.9, cls="3")
    write("bp-8-0", 0.1, cls="8")
    write("bp-3-1", 0.9, cls="3", seed=1)
    (member,) = found(folder)[0].members
    assert (member.classes, member.left_out) == (["3"], 1)
    assert member.band("pgd", "true", "accuracy").mean == pytest.approx([90, 80, 60])
    (table,) = robustness_tables(Table.below(folder))
    assert "1 run(s) of classes that other seeds lack are left out" in table.notes[0]


def test_all_classes_at_once_and_one_class_are_never_pooled(attacked):
    write, folder = attacked
    write("bp", 0.9)
    write("bp-3", 0.9, cls="3")
    write("bp-8", 0.8, cls="8")
    assert [comparison.task for comparison in found(folder)] == [
        "mnist · mlp",
        "mnist, 2 classes one by one · mlp",
    ]


def test_a_single_class_keeps_its_name(attacked):
    write, folder = attacked
    write("bp-3", 0.9, cls="3")
    write("fa-3", 0.9, "fa", cls="3")
    assert [cell.data for cell in pooled(Table.below(folder).cells)] == ["mnist 3 vs rest"] * 2


def test_measurements_by_other_settings_are_never_mixed(attacked):
    write, folder = attacked
    few = measurement(0.5, key="few", queries=100)
    write("bp", 0, measured=[few, measurement(0.9)])
    write("fa", 0, "fa", measured=[measurement(0.8)])
    first, second = found(folder)
    assert [[member.cell.rule for member in one.members] for one in (first, second)] == [["bp"], ["bp", "fa"]]
    drawings = robustness(Table.below(folder))
    assert ["100 queries" in drawing.caption for drawing in drawings] == [True, True, False, False]
    assert len(printed(Table.below(folder), {"few"})) == 1


def test_of_two_sources_of_one_setting_the_newest_is_shown(attacked):
    write, folder = attacked
    write("bp", 0, measured=[measurement(0.5, source="a"), measurement(0.9, source="b")])
    assert found(folder)[0].members[0].band("pgd", "true", "accuracy").mean[0] == pytest.approx(90)


def test_the_table_holds_what_curves_must_be_read_with(attacked):
    write, folder = attacked
    for seed, masking in enumerate(("not seen", "suspected", "suspected")):
        write(f"bp-{seed}", 0.8 + 0.1 * (seed == 0), seed=seed, masking=masking)
    (table,) = robustness_tables(Table.below(folder))
    assert {column.title: column.entries[0].text for column in table.columns} == {
        "rule": "bp",
        "seeds": "3",
        "accuracy %": "83.33 ± 5.77",
        "balanced accuracy %": "73.33 ± 5.77",
        "logit scale": "8.33 ± 0.58",
        "zero gradient %": "2.00 ± 0.00",
        "zero feedback %": "—",
        "masking": "suspected in 2 of 3, not seen in 1 of 3",
    }
    assert table.notes == [f"bp, mnist, seed {seed}: masking suspected: a reason." for seed in (1, 2)]
    assert (
        "100 test examples; ε in pixels scaled to [0, 1]; PGD: 20 steps of 2.5 ε / steps, 1 start(s)"
        in table.caption
    )


def test_what_was_not_made_is_said_once(attacked):
    write, folder = attacked
    for seed in range(2):
        one = measurement(0.9)
        missing = {"epsilon": None, "accuracy": None, "balanced_accuracy": None, "reason": "no path"}
        one["rows"] += [{"attack": attack, "gradient": "rule", **missing} for attack in ("fgsm", "pgd")]
        write(f"shallow-{seed}", 0, "shallow", seed, measured=[one])
    (text,) = printed(Table.below(folder), {"k"})
    assert text.notes == [f"shallow, {attack} by the rule's feedback: no path." for attack in ("fgsm", "pgd")]


def test_curves_in_text_give_accuracy_and_balanced_accuracy(attacked):
    write, folder = attacked
    write("bp", 0.9)
    write("fa", 0, "fa", measured=[measurement(0.8, curves=[("pgd", "true")])])
    (text,) = printed(Table.below(folder), {"k"})
    assert text.rows[0] == ["rule", "attack", "ε 0", "ε 0.1", "ε 0.3"]
    assert ["bp", "PGD, true gradient", "90.0/90.0", "80.0/70.0", "60.0/30.0"] in text.rows
    assert ["fa", "square, no gradient", "—", "—", "—"] in text.rows


@pytest.mark.usefixtures("blank_figures")
def test_the_page_has_a_section_of_its_own_only_if_something_was_measured(attacked, make_run, tmp_path):
    write, folder = attacked
    for seed in range(2):
        write(f"bp-{seed}", 0.9, seed=seed, masking="suspected")
    html = write_report(folder).read_text()
    assert '<h2 id="robustness-title">Robustness</h2>' in html
    assert re.search(r"<figcaption>100 test examples; ε in pixels", html)
    assert "masking suspected: a reason." in html
    drawn = sorted(path.name for path in (folder / "figures").glob("robustness-*.svg"))
    assert drawn == ["robustness-accuracy-mnist-mlp.svg", "robustness-balanced-accuracy-mnist-mlp.svg"]
    make_run(tmp_path / "plain" / "bp")
    assert "Robustness" not in write_report(tmp_path / "plain").read_text()


def test_reasons_cannot_become_markup(attacked):
    write, folder = attacked
    one = measurement(0.9, masking="suspected")
    one["verdict"]["reasons"] = ["<script>alert(1)</script>"]
    write("bp", 0, measured=[one])
    assert "<script>alert" not in write_report(folder).read_text()


def test_the_same_records_give_the_same_bytes(attacked):
    write, folder = attacked
    write("bp", 0.9)
    first, second = write_report(folder).read_bytes(), write_report(folder).read_bytes()
    assert first == second
