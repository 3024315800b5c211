"""Transformers from the command line: images as patches under seven rules in one command, and a text of one's own."""

import numpy as np
import pytest

from biograd.records import find_runs, summarize

SMALL = (
    "--net.depth 1 --net.width 8 --net.heads 2 --epochs 1 --seeds 1 --batch-size 700 --diagnostics-every 1"
)


@pytest.mark.usefixtures("blank_figures")
def test_one_command_compares_rules_on_a_vision_transformer(biograd, folder):
    ended = biograd(
        f"compare --net vit --data digits --rules bp,fa,usf,kp,wm,dfa,shallow,frozen {SMALL} --out c --json"
    )
    assert ended.code == 0
    assert [row["status"] for row in ended.row["rows"]] == ["done"] * 8
    grown = {cell.rule: list(cell.growth) for cell in summarize(find_runs("c"))}
    assert set(map(tuple, grown.values())) == {("embed", "layers.0", "head")}


def test_a_text_is_learned_character_by_character(biograd, folder):
    (folder / "rhyme.txt").write_text("a rose is a rose is a rose " * 90)
    ended = biograd(
        "train --net gpt --data text:rhyme.txt --rule fa --data.length 8 --net.depth 1 --net.width 16 --epochs 4 "
        "--batch-size 16 --lr 1e-2 --json"
    )
    assert (ended.code, ended.row["status"]) == (0, "done")
    assert 0 < ended.row["test_bits_per_token"] < 2.2  # letters one by one have 2.7
    assert ended.row["test_accuracy"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "--net gpt --data iris",
            "net 'gpt' looks tokens up, and an example of iris is (4,) numbers: take a text",
        ),
        (
            "--net mlp --data unicode-names",
            "an example of unicode-names is (64,) tokens, to be looked up: take gpt",
        ),
        ("--net vit --data unicode-names", "vit takes images (channels, height, width)"),
        ("--net gpt --data digits", "gpt takes sequences of tokens, (tokens,); got (1, 8, 8)"),
    ],
)
def test_a_net_and_data_that_do_not_fit_are_refused_in_a_line(biograd, words, said):
    assert said in biograd(f"train --rule bp {words}").mistake


def tagged(folder, words=5, kinds=9):
    """Sequences of six numbers, and a class for each of them."""
    x = np.arange(240).reshape(40, 6) % kinds
    np.savez(folder / "tags.npz", x=x, y=x % words)
    return "--data arrays:tags.npz --data.task tokens --epochs 1"


@pytest.mark.parametrize("rule", ["bp", "fa", "dfa", "drtp"])
def test_a_net_that_does_not_answer_the_task_is_refused_in_a_line(rule, biograd, folder):
    line = biograd(f"train --rule {rule} --net mlp {tagged(folder)}").mistake
    assert line.endswith(
        "net 'mlp' gives (2, 5) for 2 examples, expected (2, 6, 5): one output a class, for every token"
    )


def test_a_comparison_too_refuses_a_net_that_does_not_answer_the_task(biograd, folder):
    assert "net 'mlp' gives (2, 5)" in biograd(f"compare --rules bp,fa --net mlp {tagged(folder)}").mistake


GPT = "train --rule fa --net gpt --net.depth 1 --net.width 8 --net.heads 2 --data.indices true"


def test_tokens_that_a_net_does_not_know_are_refused_in_a_line_that_says_how_it_gets_to(biograd, folder):
    line = biograd(f"{GPT} {tagged(folder)}").mistake
    assert "net 'gpt' knows 5 tokens" in line
    assert "the inputs of tags go up to 8: give it the setting vocabulary, 9 or more" in line
    assert biograd(f"{GPT} --net.vocabulary 9 {tagged(folder)} --json").row["status"] == "done"
    assert "leave tied out" in biograd(f"{GPT} --net.vocabulary 9 --net.tied true {tagged(folder)}").mistake


OWN = """
from torch import nn

def read(input_shape, outputs):
    return nn.Sequential(nn.Embedding(8, 8), nn.Linear(8, outputs))

def embedded(input_shape, outputs):
    return nn.Sequential(nn.Embedding(9, 8), nn.Flatten(), nn.Linear(8 * input_shape[0], outputs))

def bagged(input_shape, outputs):
    return nn.Sequential(nn.EmbeddingBag(9, 8), nn.Linear(8, outputs))
"""


@pytest.mark.parametrize(
    "words",
    ["fa --net own.py:embedded", "fa --net own.py:bagged", "dfa --net own.py:embedded", "fa --net gpt"],
)
def test_whole_numbers_that_were_normalised_are_not_looked_up_and_the_line_says_how_they_are(
    words, biograd, folder
):
    (folder / "own.py").write_text(OWN)
    np.savez(folder / "words.npz", x=np.arange(240).reshape(40, 6) % 9, y=np.arange(40) % 5)
    line = biograd(f"train --rule {words} --data arrays:words.npz").mistake
    assert line.endswith("stay as they are with the data's setting indices (--data.indices true)")
    assert "setting indices" not in biograd(f"train --rule {words} --data iris").mistake


def test_tokens_below_zero_are_refused_in_a_line(biograd, folder):
    np.savez(folder / "below.npz", x=np.arange(240).reshape(40, 6) % 5 - 1, y=np.arange(40) % 5)
    assert "below has an input -1" in biograd(f"{GPT} --data arrays:below.npz").mistake


def test_one_token_that_a_net_of_ones_own_has_no_vector_for_is_found_before_the_run(biograd, folder):
    (folder / "own.py").write_text(OWN)
    x = np.arange(240).reshape(40, 6) % 5
    x[17, 3] = 8
    np.savez(folder / "rare.npz", x=x, y=np.minimum(x, 4))
    asked = "train --rule bp --net own.py:read --data arrays:rare.npz --data.task tokens --data.indices true --epochs 1"
    line = biograd(asked).mistake
    assert line.endswith("failed: IndexError: index out of range in self; the inputs of rare go from 0 to 8")
    assert {path.suffix for path in folder.iterdir() if path.name != "__pycache__"} == {
        ".py",
        ".npz",
    }  # no run
