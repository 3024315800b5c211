"""The mean and standard deviation of a training part, for sets that have no published ones."""

import torch
from torch import Tensor

from biograd.data.dataset import Preprocessing


def standardisation(inputs: Tensor) -> Preprocessing:
    """Mean 0 and standard deviation 1 on a training part, channel by channel; constant channels are only centred.

    Args:
        inputs: (n, channels, …), or (n,) of one channel, float32, or bytes, whose statistics are those of [0, 1].
    """
    channels = inputs.unsqueeze(1) if inputs.ndim == 1 else inputs
    mean, std = _of_bytes(channels) if inputs.dtype == torch.uint8 else _of_numbers(channels)
    std[std == 0] = 1.0
    return Preprocessing(tuple(mean.tolist()), tuple(std.tolist()))


def _of_numbers(inputs: Tensor) -> tuple[Tensor, Tensor]:
    channels = inputs.double().transpose(0, 1).flatten(1)  # (channels, n · …)
    return channels.mean(1), channels.std(1, correction=0)


def _of_bytes(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """From how often each of the 256 values occurs, without a copy of the set as numbers."""
    values = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.stack(
        [torch.bincount(inputs[:, channel].flatten(), minlength=256) for channel in range(inputs.shape[1])]
    )
    shares = counts.double() / counts.sum(1, keepdim=True)  # (channels, 256)
    mean = shares @ values
    return mean, ((shares * (values - mean.unsqueeze(1)) ** 2).sum(1)).sqrt()
