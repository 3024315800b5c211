from pathlib import Path

import pytest

MINE = '''
import errno
from pathlib import Path
from typing import Annotated

from annotated_types import Gt
from torch import nn
from torch.utils.checkpoint import checkpoint

from biograd import Credit, Rule


def net(input_shape: tuple[int, ...], outputs: int, *, width: Annotated[int, Gt(0)] = 16) -> nn.Module:
    """One hidden layer."""
    features = 1
    for length in input_shape:
        features *= length
    return nn.Sequential(nn.Flatten(), nn.Linear(features, width), nn.Tanh(), nn.Linear(width, outputs))


class Scaled(Rule):
    """Backpropagation times a number."""

    def __init__(self, net: nn.Module, sample=None, *, factor: Annotated[float, Gt(0)] = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def assign_credit(self, net, x, y, loss_fn):
        output = net(x)
        loss = loss_fn(output, y)
        (self.factor * loss).backward()
        return Credit(loss.detach(), output.detach())


class Stopped(Scaled):
    """Stops at its 20th call if there is a file called stop, in the way that it names."""

    calls = 0

    def assign_credit(self, net, x, y, loss_fn):
        Stopped.calls += 1
        if Stopped.calls == 20 and Path("stop").exists():
            raise {"interrupt": KeyboardInterrupt(), "full": OSError(errno.ENOSPC, "No space left on device")}[
                Path("stop").read_text()
            ]
        return super().assign_credit(net, x, y, loss_fn)


class Unread(Scaled):
    def __init__(self, net, sample=None, *, noise: "Imported" = None) -> None:  # noqa: F821  for type checkers alone
        super().__init__(net, sample)


class Recurrent(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.cells = nn.LSTM(input_shape[-1], 8, batch_first=True)
        self.readout = nn.Linear(8, outputs)

    def forward(self, x):
        return self.readout(self.cells(x.reshape(len(x), -1, x.shape[-1]))[0][:, -1])


class Scores(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.score = nn.Bilinear(input_shape[-1], input_shape[-1], outputs)

    def forward(self, x):
        return self.score(x, x)


class Checkpointed(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.hidden = nn.Linear(input_shape[-1], 8)
        self.readout = nn.Linear(8, outputs)

    def forward(self, x):
        return self.readout(checkpoint(self.hidden, x, use_reentrant=False))
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder without any data directory, except for the file ``mine.py``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIOGRAD_DATA", raising=False)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path
