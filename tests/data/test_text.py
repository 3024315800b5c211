"""Texts: sequences of characters lie one behind another, and the target of each is the character behind it."""

import pytest
import torch

from biograd import data
from biograd.data.characters import as_sequences
from biograd.errors import DataUnavailable, UserMistake

RHYME = "Rose is a rose is a rose is a rose.\r\n" * 5


@pytest.fixture
def rhyme(tmp_path):
    file = tmp_path / "rhyme.txt"
    file.write_bytes(RHYME.encode())
    return f"text:{file}"


def read(dataset, numbers):
    return "".join(dataset.task.names[number] for number in numbers.flatten().tolist())


def test_a_file_is_read_as_it_is_written_and_its_end_is_the_test_part(rhyme):
    loaded = data.load(rhyme, length=7, test_fraction=0.2)
    assert (loaded.name, loaded.input_shape, loaded.task.kind) == ("rhyme", (7,), "tokens")
    assert loaded.task.names == tuple(sorted(set(RHYME)))
    assert read(loaded, loaded.train.inputs) == RHYME[: 21 * 7]
    assert read(loaded, loaded.train.targets) == RHYME[1 : 21 * 7 + 1]
    assert read(loaded, loaded.test.inputs) == RHYME[148 : 148 + 35]
    assert loaded.train.inputs.dtype == loaded.train.targets.dtype == torch.int64


def test_characters_beyond_the_first_plane_are_one_token_each(tmp_path):
    (tmp_path / "signs.txt").write_text("𝔄é😀" * 20, encoding="utf-8")
    loaded = data.load(f"text:{tmp_path / 'signs.txt'}", length=2)
    assert loaded.task.names == ("é", "𝔄", "😀")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfea\x00", "no text in UTF-8, byte 0 is none of it"),
        (b"", "at least two different characters, this one has 0"),
        (b"aaaa", "at least two different characters, this one has 1"),
        (b"ab" * 40, "test part: 8 characters are too few for a sequence of 64 .* smaller length"),
    ],
)
def test_what_is_no_text_to_learn_from_is_refused_by_its_name(tmp_path, content, words):
    file = tmp_path / "bad.txt"
    file.write_bytes(content)
    with pytest.raises(UserMistake, match=words) as caught:
        data.load(f"text:{file}")
    assert "bad" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserMistake, match=r"cannot read .*none\.txt: .*; expected a text in UTF-8"):
        data.load(f"text:{tmp_path / 'none.txt'}")


def test_names_of_characters_are_drawn_by_seed_into_parts_that_share_no_name():
    loaded = data.load("unicode-names", seed=3)
    card = data.describe("unicode-names").card
    assert (len(loaded.train), len(loaded.test), loaded.outputs) == (card.train, card.test, card.outputs)
    assert loaded.input_shape == card.shape
    train, test = (read(loaded, part.inputs).split("\n")[1:-1] for part in (loaded.train, loaded.test))
    assert not set(train) & set(test)
    assert "LATIN SMALL LETTER E WITH CIRCUMFLEX AND ACUTE" in {*train, *test}
    assert not torch.equal(data.load("unicode-names", seed=4).test.inputs, loaded.test.inputs)


def test_a_python_with_other_names_is_refused(monkeypatch):
    monkeypatch.setattr("biograd.data.unicode_names.CHECKSUM", "0" * 64)
    with pytest.raises(DataUnavailable, match=r"has other names than those of Unicode 3\.2"):
        data.load("unicode-names")


def test_a_sequence_may_be_as_long_as_the_part_but_for_the_character_behind_it():
    assert as_sequences("a", "abcd", "abcd", 3).train.targets.tolist() == [[1, 2, 3]]
    with pytest.raises(UserMistake, match="4 characters are too few for a sequence of 4"):
        as_sequences("a", "abcd", "abcd", 4)
