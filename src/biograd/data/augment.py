"""Random crops and mirror images of a whole batch in one gather, on whatever device it lies."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def crop_and_flip(
    images: Tensor,
    padding: int,
    flip: bool,
    generator: Generator,
    *,
    drawn: int | None = None,
    part: slice = slice(None),
) -> Tensor:
    """Move every image by up to ``padding`` pixels either way, and mirror half of them.

    Each image is padded with zeros (black) on every side, cropped back to its size at a place drawn
    uniformly, and mirrored left to right with probability one half.

    Args:
        images: (n, channels, height, width).
        padding: in pixels, at least 0.
        flip: whether any are mirrored.
        generator: on the CPU; the draws do not depend on the device of the images.
        drawn: for how many images to draw, where these are a part of a batch; None for just these.
        part: which of those they are.

    Returns:
        The images, of the same shape, in memory of their own.
    """
    n, channels, height, width = images.shape
    drawn = n if drawn is None else drawn
    rows = _shifted(drawn, height, padding, generator)[part]  # (n, height)
    columns = _shifted(drawn, width, padding, generator)[part]  # (n, width)
    if flip:
        mirrored = torch.rand(drawn, 1, generator=generator)[part] < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    pixels = rows.unsqueeze(2) * (width + 2 * padding) + columns.unsqueeze(1)  # (n, height, width)
    pixels = pixels.to(images.device).flatten(1).unsqueeze(1).expand(n, channels, height * width)
    padded = F.pad(images, (padding,) * 4).flatten(2)
    return padded.gather(2, pixels).view_as(images)


def _shifted(n: int, length: int, padding: int, generator: Generator) -> Tensor:
    """For each of n images, which rows or columns of the padded image to take."""
    starts = torch.randint(0, 2 * padding + 1, (n, 1), generator=generator)
    return starts + torch.arange(length)
