import re

from biograd.report.depth import memory_by_depth


def rows():
    return [
        {
            "rule": rule,
            "hidden": hidden,
            "width": 256,
            "batch": 128,
            "kept_bytes": kept(hidden),
            "peak_bytes": 2 * kept(hidden),
        }
        for rule, kept in (("bp", lambda hidden: 100_000 * hidden), ("stdp-association", lambda _: 130_000))
        for hidden in (2, 8, 32)
    ]


def paths(given):
    return re.findall(r'd="(M [^"]*)"', memory_by_depth(given).svg)


def test_the_figure_has_a_line_a_rule_and_the_same_bytes_each_time():
    drawing = memory_by_depth(rows())
    assert drawing == memory_by_depth(rows())
    assert drawing.name == "memory-by-depth"
    assert "256 neurons, batch 128" in drawing.caption
    assert "0.13 MB" in drawing.caption
    assert drawing.pdf.startswith(b"%PDF")
    texts = ("bp", "stdp-association", "hidden layers", "MB kept for the backward", "32")
    assert [text for text in texts if f"<!-- {text} -->" not in drawing.svg] == []


def test_depths_are_joined_in_order_whatever_the_order_of_the_rows():
    first, second, *rest = rows()
    assert paths([second, first, *rest]) == paths(rows())


def test_rules_that_were_not_measured_are_left_out():
    refused = {**rows()[0], "rule": "shy", "kept_bytes": None, "peak_bytes": None}
    assert memory_by_depth([refused, *rows()]) == memory_by_depth(rows())
