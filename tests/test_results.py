"""Numbers in the README and in the page of recorded runs are those of the recorded runs, which commands still read."""

import json
from collections import Counter
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

import pytest

from biograd import rules, studies
from biograd.records import Run, find_runs, find_trials, read_json, summarize
from biograd.report.study import verdict
from biograd.robustness.scores import largest_plausible_share
from biograd.settings import describe
from biograd.studies import bartunov2018, outcome, tuned
from biograd.studies.cells import found
from biograd.training import grid
from biograd.training.compare import is_finished

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "results" / "README.md").read_text()
RECORDED = {
    "digits-square": 8,
    "mnist-square": 4,
    "mnist-square-30": 2,
    "mnist-bartunov-fc": 6,
    "mnist-bartunov-fc-alternating": 3,
    "mnist-softhebb-cnn": 2,
    "kp-decay": 8,
    "vit-digits": 13,
    "vit-cifar10": 12,
    "cifar10-gait-deep": 5,
    "cifar10-gait-shallow": 5,
}


def packed(name):
    return ROOT / "results" / f"{name}.records.xz"


def cells(name):
    return cells_of(packed(name))


def cells_of(place):
    return summarize(find_runs(place))


def result_of(run):
    assert run.result is not None
    return run.result


def spell(cell):
    """A cell as a row of a table begins."""
    accuracy = cell.test_accuracy
    spread = "" if accuracy.sd is None else f" ± {100 * accuracy.sd:.2f}"
    return f"| `{cell.rule}` | {100 * accuracy.mean:.2f}{spread} |"


@pytest.mark.parametrize("cell", cells("mnist-mlp"), ids=lambda c: f"{c.net}-{c.rule}")
def test_the_readme_gives_the_recorded_accuracy(cell):
    assert cell.test_accuracy.n == 3
    assert spell(cell) in README


def test_every_rule_of_the_readmes_table_was_recorded():
    recorded = cells("mnist-mlp")
    assert len(recorded) == 10
    assert all(not cell.failed and not cell.unfinished for cell in recorded)


@pytest.mark.parametrize("name", RECORDED)
def test_the_page_of_recorded_runs_gives_their_accuracies(name):
    recorded = cells(name)
    _, part = PAGE.split(f"\n### `{name}`\n")
    section = part.split("\n### ")[0].split("\n## ")[0]
    assert len(recorded) == RECORDED[name]
    for cell in recorded:
        row = spell(cell) if cell.test_accuracy.n else f"| `{cell.rule}` | not finished |"
        assert row in section


@pytest.mark.parametrize(
    "name", [name for name in [*RECORDED, "gpt-names"] if (ROOT / "results" / f"{name}.toml").exists()]
)
def test_the_command_of_recorded_runs_finds_them_finished(name):
    recorded = {(run.label, run.seed): run for run in find_runs(packed(name))}
    seeds = {seed for _, seed in recorded}
    configs = grid(None, sorted(seeds), {}, ROOT / "results" / f"{name}.toml")
    called = {(config.label or config.rule.label, config.seed): config for config in configs}
    assert called.keys() == recorded.keys()
    assert all(is_finished(recorded[key].folder, config) for key, config in called.items())


@pytest.mark.parametrize("name", ["bartunov2018", "local-stdp", "low-precision", "song2021"])
def test_the_table_of_a_study_comes_again_from_its_recorded_runs(name):
    study, recorded = studies.find(name), read_json(packed(name) / "study.json")
    runs = found(study.cells, packed(name), "full", {})
    claims = [
        *outcome.verdicts(study, runs, "full"),
        *outcome.sensitivities(study, tuned.searches(study.cells, "full", packed(name)), "full"),
    ]
    assert json.loads(json.dumps(outcome.rows(study, runs))) == recorded["rows"]
    assert json.loads(json.dumps(claims)) == recorded["claims"]


BARTUNOV = read_json(packed("bartunov2018") / "study.json")
CLAIMED = {claim["claim"].removeprefix("MNIST FC: "): claim for claim in BARTUNOV["claims"]}
METHODS = sorted({row["group"] for row in BARTUNOV["rows"]})


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_the_assessment_stands_beside_what_was_published(method):
    at_end, best, _ = (row for row in BARTUNOV["rows"] if row["group"] == method)
    measured = [f"{100 * row['mean']:.2f} ± {100 * row['sd']:.2f}" for row in (at_end, best)]
    row = " | ".join([f"| `{method.rpartition(', ')[2]}`", *measured, f"{100 * best['published']:.2f} |"])
    assert at_end["seeds"] == best["seeds"] == 3
    assert row in README
    assert row in PAGE


def points(*fractions):
    return tuple(f"{100 * one:+.2f}".replace("-", "−") for one in fractions)


def claimed(statement):
    """What was measured of a claim of the assessment, with its interval and its verdict."""
    if statement not in CLAIMED:
        return "—"
    claim = CLAIMED[statement]
    found, low, high = points(*(claim[key] for key in ("mean", "low", "high")))
    return f"{found} ({low} to {high}), {verdict(claim).partition(':')[0]}"


@pytest.mark.parametrize("method", [one for one in METHODS if not one.endswith(" bp")])
def test_the_page_gives_the_verdicts_on_every_method_of_the_assessment(method):
    label = method.rpartition(", ")[2]
    settings = f"settings matter more to {label} than to"
    told = (f"{label} does not beat bp", f"{settings} bp", f"{settings} fa")
    assert " | ".join([f"| `{label}`", *map(claimed, told)]) + " |" in PAGE


@pytest.mark.parametrize("rule", ["dtp", "sdtp", "ao-sdtp"])
def test_the_page_gives_the_verdicts_on_alternating_schedules(rule):
    told = (
        f"{rule} is no worse alternating than parallel",
        f"settings matter more to {rule} parallel than alternating",
    )
    assert " | ".join([f"| `{rule}`", *map(claimed, told)]) + " |" in PAGE


@pytest.mark.parametrize("run", find_runs(packed("mnist-fc-gap")), ids=lambda run: run.folder.name)
def test_single_runs_that_explain_a_difference_stand_on_the_page(run):
    accuracies = [row["test_accuracy"] for row in run.metrics]
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{run.folder.name}` |")]
    assert f"| {100 * max(accuracies):.2f} | {100 * accuracies[-1]:.2f} |" in row
    if run.folder.name == "fa-500":
        assert accuracies.index(max(accuracies)) + 1 == 33
    if run.folder.name == "dtp-alternating-500":
        assert max(accuracies[:60]) == 0.9748


@pytest.mark.parametrize("run", find_runs(packed("bartunov2018-cifar-lc")), ids=lambda run: run.label)
def test_the_first_runs_of_a_column_that_is_not_finished_stand_on_the_page(run):
    section = PAGE.partition("### `bartunov2018-cifar-lc`")[2].partition("###")[0]
    assert (run.seed, run.epochs_done) == (0, 2)
    assert f"| `{run.label}` | {100 * result_of(run)['test_accuracy']:.2f} |" in section


def test_the_readme_says_what_came_of_the_claims_of_the_assessment():
    verdicts = {claim: verdict(row).partition(":")[0] for claim, row in CLAIMED.items()}

    def counted(pattern):
        return Counter(word for claim, word in verdicts.items() if fnmatch(claim, pattern))

    def interval(statement):
        return "{}, {} to {}".format(*points(*(CLAIMED[statement][key] for key in ("mean", "low", "high"))))

    def settings(label, other="than to bp"):
        return interval(f"settings matter more to {label} {other}")

    ends = sorted(
        (row["mean"], claim) for claim, row in CLAIMED.items() if claim.endswith("does not beat bp")
    )
    assert [ends[0][1].split()[0], ends[-1][1].split()[0]] == ["dtp-parallel", "sdtp-alternating"]
    assert counted("* does not beat bp") == {"confirmed": 8}
    assert counted("settings matter more to *dtp-* than to bp") == {"confirmed": 3, "open": 3}
    assert counted("settings matter more to *dtp-* than to fa") == {"open": 6}
    steadier = {
        name: counted(f"settings matter more to {name} parallel *") for name in ("dtp", "sdtp", "ao-sdtp")
    }
    assert steadier == {"dtp": {"open": 1}, "sdtp": {"refuted": 1}, "ao-sdtp": {"refuted": 1}}
    forms = ("sdtp-parallel", "sdtp-alternating", "ao-sdtp-alternating")
    for words in (
        "confirmed for all eight",
        *(f"(`{claim.split()[0]}`: {interval(claim)})" for _, claim in (ends[0], ends[-1])),
        "confirmed beside `bp` for three of its six forms",
        *(f"`{form}` {settings(form)}" for form in forms),
        "open for the other three, and open for all six beside `fa`",
        *(f"`{name}` ({settings(name, 'parallel than alternating')})" for name in steadier),
    ):
        assert words in " ".join(README.split())


ASSESSED = {cell.rule: cell.runs for cell in cells("bartunov2018")}
MNIST_FC = next(column for column in bartunov2018.COLUMNS if column.name == "mnist-fc")


def of_epochs(runs, first, last):
    """The mean test accuracy of some epochs of each run."""
    return [100 * mean(row["test_accuracy"] for row in run.metrics[first - 1 : last]) for run in runs]


@pytest.mark.parametrize("label", ASSESSED)
def test_the_page_gives_what_the_records_tell_of_the_distance_to_the_published(label):
    runs, printed = ASSESSED[label], MNIST_FC.printed.get(label)
    _, best, train = (row for row in BARTUNOV["rows"] if row["group"] == f"MNIST FC, {label}")
    chosen = [runs[0].config[part]["settings"].get("lr") for part in ("optimizer", "feedback_optimizer")]
    rates = [
        "—" if one is None else f"{1e4 * one:.3g}"
        for one in (chosen[0], printed and printed.lr, chosen[1], printed and printed.inverse_lr)
    ]
    shown = [
        f"| `{label}`",
        *points(best["difference"]),
        f"{100 * train['mean']:.2f}",
        f"{100 * train['published']:.2f}",
        *(f"{mean(of_epochs(runs, *part)):.2f}" for part in ((61, 80), (81, 100))),
        *rates,
    ]
    assert " | ".join(shown) + " |" in PAGE


def test_the_page_says_which_methods_of_the_assessment_were_not_settled():
    text = " ".join(PAGE.split())
    rises = {
        label: [
            late - early
            for early, late in zip(of_epochs(runs, 61, 80), of_epochs(runs, 81, 100), strict=True)
        ]
        for label, runs in ASSESSED.items()
    }
    assert [label for label, of_seeds in rises.items() if min(of_seeds) > 0] == ["bp"]
    assert f"by {min(rises['bp']):.2f} to {max(rises['bp']):.2f} points" in text
    steps = {
        label: mean(
            100 * abs(b["test_accuracy"] - a["test_accuracy"])
            for run in runs
            for a, b in pairwise(run.metrics[80:])
        )
        for label, runs in ASSESSED.items()
    }
    largest, second = sorted(steps.values(), reverse=True)[:2]
    assert steps["sdtp-alternating"] == largest
    assert f"by {largest:.2f} points, of no other by more than {second:.2f}" in text
    peaks = [max(run.metrics, key=lambda row: row["test_accuracy"])["epoch"] for run in ASSESSED["fa"]]
    assert "best in epochs {}, {} and {}".format(*peaks) in text


def test_the_page_says_what_fast_inverses_did_to_the_trials_of_alternating_sdtp():
    (trials,) = (
        one for one in find_trials(packed("bartunov2018")) if one.search["rule"] == "sdtp-alternating"
    )
    fast = [row["value"] for row in trials.done if row["settings"]["feedback_optimizer.lr"] > 2e-3]
    assert (
        f"the {len(fast)} trials with inverses faster than 2e-3 reached {100 * max(fast):.1f} % at most"
        in " ".join(PAGE.split())
    )


KP_CARD = (ROOT / "docs" / "rules" / "kp.md").read_text()


@pytest.mark.parametrize("cell", [c for c in cells("kp-decay") if c.rule != "bp"], ids=lambda c: c.rule)
def test_the_card_of_kp_gives_the_recorded_angles_and_accuracies(cell):
    optimizer = cell.runs[0].config["optimizer"]
    last = max(row["step"] for row in cell.runs[0].diagnostics)
    angles = [
        [
            row["value"]
            for run in cell.runs
            for row in run.diagnostics
            if (row["step"], row["quantity"], row["layer"]) == (last, "feedback_angle", layer)
        ]
        for layer in ("3.weight", "5.weight")
    ]
    shown = ", ".join(f"{mean(of_layer):.1f} ± {stdev(of_layer):.1f}" for of_layer in angles)
    name = {"adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "sgd": "SGD"}[optimizer["name"]]
    _, accuracy = spell(cell).strip("| ").split(" | ")
    assert f"| {name} | {optimizer['settings']['weight_decay']:g} | {shown} | {accuracy} |" in KP_CARD


def test_results_are_few_small_files():
    files = [path for path in (ROOT / "results").iterdir() if path.is_file()]
    assert len(files) < 50
    assert sum(path.stat().st_size for path in files) < 5e6


LOCAL = read_json(packed("local-stdp") / "study.json")


def of_study(group, quantity):
    """The row of a group and a quantity in percent, as a table has it."""
    (row,) = (row for row in LOCAL["rows"] if (row["group"], row["quantity"]) == (group, quantity))
    spread = "" if row["sd"] is None else f" ± {100 * row['sd']:.2f}"
    return f"{100 * row['mean']:.2f}{spread}"


@pytest.mark.parametrize("rule", ["bp", "stdp-association", "forward-forward", "pepita", "softhebb"])
@pytest.mark.parametrize(("task", "epsilon"), [("Iris", 0.5), ("MNIST digit", 0.1)])
def test_the_page_gives_what_local_stdp_measured_of_one_class_against_the_rest(task, epsilon, rule):
    group = f"{task}, {rule}"
    attacks = [f"{attack} ε {epsilon:g}" for attack in ("fgsm", "pgd", "square", "strongest attack")]
    quantities = [
        "test accuracy",
        "test balanced accuracy",
        *(f"balanced accuracy, {one}" for one in attacks),
    ]
    shown = " | ".join(of_study(group, quantity) for quantity in quantities)
    masking = next(
        r["mean"] for r in LOCAL["rows"] if (r["group"], r["quantity"]) == (group, "masking suspected")
    )
    assert f"| `{rule}` | {shown} | {100 * masking:.0f} % |" in PAGE


@pytest.mark.parametrize("width", [512, 1000])
def test_the_page_gives_what_local_stdp_measured_of_ten_digits(width):
    shown = [
        of_study(f"MNIST {width}-{width}, {rule}", "test accuracy") for rule in ("bp", "stdp-association")
    ]
    assert f"| {width}-{width} | {shown[0]} | {shown[1]} |" in PAGE


@pytest.mark.parametrize("rule", ["forward-forward", "pepita", "softhebb"])
def test_the_page_gives_what_the_neighbours_reached(rule):
    shown = of_study(f"{rule}, its paper's net", "test accuracy")
    assert f"| `{rule}` | {shown} |" in PAGE


def test_the_study_was_judged_whole():
    assert LOCAL["budget"] == "full"
    assert all(claim["open"] is None for claim in LOCAL["claims"])
    assert all(row["unfinished"] == row["diverged"] == 0 for row in LOCAL["rows"])
    assert all(row["cells"] == row["of_cells"] for row in LOCAL["rows"])


@pytest.mark.parametrize("rule", ["bp", "stdp-association", "forward-forward", "pepita", "softhebb"])
def test_the_readme_gives_the_local_rules_as_the_study_measured_them(rule):
    quantities = [("Iris", "test accuracy"), ("MNIST digit", "test accuracy")]
    quantities += [("MNIST digit", "balanced accuracy, strongest attack ε 0.1")]
    shown = " | ".join(of_study(f"{task}, {rule}", quantity) for task, quantity in quantities)
    assert f"| `{rule}` | {shown} |" in README


MASKED = ("rounded", "shattered", "saturated", "steep")
MASKING = {
    "`bp`, Iris": ["iris/*"],
    "`bp`, digits": ["digits/*"],
    "`bp`, MNIST": ["mnist/*"],
    "`bp`, all": ["iris/*", "digits/*", "mnist/*"],
    "hidden gradients, all": [f"masked/digits/{mask}" for mask in MASKED],
}


def interval(count, of):
    """Clopper and Pearson's, of a share in percent at 95 %."""
    return 100 - 100 * largest_plausible_share(of - count, of, 0.025), 100 * largest_plausible_share(
        count, of, 0.025
    )


@pytest.mark.parametrize("nets", MASKING)
def test_the_pages_give_how_often_the_check_of_masked_gradients_was_wrong(nets, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = studies.find("results/masking.py:study")
    runs = found(study.cells, packed("masking"), "full", {})
    chosen = [
        run
        for cell, of_cell in runs.items()
        if any(fnmatch(cell, one) for one in MASKING[nets])
        for run in of_cell
    ]
    verdicts = Counter(run.measurements[-1]["verdict"]["masking"] for run in chosen)
    suspected, undecided = verdicts["suspected"], verdicts["not decided"]
    low, high = interval(suspected, len(chosen))
    assert f"| {nets} | {len(chosen)} | {suspected} | {undecided} | {low:.1f}–{high:.1f} |" in PAGE
    assert all(len(run.measurements) == 1 and run.measurements[0]["source"] for run in chosen)


def test_the_page_on_robustness_gives_the_same_rates():
    page = " ".join((ROOT / "docs" / "robustness.md").read_text().split())
    assert "Of 138 nets" in page
    assert f"false alarms are below {interval(0, 138)[1]:.1f} %" in page
    assert f"it finds more than {interval(40, 40)[0]:.1f} % of such" in page


LOW = read_json(packed("low-precision") / "study.json")
TRAINING = (ROOT / "docs" / "training.md").read_text()


def of_precision(label, precision):
    return next(row for row in LOW["rows"] if row["group"] == f"{label}, {precision}")


@pytest.mark.parametrize("claim", LOW["claims"], ids=lambda claim: claim["group"])
def test_the_page_on_training_gives_every_rule_in_bfloat16_beside_float32(claim):
    label = claim["group"].removesuffix(", bfloat16")
    rows = [of_precision(label, precision) for precision in ("float32", "bfloat16")]
    assert all((row["seeds"], row["unfinished"], row["diverged"]) == (3, 0, 0) for row in rows)
    shown = " | ".join(f"{100 * row['mean']:.2f} ± {100 * row['sd']:.2f}" for row in rows)
    assert f"| `{label}` | {shown} | {100 * claim['mean']:+.2f} |" in TRAINING


def test_every_rule_was_measured_in_bfloat16_and_lies_within_the_band():
    labels = {claim["group"].removesuffix(", bfloat16") for claim in LOW["claims"]}
    assert labels >= set(rules.REGISTRY.built_in())
    assert [claim["group"] for claim in LOW["claims"] if not claim["met"]] == []


SONG = read_json(packed("song2021") / "study.json")["rows"]


@pytest.mark.parametrize("group", dict.fromkeys(row["group"] for row in SONG if row["mean"] is not None))
def test_the_page_gives_what_song2021_measured(group):
    accuracy, cosine = (row for row in SONG if row["group"] == group)
    decay, epochs = group.removeprefix("λ = ").split(", epoch ")
    measured = [
        f"{scale * row['mean']:.{digits}f}"
        + ("" if row["sd"] is None else f" ± {scale * row['sd']:.{digits}f}")
        for row, scale, digits in ((accuracy, 100, 2), (cosine, 1, 3))
    ]
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| {epochs} | {decay} | "))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert [cells[2], cells[4], cells[6]] == [*measured, str(accuracy["seeds"])]


def test_the_ordering_of_song2021_is_the_papers():
    value = {(row["group"], row["quantity"].split()[0]): row["mean"] for row in SONG}
    for epochs in (31, 101, 300):
        accuracy, cosine = (
            [value[f"λ = {decay}, epoch {epochs}", quantity] for decay in ("0", "0.3", "0.1")]
            for quantity in ("test", "error")
        )
        assert accuracy == sorted(accuracy)
        assert cosine[0] < cosine[2] < cosine[1]


@pytest.mark.parametrize("decay", ["0", "0.1", "0.3"])
def test_the_readme_gives_song2021_after_300_epochs(decay):
    accuracy, cosine = (row for row in SONG if row["group"] == f"λ = {decay}, epoch 300")
    first = f"{100 * accuracy['mean']:.2f} | {100 * accuracy['published']:.2f}"
    assert f"| {decay} | {first} | {cosine['mean']:.3f} | {cosine['published']:.3f} |" in README


SEARCH = packed("mnist-mlp-search")
BY_DEFAULT = {run.rule: result_of(run)["validation_accuracy"] for run in find_runs(SEARCH / "defaults")}


@pytest.mark.parametrize("trials", find_trials(SEARCH), ids=lambda trials: trials.search["rule"])
def test_the_page_gives_every_default_beside_the_best_of_as_many_trials(trials):
    rule, best = trials.search["rule"], trials.best
    assert len(trials.done) == 5
    default = f"{100 * BY_DEFAULT[rule]:.2f}" if rule in BY_DEFAULT else "not run"
    rate = best["settings"]["optimizer.lr"]
    assert f"| `{rule}` | {default} | {100 * best['value']:.2f} | {rate:g} |" in PAGE


def test_every_rule_was_searched():
    assert {trials.search["rule"] for trials in find_trials(SEARCH)} == set(rules.REGISTRY.built_in())


RATES_TRIED = ("0.001", "0.003", "0.006", "0.01")
TRIED = {
    "| ten digits | ten |": "ten/rate",
    "| ten digits | sixteen |": "ten/sixteens",
    "| 3 against the rest | half a layer |": "digit-3/halves",
    "| 3 against the rest | ten |": "digit-3/tens",
    "| 3 against the rest | sixteen |": "digit-3/sixteens",
}


@pytest.mark.parametrize("row", TRIED)
def test_the_page_gives_what_was_tried_of_stdp_association(row):
    tried = {
        run.folder.name.removesuffix("-seed0"): result_of(run)["validation_accuracy"]
        for run in find_runs(SEARCH / "tried" / TRIED[row].split("/")[0])
    }
    kind = TRIED[row].split("/")[1]
    found = [tried.get(f"{kind}-{rate}") for rate in RATES_TRIED]
    shown = " | ".join("–" if one is None else f"{100 * one:.2f}" for one in found)
    assert f"{row} {shown} |" in PAGE


def test_the_page_gives_what_relus_do_for_stdp_association():
    (run,) = find_runs(SEARCH / "tried" / "relu")
    assert run.config["net"]["settings"] == {"activation": "relu"}
    text = " ".join(PAGE.split())
    assert f"the rule has {100 * result_of(run)['validation_accuracy']:.2f} on ten digits" in text


@pytest.mark.parametrize("digit", ["3", "8"])
def test_by_default_stdp_association_is_less_than_a_third_of_a_point_below_bp_on_one_digit(digit):
    now, before = (
        {cell.rule: cell for cell in cells_of(SEARCH / folder)}
        for folder in (f"digit-{digit}", f"digit-{digit}-before")
    )
    rule, bp = now["stdp-association"], now["bp"]
    shown = " | ".join(
        spell(cell).split("| ")[2].strip(" |") for cell in (bp, rule, before["stdp-association"])
    )
    assert f"| {digit} | {shown} |" in PAGE
    assert before["stdp-association"].test_accuracy.mean < rule.test_accuracy.mean
    assert rule.test_accuracy.mean > bp.test_accuracy.mean - 0.0033


@pytest.mark.parametrize("digit", ["3", "8"])
def test_what_was_recorded_is_the_default_of_stdp_association(digit):
    """A default that is no part of a configuration, the size of groups, is held by a run that states it."""
    task = {"data": "mnist", "net": "mlp", "epochs": 5, "one_vs_rest": digit, "checkpoint_every": 0}
    place = SEARCH / f"digit-{digit}" / "stdp-association-seed0"
    (config,) = grid(["stdp-association"], [0], {**task, "device": "cpu"})
    assert is_finished(place, config)
    stated = Run.load(SEARCH / "tried" / "digit-3" / "tens-0.003-seed0")
    sizes = [
        one.default for one in describe(rules.REGISTRY.find("stdp-association")) if one.name == "group_size"
    ]
    assert sizes == [stated.config["rule"]["settings"]["group_size"]]
    if digit == "3":
        assert result_of(stated)["train_loss"] == result_of(Run.load(place))["train_loss"]
