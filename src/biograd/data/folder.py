"""Images of one's own, in a folder for each class."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Gt

from biograd.data.dataset import DataSet
from biograd.data.own import CropPadding, TestFraction, made
from biograd.errors import DataUnavailable, UserMistake, unreadable

if TYPE_CHECKING:
    from numpy import ndarray
    from PIL.Image import Image

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
TESTS = ("test", "val", "validation")
"""What a folder beside ``train`` is called that holds the test part; the first that is there counts."""


def folder(
    path: str,
    directory: str | Path | None,
    download: bool,
    seed: int,
    *,
    size: Annotated[int, Gt(0)] | None = None,
    grey: bool = False,
    test_fraction: TestFraction = None,
    normalize: bool = True,
    crop_padding: CropPadding = 0,
    flip: bool = False,
) -> DataSet:
    """Your own images, in a folder for each class.

    The classes are ``PATH/train/CLASS`` with a test part in ``PATH/test``, ``PATH/val`` or ``PATH/validation``, or else
    ``PATH/CLASS``. All images below a class's folder are its own: PNG, JPEG, BMP, GIF, WebP, TIFF, PPM, PGM. Inputs are
    (n, 3, height, width) bytes, turned as a camera has noted; they are held in memory.

    Args:
        path: of the folder.
        directory: not used.
        download: not used.
        seed: draws the test part where there is none.
        size: of images a side: the shorter one is scaled to it, and the middle of the longer one is kept. Without it
            all images must be of one size.
        grey: one channel in place of three.
        test_fraction: of the examples that is the test part, where there is no other; none stands for a fifth.
        normalize: to mean 0 and deviation 1 on the training part, channel by channel.
        crop_padding: train on crops from images padded by so many black pixels on every side.
        flip: train on mirror images, half of the time.
    """
    root = Path(path).expanduser()
    parts = [_files(part) for part in _parts(root)]
    return made(
        root.name,
        [_decoded([file for file, _ in part], size, grey) for part in parts],
        [_labels(part) for part in parts],
        seed=seed,
        test_fraction=test_fraction,
        normalize=normalize,
        crop_padding=crop_padding,
        flip=flip,
    )


def _parts(root: Path) -> list[Path]:
    """The folder of the training part and that of the test part, or the one that holds all classes."""
    if not root.is_dir():
        state = "is a file" if root.exists() else "does not exist"
        raise DataUnavailable(f"{root} {state}: name the folder that holds a folder for each class")
    if not (root / "train").is_dir():
        return [root]
    return [root / "train", *[root / test for test in TESTS if (root / test).is_dir()][:1]]


def _files(part: Path) -> list[tuple[Path, str]]:
    """Images and their classes, in order."""
    classes = sorted(child for child in part.iterdir() if child.is_dir() and not child.name.startswith("."))
    found = {cls.name: sorted(_images(cls)) for cls in classes}
    empty = [name for name, files in found.items() if not files]
    if not found or empty:
        lacking = f"the folder {empty[0]!r} in it holds none" if empty else "it holds no folder"
        raise UserMistake(f"{part}: expected a folder of images for each class, and {lacking}")
    return [(file, name) for name, files in found.items() for file in files]


def _images(cls: Path) -> Iterator[Path]:
    return (file for file in cls.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())


def _labels(part: Sequence[tuple[Path, str]]) -> "ndarray":
    import numpy as np

    return np.array([name for _, name in part])


def _decoded(files: Sequence[Path], size: int | None, grey: bool) -> "ndarray":
    """All images as bytes, (n, channels, height, width)."""
    import numpy as np

    first = _pixels(files[0], size, grey)
    _refuse_what_is_too_large(len(files), first)
    images = np.empty((len(files), *first.shape), np.uint8)
    for place, file in enumerate(files):
        image = _pixels(file, size, grey)
        if image.shape != first.shape:
            raise UserMistake(
                f"{file} is {image.shape[2]}×{image.shape[1]} pixels and {files[0]} {first.shape[2]}×{first.shape[1]}: "
                "scale all to one size with --data.size"
            )
        images[place] = image
    return images


def _pixels(file: Path, size: int | None, grey: bool) -> "ndarray":
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as stored:
            _refuse_deep(file, stored)
            upright = ImageOps.exif_transpose(stored).convert("RGBA").convert("L" if grey else "RGB")
    except UserMistake:
        raise
    except UnidentifiedImageError:
        raise UserMistake(
            f"{file} is no image that can be read: mend it, or take it out of the folder"
        ) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(file, error, "an image") from error
        raise UserMistake(f"{file} cannot be read as an image: {error}") from error
    image = np.asarray(upright if size is None else _scaled(upright, size))
    return image[None] if grey else image.transpose(2, 0, 1)


def _refuse_deep(file: Path, image: "Image") -> None:
    """Numbers of more than eight bits would be cut off."""
    if image.mode.startswith(("I", "F")):
        raise UserMistake(
            f"{file} has more than 8 bits a channel ({image.mode}): save it with 8, or as arrays:FILE.npz"
        )


def _scaled(image: "Image", size: int) -> "Image":
    """The middle square, with so many pixels a side."""
    from PIL import Image, ImageOps

    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def _refuse_what_is_too_large(count: int, first: "ndarray") -> None:
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # a system that does not say
        return
    if (needed := count * first.nbytes) > memory:
        channels, height, width = first.shape
        raise UserMistake(
            f"{count} images of {channels}×{height}×{width} are {needed / 2**30:.0f} GB, more than the "
            f"{memory / 2**30:.0f} GB of memory here: take a smaller --data.size"
        )
