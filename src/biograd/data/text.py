"""Texts of one's own."""

from pathlib import Path
from typing import Annotated

from annotated_types import Gt, Lt

from biograd.data.characters import Length, as_sequences
from biograd.data.dataset import DataSet
from biograd.errors import UserMistake, unreadable


def text(
    path: str,
    directory: str | Path | None,
    download: bool,
    seed: int,
    *,
    length: Length = 64,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.1,
) -> DataSet:
    """Your own text, a file in UTF-8: at each character the net tells the next.

    The characters that occur are the tokens; ends of lines are kept as they are written. The end of the text is the
    test part. Returns inputs and targets (n, length) int64.

    Args:
        path: of the file.
        directory: not used.
        download: not used.
        seed: not used.
        length: characters of a sequence; sequences lie one behind another, and what is left is cut off.
        test_fraction: of the characters, the last of which are the test part.
    """
    whole = _read(Path(path).expanduser())
    start = len(whole) - round(test_fraction * len(whole))
    return as_sequences(Path(path).stem, whole[:start], whole[start:], length)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise unreadable(path, error, "a text in UTF-8") from error
    except UnicodeDecodeError as error:
        raise UserMistake(
            f"{path} is no text in UTF-8, byte {error.start} is none of it: write it in that encoding"
        ) from error
