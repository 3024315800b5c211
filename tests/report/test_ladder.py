"""The ladder is one figure of what rules reach on each rung; cost and published numbers have their own."""

import pytest
from matplotlib.figure import Figure
from scipy import stats
from tests.report.test_study import ROW

from biograd.report import accuracy_by_cost as by_cost
from biograd.report import ladder as rungs
from biograd.report.ladder import Step, ladder
from biograd.report.published import half_width, published
from biograd.report.table import Table


@pytest.fixture
def table(make_run, tmp_path):
    for data, best in (("mnist", 0.98), ("cifar10", 0.5), ("digits", 0.96)):
        for rule, less in (("bp", 0.0), ("fa", 0.01), ("dfa", 0.02)):
            if (data, rule) != ("cifar10", "dfa"):
                make_run(tmp_path / data / rule, rule, final=best - less, data={"name": data, "settings": {}})
    return Table.below(tmp_path)


def test_rungs_are_in_the_order_that_is_given_or_that_of_backpropagation(table):
    steps = [Step("Digits", "digits", "mlp"), Step("Iris", "iris", "mlp"), Step("CIFAR", "cifar10", "mlp")]
    assert [title for title, _ in rungs._rungs(table, steps)] == ["Digits", "CIFAR"]
    assert [task.name for _, task in rungs._rungs(table, ())] == [
        "mnist · mlp",
        "digits · mlp",
        "cifar10 · mlp",
    ]


def test_a_folder_of_data_is_the_one_of_its_rung_wherever_it_lies(make_run, tmp_path):
    make_run(tmp_path / "a", "bp", data={"name": "folder:/home/me/imagenet", "settings": {}})
    steps = [Step("ImageNet", "folder:imagenet", "mlp")]
    assert [title for title, _ in rungs._rungs(Table.below(tmp_path), steps)] == ["ImageNet"]


def test_a_rule_has_a_point_where_it_has_been_and_its_distance_from_backpropagation(table):
    axes = Figure().subplots()
    for draw in (rungs._reached, rungs._gap):
        draw(axes, rungs._rungs(table, ()), "dfa", table.look["dfa"])
    reached, gap = (
        line for line in axes.get_lines() if len(line.get_xdata()) == 2 and line.get_marker() != "_"
    )
    assert list(reached.get_ydata()) == pytest.approx([96.0, 94.0])
    assert list(gap.get_ydata()) == pytest.approx([-2.0, -2.0])


@pytest.mark.usefixtures("blank_figures")
def test_one_figure_for_several_tasks_and_none_for_a_single_one(table):
    assert [drawing.name for drawing in ladder(table)] == ["ladder"]
    one_task = table.regrouped(table.tasks[0].cells)
    assert ladder(one_task) == []


@pytest.mark.usefixtures("blank_figures")
def test_costs_in_which_cells_differ_are_drawn(make_run, tmp_path, table):
    assert by_cost._drawn(table.tasks[0]) == ["seconds"]
    make_run(tmp_path / "a", "bp", epochs=2)
    make_run(tmp_path / "b", "fa", epochs=4)
    (task,) = (task for task in Table.below(tmp_path).tasks if task.name == "mnist · mlp")
    assert by_cost._drawn(task) == ["seconds", "epochs"]
    make_run(tmp_path / "alone" / "a", "bp")
    assert by_cost.accuracy_by_cost(Table.below(tmp_path / "alone")) == []


def test_a_measured_mean_has_the_interval_of_student():
    values = [0.971, 0.975, 0.968, 0.973]
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert half_width(stats.tstd(values), 4) == pytest.approx((high - low) / 2)
    assert half_width(None, 1) is None


@pytest.mark.usefixtures("blank_figures")
def test_what_was_published_and_measured_is_drawn_a_figure_a_quantity():
    angle = {**ROW, "quantity": "gradient angle", "unit": "degrees"}
    nothing = [{**ROW, "published": None}, {**ROW, "mean": None, "sd": None}]
    names = [drawing.name for drawing in published([ROW, angle, *nothing])]
    assert names == ["published-test-accuracy", "published-gradient-angle"]
    assert published(nothing) == []
