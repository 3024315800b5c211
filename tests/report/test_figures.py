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

import biograd.rules
from biograd.records import find_runs, summarize
from biograd.report import figures
from biograd.report.alignment import alignment
from biograd.report.cells import ordered
from biograd.report.curves import Band, band, curve
from biograd.report.drawing import draw, label_of, readable, slug, styles
from biograd.report.palette import _KNOWN, DARK, INK, PAPER, looks

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


def cells_of(folder):
    return summarize(find_runs(folder))


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("screen", ["paper", "dark"])
def test_any_two_colors_can_be_told_apart(vision, screen):
    used = dict.fromkeys(color for color, _ in _KNOWN.values())
    colors = [color if screen == "paper" else DARK[color] for color in used]
    seen = [cielab(np.clip(np.array(VISION[vision]) @ linear(color), 0, 1)) for color in colors]
    assert len(seen) == 10
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) >= 24.5


def test_rules_that_share_a_color_differ_in_marker_and_dashes(make_run, tmp_path):
    for rule in _KNOWN:
        make_run(tmp_path / rule, rule)
    assert len(set(_KNOWN.values())) == len(_KNOWN)
    lines = styles(cells_of(tmp_path))
    assert len({(line["color"], line["linestyle"]) for line in lines}) == len(lines) == len(_KNOWN)


def test_every_rule_has_a_look_of_its_own():
    assert set(biograd.rules.REGISTRY._built_in) <= set(_KNOWN)


def test_a_comparison_of_papers_has_a_color_for_each_rule():
    for rules in (
        {"bp", "fa", "dfa", "dtp", "sdtp", "ao-sdtp"},
        {"bp", "fa", "gait-prop", "itp", "tp"},
        {"bp", "dtp", "drl", "ddtp-linear", "l-drl"},
        {"tp", "itp", "gait-prop", "dtp", "sdtp", "ao-sdtp", "drl", "ddtp-linear", "l-drl", "bp"},
        {"bp", "stdp-association", "softhebb", "forward-forward", "pepita", "shallow"},
    ):
        assert len({look.color for look in looks(rules).values()}) == len(rules)
        assert len({look.marker for look in looks(rules).values()}) == len(rules)


def test_every_color_stands_out_from_its_ground():
    assert min(contrast(color, PAPER) for color, _ in _KNOWN.values()) > 2.2
    assert min(contrast(DARK[color], DARK[PAPER]) for color, _ in _KNOWN.values()) > 2.9
    assert contrast(INK, PAPER) > 7
    assert contrast(DARK[INK], DARK[PAPER]) > 7


def test_a_rule_looks_the_same_whatever_else_is_in_the_report():
    assert looks(["fa"])["fa"] == looks(["bp", "dfa", "fa", "mine"])["fa"]
    assert looks(["gait-prop"])["gait-prop"] == looks([*_KNOWN, "mine"])["gait-prop"]


def test_rules_of_others_take_colors_that_are_free():
    look = looks([*list(_KNOWN)[:5], "one", "two"])
    assert len({one.color for one in look.values()}) == 7
    assert len({one.color for one in looks(["tp", "usf", *"abcdefg"]).values()}) == 9


def test_a_label_has_the_look_of_its_rule_and_several_labels_of_a_rule_have_a_color_each():
    assert looks({"reference": "bp", "mine": "fa"}) == {
        "reference": looks(["bp"])["bp"],
        "mine": looks(["fa"])["fa"],
    }
    names = {
        "constant": "gait-prop",
        "adaptive": "gait-prop",
        "gait-prop": "gait-prop",
        "bp": "bp",
        "tp": "tp",
    }
    found = looks(names)
    assert list(found) == ["bp", "tp", "gait-prop", "adaptive", "constant"]
    assert len({look.color for look in found.values()}) == 5
    assert found["gait-prop"] == looks(["gait-prop"])["gait-prop"]


def test_runs_under_labels_are_drawn_as_such(make_run, tmp_path):
    make_run(tmp_path / "a", "gait-prop", label="adaptive", settings={"form": "adaptive"})
    make_run(tmp_path / "b", "gait-prop", label="constant", settings={"form": "constant"})
    make_run(tmp_path / "c", "bp", label="reference")
    cells = ordered(cells_of(tmp_path))
    assert [label_of(cell) for cell in cells] == ["reference", "adaptive", "constant"]
    assert [line["color"] for line in styles(cells)][:2] == [INK, looks(["gait-prop"])["gait-prop"].color]
    assert len({line["color"] for line in styles(cells)}) == 3
    assert styles(cells)[1]["linestyle"] != styles(cells)[2]["linestyle"]  # one may cover the other


def test_many_rules_of_others_all_get_a_look():
    assert len(looks(f"rule{number}" for number in range(40))) == 40


def test_configurations_of_a_rule_share_its_color_and_differ_in_dashes(make_run, tmp_path):
    make_run(tmp_path / "a", "fa", epochs=5)
    make_run(tmp_path / "b", "fa", epochs=6)
    first, second = styles(cells_of(tmp_path))
    assert first["color"] == second["color"]
    assert first["linestyle"] != second["linestyle"]


def test_a_band_is_mean_and_sample_sd_where_every_run_has_a_value():
    one = band([{1.0: 0.5, 2.0: 0.6, 3.0: 0.9}, {1.0: 0.7, 2.0: 0.7}])
    assert one.x == [1.0, 2.0]
    assert one.mean == pytest.approx([0.6, 0.65])
    assert one.sd == pytest.approx([statistics.stdev([0.5, 0.7]), statistics.stdev([0.6, 0.7])])


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
    (cell,) = cells_of(tmp_path)
    axes = Figure().subplots()
    figures._plot_cell(axes, cell, styles([cell])[0], "train_loss", 1.0)
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
    (drawing,) = figures.learning_curves(cells_of(tmp_path))
    assert "train accuracy (%)" in drawing.svg
    assert "validation accuracy" not in drawing.svg


def test_without_a_test_accuracy_the_validation_accuracy_is_drawn_and_named(make_run, tmp_path):
    result = make_run(tmp_path / "a", "fa") / "result.json"
    result.write_text(result.read_text().replace('"test_accuracy"', '"unused"'))
    (drawing,) = figures.accuracy_by_rule(cells_of(tmp_path))
    assert drawing.name == "validation-accuracy-mnist-mlp"


def test_a_net_of_many_layers_gets_a_panel_for_each(make_run, tmp_path):
    folder = make_run(tmp_path / "a", "fa", epochs=1)
    rows = (
        f'{{"step": {s}, "quantity": "norm_ratio", "layer": "l{n}", "value": 1}}'
        for n in range(9)
        for s in (1, 2)
    )
    (folder / "diagnostics.jsonl").write_text("\n".join(rows))
    (drawing,) = alignment(cells_of(tmp_path))
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
