from biograd.report.spike_timing import spike_timing


def measured():
    row = {"z": 0.5, "taught": 1.0, "h": 1.0, "rule": 0.4, "mean": 0.41, "standard_error": 0.02}
    fit = {"slope": 1.0123, "standard_error": 0.0204, "correlation": 0.999, "largest": 1.0}
    return {
        "trials": 70,
        "seed": 0,
        "beta": 2.0,
        "half": 0.1,
        "outlasts": 0.4,
        "rate": 100.0,
        "window": {"plus": [1.0, 0.017], "minus": [0.5, 0.034]},
        "synapse": [row, {**row, "rule": -0.2, "mean": -0.21}],
        "race": [row, {**row, "z": -0.5, "rule": 0.6, "mean": 0.59}],
        "group": [row],
        "fits": {"synapse": fit, "group": {**fit, "slope": 0.9876}},
        "spikes": {
            "input": [[-0.05, 0.01], [0.02]],
            "taught 1": [[0.01], []],
            "alone": [[], []],
            "taught 0": [[-0.02], []],
        },
    }


def test_the_figure_has_four_panels_the_slopes_and_the_same_bytes_each_time():
    drawing = spike_timing(measured())
    assert drawing == spike_timing(measured())
    assert drawing.name == "spike-timing"
    assert "70 trials" in drawing.caption
    assert drawing.pdf.startswith(b"%PDF")
    texts = (
        "spikes, trial by trial",
        "STDP window: change by a pair",
        "probability to spike first in a group",
        "mean change, simulated",
        "softmax, β = 2",
        "alone: 1.012 ± 0.020",
        "in a group: 0.988 ± 0.020",
        "taught 0",
    )
    assert [text for text in texts if f"<!-- {text} -->" not in drawing.svg] == []


def test_a_drawing_is_saved_as_both_files_into_a_new_folder(tmp_path):
    drawing = spike_timing(measured())
    path = drawing.save(tmp_path / "new" / "figures")
    assert path == tmp_path / "new" / "figures" / "spike-timing.svg"
    assert path.read_text() == drawing.svg
    assert path.with_suffix(".pdf").read_bytes() == drawing.pdf
