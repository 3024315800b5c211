"""Texts as sequences of characters, each of which is followed by the one that is to be told."""

from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from biograd.data.dataset import DataSet, Split
from biograd.data.tasks import Tokens
from biograd.errors import UserMistake

if TYPE_CHECKING:
    from torch import Tensor

Length = Annotated[int, Ge(1)]
"""Characters of a sequence."""


def as_sequences(name: str, train: str, test: str, length: int) -> DataSet:
    """The task of telling the next character, at every place of sequences that lie one behind another.

    Args:
        name: what messages and tables call the set.
        train: the text of the training part.
        test: the text of the test part; the characters of both, in the order of their code points, are the tokens.
        length: of a sequence; what is left at the end of a part is cut off.

    Returns:
        A set with inputs and targets (n, length) int64: target t is the character behind input t.

    Raises:
        UserMistake: a part is too short for one sequence, or all characters are the same one.

    Example:
        >>> found = as_sequences("abc", "abcabcab", "cab", length=2)
        >>> found.task.names, found.train.inputs.tolist(), found.train.targets.tolist()
        (('a', 'b', 'c'), [[0, 1], [2, 0], [1, 2]], [[1, 2], [0, 1], [2, 0]])
    """
    vocabulary = sorted(set(train) | set(test))
    if len(vocabulary) < 2:
        raise UserMistake(
            f"{name}: a text needs at least two different characters, this one has {len(vocabulary)}"
        )
    for part, text in (("training", train), ("test", test)):
        if len(text) <= length:
            raise UserMistake(
                f"{name}, {part} part: {len(text)} characters are too few for a sequence of {length} and the character "
                "behind it; choose a smaller length (--data.length), or give a longer text"
            )
    places = {character: place for place, character in enumerate(vocabulary)}
    parts = [_sequences([places[character] for character in text], length) for text in (train, test)]
    return DataSet(name, parts[0], parts[1], Tokens(tuple(vocabulary)), None)


def _sequences(tokens: list[int], length: int) -> Split:
    import torch

    whole = torch.tensor(tokens)
    count = (len(tokens) - 1) // length
    return Split(_rows(whole[:-1], count, length), _rows(whole[1:], count, length))


def _rows(tokens: "Tensor", count: int, length: int) -> "Tensor":
    return tokens[: count * length].reshape(count, length)
