"""Small layers of every kind that a feedback path teaches, with the shape of an input."""

from collections.abc import Callable

from torch import nn

from biograd.layers import (
    LocallyConnected1d,
    LocallyConnected2d,
    LocallyConnected3d,
    LocallyConnectedTranspose1d,
    LocallyConnectedTranspose2d,
    LocallyConnectedTranspose3d,
)

Case = tuple[Callable[[], nn.Module], tuple[int, ...]]

_PADDED: dict[str, Case] = {
    f"conv{n}d {mode}": (
        lambda kind=kind, mode=mode: kind(2, 4, 3, padding=2, padding_mode=mode),
        (3, 2, *(6, 5, 4)[:n]),
    )
    for n, kind in enumerate((nn.Conv1d, nn.Conv2d, nn.Conv3d), start=1)
    for mode in ("zeros", "reflect", "replicate", "circular")
}

LAYERS: dict[str, Case] = {
    "linear 2-d": (lambda: nn.Linear(5, 4), (3, 5)),
    "linear without bias": (lambda: nn.Linear(5, 4, bias=False), (3, 5)),
    "linear 1-d": (lambda: nn.Linear(5, 4), (5,)),
    "linear 3-d": (lambda: nn.Linear(5, 4), (3, 2, 5)),
    "linear 4-d": (lambda: nn.Linear(5, 4), (2, 3, 2, 5)),
    **_PADDED,
    "conv1d same": (lambda: nn.Conv1d(2, 4, 3, padding="same"), (3, 2, 7)),
    "conv1d same, even kernel": (lambda: nn.Conv1d(2, 4, 4, padding="same"), (3, 2, 7)),
    "conv2d same, even kernel": (lambda: nn.Conv2d(2, 4, (4, 3), padding="same"), (2, 2, 6, 5)),
    "conv2d same, even kernel, dilated": (
        lambda: nn.Conv2d(2, 4, 2, padding="same", dilation=3),
        (2, 2, 6, 5),
    ),
    "conv2d same, even kernel, circular": (
        lambda: nn.Conv2d(2, 4, 4, padding="same", padding_mode="circular"),
        (2, 2, 6, 5),
    ),
    "conv3d same, even kernel": (lambda: nn.Conv3d(1, 2, (2, 3, 4), padding="same"), (2, 1, 4, 3, 5)),
    "conv2d valid": (lambda: nn.Conv2d(2, 4, 3, padding="valid"), (2, 2, 6, 5)),
    "conv2d groups": (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5)),
    "conv2d depthwise": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4), (2, 4, 5, 5)),
    "conv2d depthwise, multiplier": (lambda: nn.Conv2d(3, 6, 3, groups=3), (2, 3, 5, 5)),
    "conv2d stride, dilation": (lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1, dilation=2), (2, 2, 9, 8)),
    "conv2d all different": (
        lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), groups=2, bias=False),
        (2, 4, 7, 6),
    ),
    "conv2d 1×1": (lambda: nn.Conv2d(3, 4, 1), (2, 3, 4, 4)),
    "conv1d unbatched": (lambda: nn.Conv1d(2, 4, 3), (2, 7)),
    "conv2d unbatched": (lambda: nn.Conv2d(2, 4, 3, padding=1), (2, 6, 5)),
    "conv2d same, unbatched": (lambda: nn.Conv2d(2, 4, 4, padding="same"), (2, 6, 5)),
    "conv3d unbatched": (lambda: nn.Conv3d(2, 3, 2), (2, 3, 4, 3)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(4, 3, 3, stride=2, output_padding=1), (2, 4, 5)),
    "transposed 2d": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2),
        (2, 4, 4, 3),
    ),
    "transposed 3d": (lambda: nn.ConvTranspose3d(2, 3, 2, stride=(1, 2, 1)), (2, 2, 3, 2, 2)),
    "transposed unbatched": (lambda: nn.ConvTranspose2d(2, 3, 2, bias=False), (2, 3, 4)),
    "locally connected": (lambda: LocallyConnected2d(2, 4, 3, (6, 5)), (3, 2, 6, 5)),
    "locally connected, all different": (
        lambda: LocallyConnected2d(4, 6, (3, 2), (7, 6), (2, 1), (1, 0), (1, 2), groups=2),
        (2, 4, 7, 6),
    ),
    "locally connected same": (lambda: LocallyConnected2d(2, 3, 2, (4, 5), padding="same"), (2, 2, 4, 5)),
    "locally connected reflect": (
        lambda: LocallyConnected2d(2, 3, 3, (4, 5), padding=1, padding_mode="reflect", bias=False),
        (2, 2, 4, 5),
    ),
    "locally connected unbatched": (lambda: LocallyConnected2d(2, 3, 3, (4, 5)), (2, 4, 5)),
    "locally connected transposed": (lambda: LocallyConnectedTranspose2d(4, 2, 3, (6, 5)), (3, 4, 4, 3)),
    "locally connected transposed, all different": (
        lambda: LocallyConnectedTranspose2d(6, 4, (3, 2), (7, 6), (2, 1), (1, 0), (1, 2), groups=2),
        (2, 6, 4, 4),
    ),
    "locally connected transposed same": (
        lambda: LocallyConnectedTranspose2d(3, 2, 2, (4, 5), padding="same", bias=False),
        (2, 3, 4, 5),
    ),
    "locally connected transposed unbatched": (
        lambda: LocallyConnectedTranspose2d(3, 2, 3, (4, 5), stride=2, padding=1),
        (3, 2, 3),
    ),
    "locally connected 1d": (
        lambda: LocallyConnected1d(4, 6, 3, 9, 2, 1, 2, groups=2, padding_mode="circular"),
        (2, 4, 9),
    ),
    "locally connected 1d unbatched": (lambda: LocallyConnected1d(2, 3, 3, 5), (2, 5)),
    "locally connected 3d": (
        lambda: LocallyConnected3d(2, 3, (1, 2, 3), (2, 4, 5), (1, 2, 1), (0, 1, 0), (1, 1, 2)),
        (2, 2, 2, 4, 5),
    ),
    "locally connected transposed 1d": (
        lambda: LocallyConnectedTranspose1d(4, 2, 3, 7, 2, 1, 2, groups=2),
        (2, 4, 3),
    ),
    "locally connected transposed 3d": (
        lambda: LocallyConnectedTranspose3d(2, 3, 2, (2, 3, 4), (1, 2, 1), bias=False),
        (2, 2, 1, 1, 3),
    ),
}
