"""The page stands alone, shows every run, and nothing that a user names can become markup."""

import base64
import hashlib
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from biograd.errors import RunFailed, UserMistake
from biograd.records import read_json, write_json
from biograd.report.page import write_report
from biograd.report.table import Table
from biograd.report.tables import csv, markdown

VOID = {"meta", "br", "link", "img", "input", "hr"}
HOSTILE = "<script>alert(1)</script>"


class Page(HTMLParser):
    """A page as a list of elements, with the text of each section."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.text, self.script = [], [], {}, ""
        self.looks, self.around_tables = [], []
        self.section = None
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "section":
            self.section = dict(attrs)["id"]
        if tag == "table":
            self.around_tables.append(set(self.looks))
        if tag not in VOID:
            self.open.append(tag)
            self.looks.append(dict(attrs).get("class"))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.looks.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.script += data
        elif self.open and self.open[-1] != "style":
            self.text[self.section] = self.text.get(self.section, "") + " " + data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def words(self, section):
        return " ".join(self.text[section].split())


@pytest.fixture(scope="module")
def page(runs_folder):
    return Page(runs_folder / "report.html")


def test_the_page_is_well_formed_and_has_every_section(page):
    assert page.open == []
    sections = [attributes["id"] for attributes in page.all("section")]
    assert sections == [
        "summary",
        "checks",
        "accuracy",
        "curves",
        "alignment",
        "cost",
        "configuration",
        "environment",
        "reproduce",
    ]


def test_the_page_needs_no_network_and_no_other_file(page, runs_folder):
    assert not page.all("link")
    assert not page.all("img")
    assert [attributes for attributes in page.all("script") if "src" in attributes] == []
    html = (runs_folder / "report.html").read_text()
    assert "@import" not in html
    policy = next(
        one["content"] for one in page.all("meta") if "content" in one and "default-src" in one["content"]
    )
    assert policy.startswith("default-src 'none'")
    assert base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode() in policy


def test_on_a_narrow_screen_a_table_moves_within_a_box_that_shades_what_it_hides(page, runs_folder):
    assert page.around_tables
    assert all("wide" in looks for looks in page.around_tables)
    (box,) = re.findall(
        r"^\.wide \{(.*?)\}", (runs_folder / "report.html").read_text(), re.DOTALL | re.MULTILINE
    )
    assert "overflow-x: auto" in box
    assert (
        box.count("no-repeat scroll") == box.count("no-repeat local") == 2
    )  # two shades, and what covers them


def test_links_lead_to_sections_or_to_the_figures_beside_the_page(page, runs_folder):
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = [attributes["href"] for attributes in page.all("a")]
    files = {link for link in links if not link.startswith("#")}
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    written = {f"figures/{path.name}" for path in (runs_folder / "figures").iterdir()}
    assert files == written | {"results.csv"}
    assert len([name for name in written if name.endswith(".pdf")]) == len(page.all("figure")) == 7


def test_ids_are_unique_across_the_inlined_drawings_and_every_reference_resolves(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(page.all("svg")) == 7
    assert len(ids) == len(set(ids))
    used = [attributes["xlink:href"][1:] for attributes in page.all("use")]
    clipped = [
        name
        for _, attributes in page.elements
        for value in attributes.values()
        for name in re.findall(r"url\(#([^)]+)\)", value or "")
    ]
    assert used
    assert clipped
    assert set(used + clipped) <= set(ids)


def test_drawings_say_what_they_are_and_follow_a_dark_screen(page):
    for drawing in page.all("svg"):
        assert drawing["role"] == "img"
        assert "mnist · mlp" in drawing["aria-label"]
    styles = " ".join(attributes.get("style", "") for _, attributes in page.elements)
    assert not re.search(r"#[0-9a-f]{6}", styles, re.IGNORECASE)


def test_letters_of_drawings_stay_readable_on_a_narrow_screen(page):
    for drawing in page.all("svg"):
        points = float(drawing["viewbox"].split()[2])
        pixels = int(re.search(r"min-width: (\d+)px", drawing["style"])[1])
        assert 8.5 * pixels / points >= 10
    assert [one["tabindex"] for one in page.all("div") if one.get("class") == "drawing"] == ["0"] * 7


def test_the_summary_can_be_sorted_by_every_column_from_the_keyboard(page):
    columns = [one for one in page.all("th") if "aria-sort" in one]
    assert len(columns) == len(page.all("button")) == 9 + 3  # of the summary and of the checks
    assert {one["aria-sort"] for one in columns} == {"none"}
    values = [
        one["data-value"]
        for one in page.all("td")
        if "data-value" in one and "number" in one.get("class", "")
    ]
    assert len(values) == 4 * (6 + 1)
    assert [float(value) for value in values if value]
    assert values.count("") == 2 + 1  # backpropagation and shallow beside themselves


def test_the_summary_shows_mean_spread_and_seeds(page):
    words = page.words("summary")
    assert re.search(r"bp mnist mlp 3 97\.\d\d ± 0\.\d\d — ", words)
    assert re.search(r"shallow mnist mlp 3 9\d\.\d\d ± 0\.\d\d −4\.\d\d ", words)


def test_the_commands_to_reproduce_are_there(page):
    assert "for seed in 0 1 2; do biograd train --rule dfa --data mnist --net mlp" in page.words("reproduce")


def test_runs_made_alike_are_said_to_be(page):
    assert "The same for all runs." in page.words("environment")
    assert "not made under the same conditions" not in page.words("summary")


@pytest.mark.usefixtures("blank_figures")
def test_what_differs_is_marked_and_named(make_run, tmp_path):
    make_run(tmp_path / "a", "bp", stop=0)
    make_run(tmp_path / "b", "fa", epochs=3, stop=0, environment={"threads": 4})
    page = Page(write_report(tmp_path))
    assert "epochs 5 bp 3 fa" in page.words("configuration")
    assert "threads 1 bp 4 fa" in page.words("environment")
    assert "not made under the same conditions (threads)" in page.words("summary")
    assert len([one for one in page.all("tr") if one.get("class") == "differs"]) == 2


@pytest.mark.usefixtures("blank_figures")
def test_a_run_that_went_on_elsewhere_says_what_was_different(make_run, tmp_path):
    make_run(tmp_path / "a", "bp", stop=0, environment={"resumed": [{"threads": 8, "torch": "2.13.0"}]})
    assert "resumed threads 8" in Page(write_report(tmp_path)).words("environment")


@pytest.mark.usefixtures("blank_figures")
def test_a_file_of_ones_own_is_a_difference_only_when_it_had_several_contents(make_run, tmp_path):
    make_run(tmp_path / "a", "bp", environment={"files": {"mine.py": "0a"}})
    make_run(tmp_path / "b", "fa", environment={"files": {}})
    assert "mine.py" not in Page(write_report(tmp_path)).words("environment")
    make_run(tmp_path / "c", "dfa", environment={"files": {"mine.py": "1b"}})
    assert 'files {"mine.py": "0a"}' in Page(write_report(tmp_path)).words("environment")


@pytest.mark.usefixtures("blank_figures")
def test_failed_and_unfinished_runs_are_listed_with_the_reason_and_not_averaged(make_run, tmp_path):
    make_run(tmp_path / "a", "fa", 0)
    make_run(tmp_path / "b", "fa", 1, stop=3, reason="the loss became NaN at step 1702")
    make_run(tmp_path / "c", "fa", 2, stop=2)
    page = Page(write_report(tmp_path))
    assert "fa mnist · mlp 1 diverged 3 of 5 the loss became NaN at step 1702 b" in page.words("stopped")
    assert "fa mnist · mlp 2 unfinished 2 of 5 no result yet" in page.words("stopped")
    assert "1 (1 of 3 diverged, 1 of 3 unfinished)" in page.words("summary")
    assert "3 runs: 1 done, 1 diverged, 1 unfinished" in page.words(None)


@pytest.mark.usefixtures("blank_figures")
def test_warnings_of_runs_are_shown_with_who_was_warned(make_run, tmp_path):
    make_run(tmp_path / "a", "bp")
    result = make_run(tmp_path / "b", "kp") / "result.json"
    result.write_text(result.read_text().replace('"warnings": []', '"warnings": ["decay <too> weak"]'))
    assert "decay <too> weak kp" in Page(write_report(tmp_path)).words("warnings")


def test_the_cost_of_measuring_is_stated(page):
    assert "240 measurements took 0.01 seconds each on average" in page.words("alignment")


@pytest.mark.usefixtures("blank_figures")
def test_one_seed_shows_no_spread_and_says_so(make_run, tmp_path):
    make_run(tmp_path / "a", "fa", final=0.9)
    words = Page(write_report(tmp_path)).words("summary")
    assert "90.00 (1 seed)" in words
    assert "90.00 ±" not in words


def test_runs_that_have_only_begun_make_a_page_without_figures(make_run, tmp_path):
    make_run(tmp_path / "a", "fa", stop=0)
    page = Page(write_report(tmp_path))
    assert page.all("figure") == []
    assert "unfinished 0 of 5" in page.words("stopped")


def test_nothing_that_a_user_names_becomes_markup(make_run, tmp_path):
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    make_run(
        folder / "a", f"my.py:{HOSTILE}", stop=2, reason=f"--></svg>{HOSTILE}<img src=x onerror=alert(2)>"
    )
    make_run(
        folder / "<b onclick=alert(3)>",
        f"my.py:_{HOSTILE}$x_\x01",
        data={"name": f'"><svg onload=alert(4)>{HOSTILE}', "settings": {f"a{HOSTILE}": f'"{HOSTILE}'}},
        environment={"cpu": HOSTILE},
    )
    page = Page(write_report(folder, title=f"</title>{HOSTILE}"))
    assert page.open == []
    assert len(page.all("script")) == 1
    assert "alert" not in page.script
    assert not {"img", "b"} & {tag for tag, _ in page.elements}
    assert [key for _, attributes in page.elements for key in attributes if key.startswith("on")] == []
    assert {one.get("role") for one in page.all("svg")} == {"img"}
    assert HOSTILE in page.words("summary")
    assert HOSTILE in page.words("stopped")
    assert HOSTILE in page.words("environment")
    written = sorted(path.relative_to(folder).parts[0] for path in folder.rglob("*.svg"))
    assert set(written) == {"figures"}


@pytest.mark.usefixtures("blank_figures")
def test_tasks_whose_names_differ_only_in_signs_keep_their_figures_apart(make_run, tmp_path):
    for folder, data in (("a", "my set"), ("b", "my.set"), ("c", "集")):
        make_run(tmp_path / folder, "bp", data={"name": data, "settings": {}})
    page = Page(write_report(tmp_path))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert len(list((tmp_path / "figures").glob("cost*.svg"))) == 3


def test_the_same_records_give_the_same_bytes(runs_folder, tmp_path):
    first, second = runs_folder, tmp_path / runs_folder.name
    shutil.copytree(first, second, ignore=shutil.ignore_patterns("figures", "report.html", "*.csv"))
    write_report(second)
    for file in ("report.html", "results.csv"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    for figure in (first / "figures").iterdir():
        assert figure.read_bytes() == (second / "figures" / figure.name).read_bytes(), figure.name


def test_a_report_can_be_written_again_over_itself(make_run, tmp_path):
    make_run(tmp_path / "a", "fa", 0, stop=0)
    before = write_report(tmp_path).read_bytes()
    make_run(tmp_path / "b", "fa", 1, stop=0)
    assert write_report(tmp_path).read_bytes() != before


def test_the_title_is_the_folders_name_or_the_one_given(make_run, tmp_path):
    make_run(tmp_path / "mine" / "a", "fa", stop=0)
    assert "<title>mine</title>" in write_report(tmp_path / "mine").read_text()
    assert "<title>Five rules</title>" in write_report(tmp_path / "mine", "Five rules").read_text()


def test_a_folder_without_runs_is_a_mistake_and_nothing_is_written(tmp_path):
    with pytest.raises(UserMistake, match="there is no run in") as caught:
        write_report(tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_corrupted_record_is_named_and_nothing_is_written(make_run, tmp_path):
    (make_run(tmp_path / "a", "fa", stop=0) / "metrics.jsonl").write_text("{\n{}\n")
    with pytest.raises(UserMistake, match=r"metrics.jsonl line 1"):
        write_report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_place_that_cannot_be_written_is_one_clear_line(make_run, tmp_path):
    make_run(tmp_path / "a", "fa", stop=0)
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(RunFailed, match=r"cannot write .*figures"):
        write_report(tmp_path)


def test_reports_use_neither_torch_nor_pyplot(make_run, tmp_path):
    make_run(tmp_path / "a", "fa", epochs=1)
    code = (
        "import sys, biograd.report as r; assert 'matplotlib' not in sys.modules; r.write_report(sys.argv[1])\n"
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(tmp_path)], check=True)


def test_runs_that_an_observer_ended_are_said_in_tables_and_on_the_page(make_run, tmp_path):
    folder = make_run(tmp_path / "a", "bp", 0)
    make_run(tmp_path / "b", "bp", 1)
    result = read_json(folder / "result.json")
    write_json(folder / "result.json", {**result, "epochs": 2, "stopped": f"Patience: {HOSTILE}"})
    page = Page(write_report(tmp_path))
    assert "2 done (1 of them stopped early )" in page.words(None)
    assert "2 (1 of 2 stopped early)" in page.words("summary")
    words = page.words("stopped-early")
    assert "have a part in every mean above" in words
    assert f"Patience: {HOSTILE} a" in words
    assert "stopped" not in page.text
    table = Table.below(tmp_path)
    assert "2 (1 of 2 stopped early)" in markdown(table)
    assert ",runs,diverged,unfinished,stopped_early," in csv(table)
    assert ",2,0,0,1," in csv(table)
