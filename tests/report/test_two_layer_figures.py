import json
import re

import pytest
from matplotlib.figure import Figure

from biograd.records import pack
from biograd.records.schema import checked
from biograd.records.theory import ConvergenceFigure
from biograd.report.alignment_by_width import alignment_by_width
from biograd.report.convergence import convergence
from biograd.report.kernel_norms import kernel_norms
from biograd.report.theory_page import KINDS, write_figure
from biograd.report.two_layer_tables import alignment_table, convergence_table, kernels_table

ENVIRONMENT = {"biograd": "0", "gpu": None}


def cell(width=200, regularization=0.0, **changes):
    row = {
        "activation": "linear",
        "width": width,
        "regularization": regularization,
        "method": "fa",
        "units": "published",
        "trials": 8,
        "cosine_mean": 0.2,
        "cosine_sd": 0.05,
        "loss_mean": 1.234e-5,
        "loss_sd": 1e-6,
        "steps": 6050.0,
        "capped": 0,
        "diverged": 0,
        "published_mean": 0.206,
        "published_sd": 0.067,
        "published_loss": None,
        "deviations": -0.09,
        "predicted": 0.25 if not regularization else None,
        "standard_error": 0.025,
    }
    return {**row, **changes}


def curve(regularization=0.0, **changes):
    row = {
        "regularization": regularization,
        "trials": 3,
        "diverged": 0,
        "steps": [0, 5, 10],
        "loss": [1.0, 0.1, 0.01],
        "loss_low": [0.5, 0.05, 0.005],
        "loss_high": [2.0, 0.2, 0.02],
        "cosine": [0.0, 0.1, 0.2],
        "cosine_sd": [0.01, 0.01, 0.01],
        "first_layer": [0.0, 1.0, 2.0],
        "second_layer": [0.0, 1.0, 2.0],
        "linearised": [1.0, 0.2, 1e300] if not regularization else None,
        "predicted_slope": 0.4,
        "slope_ratio": 1.05 if not regularization else None,
        "slope_ratio_sd": 0.04,
        "recursion_ratio": 1.01 if not regularization else None,
        "decades_apart": 0.3 if not regularization else None,
    }
    return {**row, **changes}


def curves(**changes):
    config = {"activation": "tanh", "width": 200, "schedule": "constant", "horizon": None, "normalize": True}
    return {
        "rows": [curve(), curve(0.5)],
        "config": {**config, "method": "fa", "trials": 3, **changes},
        "environment": ENVIRONMENT,
    }


def norms():
    return {
        "rows": [
            {
                "width": width,
                "first_layer_mean": 2 / width**0.5,
                "first_layer_sd": 0.01,
                "slowest_mean": 0.1,
                "slowest_sd": None,
            }
            for width in (100, 400)
        ],
        "exponent": -0.5,
        "standard_error": 0.01,
        "config": {"activation": "relu", "trials": 4, "normalize": True},
        "environment": ENVIRONMENT,
    }


def alignments():
    return {
        "rows": [
            cell(),
            cell(400),
            cell(200, 0.5),
            cell(activation="tanh", published_mean=None, published_sd=None),
        ],
        "config": {"trials": 8},
        "environment": ENVIRONMENT,
    }


FOUND = {"alignment-by-width": alignments, "convergence": curves, "kernel-norms": norms}


def missing(drawing, *texts):
    return [text for text in texts if f"<!-- {text} -->" not in drawing.svg]


def test_alignment_has_a_panel_an_activation_and_published_points_beside():
    drawing = alignment_by_width(alignments()["rows"])
    assert drawing == alignment_by_width(alignments()["rows"])
    texts = ("linear: cos∠(b, β)", "tanh: cos∠(b, β)", "0.5", "400", "ours, mean ± sd")
    assert missing(drawing, *texts, "published, mean ± sd of 50 trials") == []
    assert "8 trials a point" in drawing.caption
    assert drawing.pdf.startswith(b"%PDF")


def test_alignment_leaves_out_what_diverged_and_says_the_range_of_trials():
    rows = [cell(), cell(400, trials=3), cell(800, cosine_mean=None, cosine_sd=None)]
    drawing = alignment_by_width(rows)
    assert missing(drawing, "400") == []
    assert missing(drawing, "800") == ["800"]
    assert "3 to 8 trials a point" in drawing.caption


@pytest.mark.parametrize("names", [["linear"], ["linear", "relu"], ["linear", "relu", "tanh"]], ids=len)
def test_the_legend_is_whole_whatever_the_number_of_panels(names, monkeypatch):
    def save(figure, *_, **__):
        figure.draw_without_rendering()
        (legend,) = figure.legends
        shown, room = legend.get_window_extent(), figure.bbox
        assert shown.x0 >= room.x0
        assert shown.x1 <= room.x1

    monkeypatch.setattr(Figure, "savefig", save)
    alignment_by_width([cell(activation=name) for name in names])


def test_convergence_has_loss_alignment_and_distances_and_what_is_predicted():
    drawing = convergence(curves())
    assert drawing == convergence(curves())
    texts = ("loss", "cos∠(b, β)", "‖W − W₀‖", "‖β − β₀‖", "λ = 0", "λ = 0.5", "e ← (I − η(G + H)) e")
    assert missing(drawing, *texts, "slope 2ηλ_min(G)", "1e-2") == []
    assert missing(drawing, "λ switched off") != []
    assert "inputs of length 1, 3 trials" in drawing.caption


def test_the_time_at_which_regularisation_ends_is_marked():
    assert missing(convergence(curves(schedule="cut-off", horizon=5)), "λ switched off") == []


def test_kernels_have_both_norms_and_the_power():
    drawing = kernel_norms(norms())
    assert missing(drawing, "‖H(0)‖", "λ_min(G(0))", "p to the power −0.500", "100", "0.1", "0.2") == []
    assert "relu networks at the start, inputs of length 1" in drawing.caption


@pytest.mark.parametrize("name", KINDS)
def test_a_figure_its_rows_and_a_page_are_written(name, tmp_path):
    path = write_figure(tmp_path / "new", name, FOUND[name]())
    assert path.name == f"{name}.svg"
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert json.loads(path.with_suffix(".json").read_text()) == FOUND[name]()
    page = (tmp_path / "new" / "report.html").read_text()
    assert f'id="{name}"' in page
    assert "<svg" in page
    assert re.findall(r'(?:src|href)="(?:https?:|//)', page) == []


@pytest.mark.usefixtures("blank_figures")
def test_the_page_shows_every_figure_of_its_folder(tmp_path):
    for name, make in FOUND.items():
        write_figure(tmp_path, name, make())
    page = (tmp_path / "report.html").read_text()
    assert all(f'<section id="{name}"' in page for name in FOUND)
    assert "<td>0.200 ± 0.050</td>" in page
    assert "<script" not in page


def test_what_is_no_figure_under_the_name_of_one_is_left_out_and_the_page_says_so(tmp_path):
    (tmp_path / "convergence.json").write_text(json.dumps({"rows": curves()["rows"]}))
    with pytest.warns(
        UserWarning, match=r"left out: .*convergence\.json: config is missing; make the figure"
    ):
        write_figure(tmp_path, "kernel-norms", norms())
    html = (tmp_path / "report.html").read_text()
    assert html.count("<figure>") == 1
    assert "convergence.json: config is missing" in html


EMPTY = {
    "alignment-by-width": ([], "rows must have a mean"),
    "convergence": ([], "rows must have steps"),
    "kernel-norms": ([], "rows is"),
}


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize("name", KINDS)
def test_a_figure_without_anything_to_draw_is_left_out(name, tmp_path):
    rows, words = EMPTY[name]
    (tmp_path / f"{name}.json").write_text(json.dumps({**FOUND[name](), "rows": rows}))
    another = next(one for one in KINDS if one != name)
    with pytest.warns(UserWarning, match=rf"left out: .*{name}\.json: {words}"):
        write_figure(tmp_path, another, FOUND[another]())


@pytest.mark.usefixtures("blank_figures")
def test_a_figure_beside_a_packed_file_is_on_its_page(tmp_path):
    (tmp_path / "simulations").mkdir()
    (tmp_path / "simulations" / "a.json").write_text("{}")
    write_figure(pack(tmp_path / "simulations").file, "kernel-norms", norms())
    assert '<section id="kernel-norms"' in (tmp_path / "simulations" / "report.html").read_text()


def test_a_curve_of_another_length_than_its_steps_is_no_row():
    short = curves() | {"rows": [curve(cosine=[0.0])]}
    with pytest.raises(ValueError, match=r"rows.0 must have a point of each curve at each of its steps"):
        checked(ConvergenceFigure, short)


def test_a_number_that_no_axis_holds_is_no_row():
    with pytest.raises(ValueError, match=r"rows\.0\.cosine\.0 is 1\.7e\+308, expected a number less than"):
        checked(ConvergenceFigure, curves() | {"rows": [curve(cosine=[1.7e308] * 3)]})


def test_tables_say_what_must_be_known_besides():
    titles, line, broken = alignment_table(
        [
            cell(capped=2, published_loss=0.5),
            cell(
                0.5, cosine_mean=None, cosine_sd=None, loss_mean=None, steps=None, diverged=8, deviations=None
            ),
        ]
    )
    assert line[:4] == ("linear", "200", "0", "0.200 ± 0.050")
    assert line[4:7] == ("0.206 ± 0.067", "1.23e-05", "6050")
    assert line[7] == "2 of 8 capped; −0.1 published sd; cos · p/n = 0.80 ± 0.10; published loss 0.5"
    assert (broken[3], broken[5:]) == ("—", ("—", "—", "8 of 8 diverged"))
    assert len(titles) == len(line)


def test_the_table_of_convergence_has_slopes_where_there_is_a_prediction():
    _, free, regularised, broken = convergence_table(
        [curve(), curve(0.5), {**curve(0.7, diverged=3), "steps": []}]
    )
    assert free == (
        "0",
        "10",
        "0.01",
        "0.200",
        "1.050 ± 0.040",
        "1.010",
        "at most 0.30 decades from the recursion",
    )
    assert regularised == ("0.5", "10", "0.01", "0.200", "—", "—", "")
    assert broken == ("0.7", *["—"] * 5, "3 of 3 diverged")


def test_the_table_of_kernels_has_a_line_a_width():
    assert kernels_table(norms()["rows"])[1] == ("100", "0.2000 ± 0.0100", "0.1000")
