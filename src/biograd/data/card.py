"""What is known of a data set before it is loaded: its sizes, licence, and official files."""

from collections.abc import Mapping
from dataclasses import dataclass

from biograd.tasks import Kind


@dataclass(frozen=True)
class Source:
    """The official files of a data set, and where they come from.

    Args:
        folders: where the files are looked for below the data directory, the usual place first; a
            download goes there. The data directory itself counts where its name is the usual one's.
        mirrors: addresses ending in ``/`` below which ``downloads`` lie; tried in order.
        downloads: file name at the mirror to checksum (``"sha256:…"``).
        files: names of the files once in place; each is a download or, for an archive, a member of it.
            A name that ends in ``.gz`` may be there unpacked, without the ending.
        archive: the one download is a tar archive whose folder holds ``files``.
        megabytes: size of the whole download.
    """

    folders: tuple[str, ...]
    mirrors: tuple[str, ...]
    downloads: Mapping[str, str]
    files: tuple[str, ...]
    archive: bool
    megabytes: int


@dataclass(frozen=True)
class Card:
    """What a data set is: sizes, the shape of one example, licence and origin.

    ``outputs`` counts the classes, or what else its ``task`` asks for. ``source`` is None for sets that come with the
    installation and need no file.
    """

    title: str
    train: int
    test: int
    shape: tuple[int, ...]
    outputs: int
    licence: str
    homepage: str
    source: Source | None = None
    task: Kind = "classes"
