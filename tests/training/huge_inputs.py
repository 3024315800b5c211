"""Three classes of inputs that are finite, and too large to be squared in float32."""

import torch

from biograd.data import Classes, DataSet, Preprocessing, Split


def huge(directory, download, seed) -> DataSet:
    """Normal inputs times 1e30, the first three shifted by class.

    Args:
        directory: not used.
        download: not used.
        seed: draws the inputs.
    """
    y = torch.arange(80) % 3
    x = torch.randn(80, 6, generator=torch.Generator().manual_seed(seed))
    x[:, :3] += 2 * torch.nn.functional.one_hot(y, 3)
    train, test = Split(1e30 * x[:60], y[:60]), Split(1e30 * x[60:], y[60:])
    return DataSet("huge", train, test, Classes(("a", "b", "c")), Preprocessing(mean=(0.0,), std=(1.0,)))
