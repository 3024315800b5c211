"""A comparison whose rules have a table of settings each, from one file."""

import re
import tomllib
from pathlib import Path

import pytest

from biograd import records
from biograd.errors import UserMistake
from biograd.records import summarize
from biograd.training import Choice, RunConfig, compare, grid, labels
from biograd.training.compare import BUDGET

TABLES = """
    data = "iris"
    net = "mlp"
    epochs = 1
    clip-norm = 0.5
    [rule]
    name = "fa"
    seed = 5
    [optimizer]
    name = "sgd"
    momentum = 0.5

    [rules.bp]

    [rules.kp]
    optimizer = "adamw"

    [rules.fa]
    lr = 0.25

    [rules.fa-strong]
    rule = {name = "fa", scale = 2}
    clip-norm = 0.25
    optimizer = {lr = 0.125, nesterov = true}
    feedback-optimizer = {lr = 0.5}
"""


@pytest.fixture
def file(tmp_path):
    def write(text=TABLES):
        path = tmp_path / "rules.toml"
        path.write_text(text)
        return path

    return write


def by_title(configs):
    return {config.title: config for config in configs}


def test_every_table_is_a_row_called_as_it(file):
    configs = grid(None, [0, 1], file=file())
    assert [(config.title, config.seed) for config in configs] == [
        (title, seed) for title in ("bp", "kp", "fa", "fa-strong") for seed in (0, 1)
    ]
    assert labels(file()) == ["bp", "kp", "fa", "fa-strong"]
    assert labels(None) == labels(file("epochs = 1")) == []
    rows = by_title(configs)
    assert [rows[title].rule.name for title in ("bp", "kp", "fa", "fa-strong")] == ["bp", "kp", "fa", "fa"]
    assert [rows[title].label for title in ("bp", "kp", "fa", "fa-strong")] == [None, None, None, "fa-strong"]


def test_a_table_goes_over_the_file_and_under_flags_key_by_key(file):
    rows = by_title(grid(None, [0], file=file()))
    assert rows["fa"].optimizer == Choice(name="sgd", settings={"momentum": 0.5, "lr": 0.25})
    assert rows["fa"].rule.settings == {"seed": 5}  # the file's own setting of this rule
    assert rows["fa"].clip_norm == 0.5
    strong = rows["fa-strong"]
    assert strong.optimizer.settings == {"momentum": 0.5, "lr": 0.125, "nesterov": True}
    assert strong.rule == Choice(name="fa", settings={"seed": 5, "scale": 2.0})
    assert strong.feedback_optimizer == Choice(name="adam", settings={"lr": 0.5})
    assert strong.clip_norm == 0.25
    typed = by_title(grid(None, [0], {"lr": "0.75", "clip_norm": 0.75}, file()))
    assert {row.optimizer.settings["lr"] for row in typed.values()} == {0.75}
    assert {row.clip_norm for row in typed.values()} == {0.75}


def test_a_table_goes_over_what_its_rule_brings_and_naming_another_drops_it(file):
    assert by_title(grid(None, [0], file=file()))["kp"].optimizer == Choice(name="adamw")
    text = "data = 'iris'\nnet = 'mlp'\n[rules.kp]\nlr = 0.5\n[rules.other]\nrule = 'kp'\noptimizer = 'sgd'"
    rows = by_title(grid(None, [0], file=file(text)))
    assert rows["kp"].optimizer == Choice(name="adamw", settings={"weight_decay": 1.2, "lr": 0.5})
    assert rows["other"].optimizer == Choice(name="sgd")


def test_rules_are_picked_by_label_and_may_have_no_table(file):
    rows = by_title(grid(["dfa", "fa-strong"], [0], file=file()))
    assert list(rows) == ["dfa", "fa-strong"]
    assert rows["dfa"].rule == Choice(name="dfa")
    assert rows["dfa"].clip_norm == 0.5
    (row,) = grid(["fa-strong"], [0], {"rule": {"scale": "3"}}, file())
    assert row.rule.settings == {"seed": 5, "scale": 3.0}


def test_seeds_are_counted_from_the_files_first(file):
    text = "data = 'iris'\nnet = 'mlp'\nseed = 7\n[rules.bp]\n"
    assert [config.seed for config in grid(None, 2, file=file(text))] == [7, 8]
    assert [config.seed for config in grid(None, 2, {"seed": 3}, file(text))] == [3, 4]
    assert [config.seed for config in grid(["bp"], 2, {"data": "iris", "net": "mlp"})] == [0, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[rules.fa]\nscale = 1",
            r"\[rules.fa\] has an unknown key 'scale'.*rule itself go into rule = {…}\)$",
        ),
        ("[rules.fa]\nepohcs = 1", r"\[rules.fa\] has an unknown key 'epohcs': did you mean 'epochs'"),
        ("[rules.fa]\nseed = 1", r"\[rules.fa\] has seed, which it cannot set: all rules get the seeds"),
        ("[rules.fa]\nlabel = 'a'", r"\[rules.fa\] has label, which it cannot set: the name of the table"),
        ("[rules.faa]", r"unknown rule 'faa': did you mean 'fa'.*\(in .*rules.toml \[rules.faa\]\)$"),
        ("[rules.fa]\nlr = -1", r"setting 'lr' got -1.*\(in .*rules.toml \[rules.fa\]\)$"),
        ("[rules.fa]\nrule = {scale = -1}", r"setting 'scale' got -1.*\(in .*rules.toml \[rules.fa\]\)$"),
        ("[rules.fa]\nrule = 3", r"rules.toml \[rules.fa\]: expected a name or a table"),
        ("[rules.'a b']\nrule = 'fa'", r"label got 'a b': expected letters, digits"),
        ("[rules.'../a']\nrule = 'fa'", r"label got '../a': expected letters, digits"),
        ("rules = 3", r"expected a table for each rule under rules, \[rules.LABEL\]; got 3"),
        ("rules = {fa = 3}", r"expected a table for each rule under rules"),
        ("label = 'a'\n[rules.fa]", "label cannot hold for several rules"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_table(text, words, file):
    with pytest.raises(UserMistake, match=words) as caught:
        grid(None, [0], {"data": "iris", "net": "mlp"}, file(text))
    assert "\n" not in str(caught.value)


def test_a_label_that_there_is_not_is_answered_with_those_there_are(file):
    with pytest.raises(UserMistake, match=r"unknown rule 'fa-weak'.*tables of .*: bp, kp, fa, fa-strong$"):
        grid(["fa-weak"], [0], file=file())
    with pytest.raises(UserMistake, match="at least one rule, and none twice"):
        grid(None, [0], {"data": "iris", "net": "mlp"}, file("epochs = 1"))


def test_a_single_run_refuses_a_file_for_several(file):
    with pytest.raises(UserMistake, match=r"has a table for each of several rules: biograd compare --config"):
        RunConfig.from_sources({}, file())


@pytest.mark.parametrize("key", BUDGET)
def test_what_all_share_is_the_same_in_every_table(key, file, tmp_path):
    other = {
        "data": "'digits'", "net": "'lenet'", "loss": "'squared-error'", "epochs": 2, "batch_size": 7,
        "one_vs_rest": 1, "validation_fraction": 0.5, "read_test": "false",
        "answers": "'logits'",
    }[key]  # fmt: skip
    text = f"data = 'iris'\nnet = 'mlp'\n[rules.bp]\n[rules.mine]\nrule = 'fa'\n{key} = {other}\n"
    with pytest.raises(
        UserMistake, match=f"rules 'bp' and 'mine' would not be compared under one budget: {key} is"
    ):
        compare(grid(None, [0], file=file(text)), tmp_path / "runs")


def test_one_rule_under_two_labels_is_two_rows_of_one_report(file, tmp_path):
    text = """
        data = {name = "synthetic", examples = 40, test_examples = 10}
        net = {name = "mlp", widths = [4]}
        epochs = 1
        [rules.bp]
        [rules.fa]
        [rules.fa-strong]
        rule = {name = "fa", scale = 2}
    """
    results = compare(grid(None, 2, file=file(text)), tmp_path / "runs")
    assert [(row["rule"], row["label"]) for row in results[::2]] == [
        ("bp", "bp"),
        ("fa", "fa"),
        ("fa", "fa-strong"),
    ]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        f"{title}-seed{seed}" for title in ("bp", "fa", "fa-strong") for seed in (0, 1)
    ]
    cells = summarize(records.find_runs(tmp_path / "runs"))
    assert [(cell.rule, cell.label, cell.seeds) for cell in cells] == [
        (title, "", [0, 1]) for title in ("bp", "fa", "fa-strong")
    ]
    assert compare(grid(None, 2, file=file(text)), tmp_path / "runs") == results  # finished runs are kept


def test_a_rule_that_learns_nothing_is_not_given_a_feedback_optimizer_unnoticed(
    file, tmp_path, net_file, rule_file
):
    head = f"data = 'iris'\nnet = '{net_file('plain')}'\nepochs = 1\n"
    text = f"{head}[rules.bp]\n[rules.mine]\nrule = '{rule_file('Mirrored')}'\n"
    with pytest.raises(
        UserMistake, match=r"rule 'bp' learns no parameters .* give it in the tables \[rules.LABEL\]"
    ):
        compare(grid(None, 1, {"feedback_optimizer": {"lr": 0.1}}, file(text)), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    results = compare(grid(None, 1, file=file(text + "feedback_optimizer = {lr = 0.1}")), tmp_path / "runs")
    assert [row["label"] for row in results] == ["bp", "mine"]


def test_two_runs_that_would_lie_in_one_folder_are_refused(file, tmp_path):
    configs = grid(["bp", "fa"], [0], {"data": "iris", "net": "mlp", "label": "same"})
    with pytest.raises(UserMistake, match="same rule or label, and seed"):
        compare(configs, tmp_path)


def test_a_rule_that_is_exact_inside_blocks_has_a_title_that_says_so(make_config):
    exact = {"name": "dfa", "inside": "exact"}
    assert make_config(rule="dfa").title == "dfa"
    assert make_config(rule=exact).title == "dfa-inside-exact"
    assert make_config(rule=exact, label="mine").title == "mine"
    assert make_config(rule={"name": "dfa", "blocks": ["0", "2"]}).title == "dfa-at-cut-points"
    assert make_config(rule=exact).to_json()["rule"] == {"name": "dfa", "settings": {"inside": "exact"}}


def test_a_label_is_no_part_of_the_fingerprint(make_config):
    assert make_config(label="a").digest() == make_config().digest()
    assert (make_config(label="a").title, make_config().title) == ("a", "bp")


def test_the_example_of_the_page_is_one(file):
    page = Path(__file__).parents[2] / "docs" / "command-line.md"
    (text,) = [
        block for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL) if "[rules." in block
    ]
    rows = by_title(grid(None, 1, file=file(text)))
    assert list(rows) == ["bp", "dtp", "dtp-alternating"] == list(tomllib.loads(text)["rules"])
    assert {row.rule.name for row in rows.values()} == {"bp", "dtp"}
    assert rows["dtp-alternating"].feedback_optimizer == Choice(name="adam", settings={"lr": 4.593e-3})


def test_every_label_is_tried_before_anything_is_trained(file, tmp_path):
    text = "data = 'iris'\nnet = 'mlp'\n[rules.bp]\n[rules.bad]\nrule = 'fa'\nfeedback_optimizer = 'adam'\n[rules.fa]\n"
    with pytest.raises(UserMistake, match="rule 'fa' learns no parameters"):
        compare(grid(None, 1, file=file(text)), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
