"""What was measured layer by layer is drawn where it was measured, on a scale on which it can be read."""

import math
import re
import xml.etree.ElementTree as ET

import pytest
from matplotlib.figure import Figure

from biograd.records import append_line
from biograd.report import write_report
from biograd.report.alignment import alignment
from biograd.report.curves import Band
from biograd.report.layer_panels import Quantity, _logarithmic_limits, _scale
from biograd.report.table import Table
from biograd.report.targets import targets


def cells_of(folder):
    return Table.below(folder)


def measured(folder, quantity, value_of, layers=("0", "2", "4"), steps=(0, 100, 2600)):
    """Add rows of a quantity to a run's folder; ``value_of(step, depth)``."""
    for step in steps:
        for depth, layer in enumerate(layers):
            row = {"step": step, "epoch": 1, "quantity": quantity, "layer": layer}
            append_line(folder / "diagnostics.jsonl", {**row, "value": value_of(step, depth)})


def texts(drawing):
    """Everything that is written in a figure, in order."""
    return re.findall(r"<!-- (.*?) -->", drawing.svg)


def test_targets_decoders_and_inverses_have_a_figure_each_only_where_they_were_measured(make_run, tmp_path):
    make_run(tmp_path / "bp", "bp", measured=True)
    assert targets(cells_of(tmp_path)) == []
    tp, dtp = make_run(tmp_path / "tp", "tp"), make_run(tmp_path / "dtp", "dtp")
    measured(tp, "orthogonality", lambda step, depth: 0.1 + step, ["2.weight", "4.weight"])
    measured(tp, "target_distance", lambda step, depth: 10.0 ** (-7 * depth))
    measured(dtp, "target_distance", lambda step, depth: 0.2)
    measured(dtp, "reconstruction_loss", lambda step, depth: 1 / (1 + step), ["2", "4"])
    distance, loss, deviation = targets(cells_of(tmp_path))
    assert distance.name == "target-distance-mnist-mlp"
    assert loss.name == "reconstruction-loss-mnist-mlp"
    assert deviation.name == "orthogonality-mnist-mlp"
    assert {"block 0", "block 2", "block 4", "tp", "dtp"} <= set(texts(distance))
    assert {"block 2", "block 4", "dtp"} <= set(texts(loss))
    assert {"2.weight", "4.weight", "tp"} <= set(texts(deviation))
    assert "tp" not in texts(loss)
    assert not {"bp", "dtp"} & set(texts(deviation))
    for drawing in (distance, loss, deviation):
        assert ET.fromstring(drawing.svg).tag == "{http://www.w3.org/2000/svg}svg"
        assert "logarithmic" in drawing.caption


@pytest.mark.usefixtures("blank_figures")
def test_they_have_a_section_of_the_page_beside_alignment(make_run, tmp_path):
    folder = make_run(tmp_path / "tp", "tp", epochs=1)
    measured(folder, "gradient_angle", lambda step, depth: 5.0, ["2.weight"])
    page = write_report(tmp_path).read_text()
    assert 'id="targets"' not in page
    measured(folder, "target_distance", lambda step, depth: 0.5, ["2"])
    page = write_report(tmp_path).read_text()
    assert page.index('id="alignment"') < page.index('<section id="targets"') < page.index('id="cost"')
    assert "Targets, decoders and inverses" in page
    assert (tmp_path / "figures" / "target-distance-mnist-mlp.pdf").is_file()


@pytest.mark.parametrize("decades", [0, 0.05, 0.4, 1, 2, 2.6, 5, 9, 21, 40])
@pytest.mark.parametrize("low", [3e-22, 1.0, 0.7])
def test_a_logarithmic_scale_has_labels_whatever_the_range(decades, low):
    axes = Figure().subplots()
    _scale(axes, Quantity("q", "", ""), [Band([0, 1], [low, low * 10**decades], None)])
    bottom, top = axes.get_ylim()
    assert bottom < low <= low * 10**decades < top
    shown = [tick for tick in axes.yaxis.get_majorticklocs() if bottom <= tick <= top]
    assert 1 <= len(shown) <= 9
    assert all(float(axes.yaxis.get_major_formatter()(tick)) == pytest.approx(tick) for tick in shown)


def test_a_band_that_reaches_zero_does_not_squeeze_the_lines():
    wide, narrow = Band([0], [0.5], [0.4999999]), Band([0], [0.01], None)
    assert _logarithmic_limits([wide, narrow], None) == pytest.approx((0.01 / 1.6, 0.9999999 * 1.6))
    assert _logarithmic_limits([wide], 3.0) == pytest.approx((0.5 / 1.6, 3.0 * 1.6))


def test_values_that_are_all_zero_make_an_empty_figure_and_no_error(make_run, tmp_path):
    folder = make_run(tmp_path / "tp", "tp")
    measured(folder, "target_distance", lambda step, depth: 0.0)
    measured(folder, "orthogonality", lambda step, depth: math.nan)
    (drawing,) = targets(cells_of(tmp_path))
    assert "block 2" in texts(drawing)


def test_layers_are_in_the_nets_order_though_the_first_rule_has_only_the_last(make_run, tmp_path):
    shown = ["0.weight", "2.weight", "4.weight"]
    measured(make_run(tmp_path / "a", "dfa"), "gradient_angle", lambda step, depth: 5.0, shown[2:])
    measured(make_run(tmp_path / "b", "wm"), "gradient_angle", lambda step, depth: 50.0, shown)
    (drawing,) = alignment(cells_of(tmp_path))
    assert [text for text in texts(drawing) if text.endswith(".weight")] == shown


def test_steps_are_written_below_the_lowest_panel_of_every_column(make_run, tmp_path):
    layers = [f"{layer}.weight" for layer in range(7)]
    measured(make_run(tmp_path / "tp", "tp"), "gradient_angle", lambda step, depth: step / 10, layers)
    (drawing,) = alignment(cells_of(tmp_path))
    assert [text for text in texts(drawing) if text.endswith(".weight")] == layers
    assert texts(drawing).count("1600") == 4
