"""Nets with the habits of real ones: shared layers, ties, skips, in-place operations, normalisation, attention."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biograd.layers import LocallyConnected2d


class Residual(nn.Module):
    """Two convolutions around which the input is added in place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.relu(self.norm(self.first(x))))
        y += x
        return self.relu(y)


class Shared(nn.Module):
    """One layer used three times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.tanh(self.layer(x))
        return x


class TiedEmbedding(nn.Module):
    """Tokens in, scores of tokens out, through one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.hidden = nn.Linear(4, 4)
        self.output = nn.Linear(4, 7, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.output(torch.tanh(self.hidden(self.embedding(tokens))))


class Attention(nn.Module):
    """One head made of linear layers, with products between activations, and a learned position."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(5, 4))
        self.query, self.key, self.value = (nn.Linear(4, 4) for _ in range(3))
        self.norm = nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x) + self.position  # (batch, 5, 4)
        scores = self.query(x) @ self.key(x).transpose(1, 2)
        return (
            x
            + F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))
            + scores.softmax(2) @ x
        )


class Transformer(nn.Module):
    """PyTorch's own encoder layer behind a class token and a matrix that stands in no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.W = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(4, 4))
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), x @ self.W], 1)  # (batch, 1 + 5, 4)
        return F.linear(self.layer(x)[:, 0], self.W.t())


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))


def inplace_mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)
    )


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, groups=2, padding="same"),
        nn.GroupNorm(2, 4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(4 * 3 * 3, 3),
    )


def residual() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), Residual(4), Residual(4), nn.Flatten(), nn.Linear(64, 3))


def locally_connected() -> nn.Module:
    return nn.Sequential(
        LocallyConnected2d(2, 3, 3, (6, 6), stride=2, padding=1),
        nn.Tanh(),
        LocallyConnected2d(3, 2, 2, (3, 3)),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def decoder() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 8),
        nn.ReLU(),
        nn.Unflatten(1, (2, 2, 2)),
        nn.ConvTranspose2d(2, 3, 3, stride=2, output_padding=1),
    )


NETS = {
    "mlp": (mlp, (4, 5)),
    "mlp with in-place ReLU": (inplace_mlp, (4, 5)),
    "convolutional": (convolutional, (4, 2, 6, 6)),
    "residual": (residual, (4, 2, 6, 6)),
    "locally connected": (locally_connected, (4, 2, 6, 6)),
    "transposed": (decoder, (4, 5)),
    "shared": (Shared, (4, 4)),
    "attention of linear layers": (Attention, (4, 5, 4)),
    "transformer": (Transformer, (4, 5, 4)),
}


def make(name: str, dtype: torch.dtype = torch.float64) -> tuple[Any, Tensor]:
    """A net and a batch of inputs, the same every time."""
    factory, shape = NETS[name]
    torch.manual_seed(3)
    return factory().to(dtype), torch.randn(shape, dtype=dtype)
