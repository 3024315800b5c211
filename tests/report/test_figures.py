"""Figures draw the mean over the finished seeds, keep a rule's look, and are the same bytes each time."""

import itertools
import re
import statistics
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from biograd.records import read_json, write_json
from biograd.report import figures
from biograd.report.alignment import alignment
from biograd.report.curves import Band, band, curve, plot_band
from biograd.report.drawing import draw, label_of, readable, slug
from biograd.report.palette import DARK, FAMILIES, GRID, INK, PAPER, QUIET, Drawn, looks, looks_apart, series
from biograd.report.table import Table

# Machado et al. (2009), severity 1: what is seen without one of the three cones, in linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


def linear(color):
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def cielab(rgb):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb
    f = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a, b):
    low, high = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (a, b))
    return (high + 0.05) / (low + 0.05)


def table_of(folder):
    return Table.below(folder)


COLORS = [color for color in DARK if color not in (QUIET, GRID, PAPER)]
RULES = {
    "backpropagation": ["bp"],
    "feedback": ["brsf", "fa", "frsf", "kp", "usf", "wm"],
    "direct feedback": ["dfa", "drtp"],
    "target propagation": ["ao-sdtp", "ddtp-linear", "drl", "dtp", "gait-prop", "itp", "l-drl", "sdtp", "tp"],
    "local": ["forward-forward", "pepita", "softhebb", "stdp-association"],
    "baseline": ["frozen", "shallow"],
    "own": ["mine", "yours"],
}
ALL = [rule for rules in RULES.values() for rule in rules]


def drawn(*names):
    return [Drawn(name, name, family) for family, rules in RULES.items() for name in rules if name in names]


def seen(color, vision, screen):
    shown = color if screen == "paper" else DARK[color]
    return cielab(np.clip(np.array(VISION[vision]) @ linear(shown), 0, 1))


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("screen", ["paper", "dark"])
def test_any_two_colors_can_be_told_apart(vision, screen):
    lab = [seen(color, vision, screen) for color in COLORS]
    assert len(lab) == 10
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)) >= 24.5


def test_every_color_has_another_for_dark_screens_and_stands_out_from_its_ground():
    assert {shade for shades in FAMILIES.values() for shade in shades} == set(COLORS)
    assert min(contrast(color, PAPER) for color in COLORS) > 2.2
    assert min(contrast(DARK[color], DARK[PAPER]) for color in COLORS) > 2.9
    assert contrast(INK, PAPER) > 7
    assert contrast(DARK[INK], DARK[PAPER]) > 7


@pytest.mark.parametrize(
    "rules",
    [
        ("bp", "fa", "dfa", "usf", "brsf", "frsf", "kp", "wm", "drtp", "shallow"),
        ("bp", "fa", "dfa", "dtp", "sdtp", "ao-sdtp"),
        ("bp", "fa", "gait-prop", "itp", "tp"),
        ("bp", "tp", "itp", "gait-prop", "dtp", "sdtp", "ao-sdtp", "drl", "ddtp-linear", "l-drl"),
        ("bp", "stdp-association", "softhebb", "forward-forward", "pepita", "shallow"),
        ("tp", "usf", "mine", "yours"),
    ],
)
def test_up_to_nine_rules_beside_backpropagation_have_a_color_and_a_marker_each(rules):
    found = looks(drawn(*rules))
    assert len({look.color for look in found.values()}) == len(rules)
    assert len({look.marker for look in found.values()}) == len(rules)


def test_backpropagation_comes_first_and_is_ink_and_nothing_else_is():
    found = looks(reversed(drawn(*ALL)))
    assert next(iter(found)) == "bp"
    assert [name for name, look in found.items() if look.color == INK] == ["bp"]


def test_rules_are_listed_by_kind_and_take_the_shades_of_theirs():
    found = looks(drawn("shallow", "dtp", "fa", "mine", "tp", "dfa", "bp"))
    assert list(found) == ["bp", "fa", "dfa", "dtp", "tp", "shallow", "mine"]
    for family, rules in RULES.items():
        for rule in {*rules} & {*found} - {"mine"}:
            assert found[rule].color in FAMILIES[family]


def test_a_rule_that_nobody_has_heard_of_needs_no_entry_here():
    new = [Drawn("new", "new", "feedback"), Drawn("odd", "odd", "a kind of its own")]
    found = looks([*drawn("bp", "dtp"), *new])
    assert list(found) == ["bp", "new", "dtp", "odd"]
    assert found["new"].color in FAMILIES["feedback"]
    assert len({look.color for look in found.values()}) == 4


def test_looks_do_not_depend_on_the_order_in_which_runs_are_met():
    assert looks(drawn(*ALL)) == looks(reversed(drawn(*ALL)))
    assert list(looks(drawn(*ALL))) == list(looks(reversed(drawn(*ALL))))


def test_of_many_rules_no_two_have_the_same_color_and_marker():
    many = [*drawn(*ALL), *(Drawn(f"rule{number}", f"rule{number}", "own") for number in range(20))]
    found = looks(many)
    assert len(found) == len(many)
    assert len({(look.color, look.marker) for look in looks(drawn(*ALL)).values()}) == len(ALL)


def test_lines_that_are_no_rules_are_told_apart_too():
    assert series(7)[0] == INK
    assert len(set(series(7))) == len({look.color for look in looks_apart(6)}) + 1 == 7


def test_several_labels_of_a_rule_have_a_color_each_and_the_rules_own_name_comes_first():
    labels = [
        Drawn(name, "gait-prop", "target propagation") for name in ("constant", "adaptive", "gait-prop")
    ]
    found = looks([*labels, *drawn("tp", "bp")])
    assert list(found) == ["bp", "gait-prop", "adaptive", "constant", "tp"]
    assert len({look.color for look in found.values()}) == 5


def test_all_figures_of_a_page_draw_a_rule_alike(make_run, tmp_path):
    for rule in ("bp", "fa", "usf"):
        make_run(tmp_path / f"mlp-{rule}", rule)
    make_run(tmp_path / "lenet", "usf", net={"name": "lenet", "settings": {}})
    lenet, mlp = table_of(tmp_path).tasks
    assert [cell.rule for cell in mlp.cells] == ["bp", "fa", "usf"]
    assert lenet.styles[0]["color"] == mlp.styles[2]["color"]


def test_a_run_that_has_not_ended_is_drawn_as_the_others_of_its_rule(make_run, tmp_path):
    make_run(tmp_path / "a", "fa", net={"name": "lenet", "settings": {}})
    make_run(tmp_path / "b", "fa", stop=1)
    make_run(tmp_path / "c", "bp", stop=1)
    table = table_of(tmp_path)
    assert {style["color"] for task in table.tasks for style in task.styles} == {INK, FAMILIES["feedback"][0]}


def test_cells_that_share_a_color_differ_in_dashes(make_run, tmp_path):
    for rule in ALL:
        make_run(tmp_path / rule, rule)
    (task,) = table_of(tmp_path).tasks
    lines = [(style["color"], style["linestyle"]) for style in task.styles]
    assert len(set(lines)) == len(lines) == len(ALL)


def test_runs_under_labels_are_drawn_as_such(make_run, tmp_path):
    make_run(tmp_path / "a", "gait-prop", label="adaptive", settings={"form": "adaptive"})
    make_run(tmp_path / "b", "gait-prop", label="constant", settings={"form": "constant"})
    make_run(tmp_path / "c", "bp", label="reference")
    (task,) = table_of(tmp_path).tasks
    assert [label_of(cell) for cell in task.cells] == ["reference", "adaptive", "constant"]
    assert [style["color"] for style in task.styles] == [INK, *FAMILIES["target propagation"]]
    assert task.styles[1]["linestyle"] != task.styles[2]["linestyle"]  # one may cover the other


def test_configurations_of_a_rule_share_its_color_and_differ_in_dashes(make_run, tmp_path):
    make_run(tmp_path / "a", "fa", epochs=5)
    make_run(tmp_path / "b", "fa", epochs=6)
    (task,) = table_of(tmp_path).tasks
    first, second = task.styles
    assert first["color"] == second["color"]
    assert first["linestyle"] != second["linestyle"]


def test_a_band_is_mean_and_sample_sd_where_every_run_has_a_value():
    one = band([{1.0: 0.5, 2.0: 0.6, 3.0: 0.9}, {1.0: 0.7, 2.0: 0.7}])
    assert one.x == [1.0, 2.0]
    assert one.mean == pytest.approx([0.6, 0.65])
    assert one.sd == pytest.approx([statistics.stdev([0.5, 0.7]), statistics.stdev([0.6, 0.7])])


def test_a_band_ends_where_the_quantity_does():
    axes = Figure().subplots()
    plot_band(axes, Band([1.0, 2.0], [1.0, 90.0], [5.0, 20.0]), {"color": INK}, (0.0, 100.0))
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0.0, 100.0)


def test_one_seed_has_no_band():
    assert band([{1.0: 0.5}]) == Band([1.0], [0.5], None)


def test_values_that_are_null_or_no_numbers_are_left_out_of_a_curve():
    rows = [
        {"epoch": 1, "y": 0.5},
        {"epoch": 2, "y": None},
        {"epoch": 3, "y": "x"},
        {"y": 1},
        {"epoch": 4, "y": True},
    ]
    assert curve(rows, "epoch", "y", 100.0) == {1.0: 50.0}


def test_the_line_is_the_mean_of_the_finished_runs_and_the_others_are_drawn_apart(make_run, tmp_path):
    finished = [make_run(tmp_path / f"{seed}", "fa", seed) for seed in range(2)]
    make_run(tmp_path / "2", "fa", 2, stop=3, reason="NaN")
    (task,) = table_of(tmp_path).tasks
    ((cell, style),) = task.drawn()
    axes = Figure().subplots()
    figures._plot_cell(axes, cell, style, "train_loss")
    mean, stopped, end = axes.get_lines()
    runs = [run for run in cell.runs if run.folder in finished]
    losses = [[row["train_loss"] for row in run.metrics] for run in runs]
    np.testing.assert_allclose(mean.get_ydata(), np.mean(losses, axis=0))
    assert len(stopped.get_xdata()) == 3
    assert end.get_marker() == "x"


def test_every_figure_is_a_valid_svg_and_a_pdf(runs_folder):
    names = re.findall(r'href="figures/([\w-]+)\.svg"', (runs_folder / "report.html").read_text())
    assert names == [
        "test-accuracy-mnist-mlp",
        "learning-curves-mnist-mlp",
        "gradient-angle-mnist-mlp",
        "feedback-angle-mnist-mlp",
        "norm-ratio-mnist-mlp",
        "by-cost-mnist-mlp",
        "cost-mnist-mlp",
    ]
    for name in names:
        svg, pdf = ((runs_folder / "figures" / f"{name}.{kind}").read_bytes() for kind in ("svg", "pdf"))
        assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
        assert pdf.startswith(b"%PDF")
        assert b"CreationDate" not in pdf
        assert b"dc:date" not in svg


def test_without_validation_the_training_accuracy_is_drawn(make_run, tmp_path):
    folder = make_run(tmp_path / "a", "fa")
    metrics = folder / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"validation_accuracy"', '"unused"'))
    (drawing,) = figures.learning_curves(table_of(tmp_path))
    assert "train accuracy (%)" in drawing.svg
    assert "validation accuracy" not in drawing.svg


def test_without_a_test_accuracy_the_validation_accuracy_is_drawn_and_named(make_run, tmp_path):
    file = make_run(tmp_path / "a", "fa") / "result.json"
    write_json(file, read_json(file) | {"test_accuracy": None})
    (drawing,) = figures.metric_by_rule(table_of(tmp_path))
    assert drawing.name == "validation-accuracy-mnist-mlp"


def test_a_net_of_many_layers_gets_a_panel_for_each(make_run, tmp_path):
    folder = make_run(tmp_path / "a", "fa", epochs=1)
    rows = (
        f'{{"step": {s}, "epoch": 1, "quantity": "norm_ratio", "layer": "l{n}", "value": 1}}'
        for n in range(9)
        for s in (1, 2)
    )
    (folder / "diagnostics.jsonl").write_text("\n".join(rows))
    (drawing,) = alignment(table_of(tmp_path))
    assert [f"<!-- l{n} -->" in drawing.svg for n in range(9)] == [True] * 9


def test_a_users_own_style_of_matplotlib_has_no_influence_and_is_left_alone():
    def paint(figure):
        figure.subplots().plot([1, 2], [3, 4])

    plain = draw("a", "a", "", (3, 2), paint)
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 30, "axes.grid": False}):
        styled = draw("a", "a", "", (3, 2), paint)
        assert mpl.rcParams["lines.linewidth"] == 9
    assert styled == plain


@pytest.mark.parametrize("name", ["$x_", "_hidden", "a\nb\x07", "\ud800", "x" * 200, "集"])
def test_any_name_can_be_drawn(name):
    text = readable(name, 44)
    assert len(text) <= 45
    assert text.isprintable()
    assert not text.startswith("_")


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "集", "a" * 300, "<script>", "CON\x00"])
def test_any_name_gives_a_plain_file_name(name):
    assert set(slug(name)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert 0 < len(slug(name)) <= 80
