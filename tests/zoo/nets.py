"""Nets as people write them, each with a forward of its own, usable by name: ``tests/zoo/nets.py:Encoder``.

None is an ``nn.Sequential``. A class is made with its defaults, which fit the set of `tests.zoo.data` beside it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Encoder(nn.Module):
    """A transformer encoder of PyTorch's with two layers, over sequences ``(batch, 6, 5)``; three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))


class TransformerLayer(nn.Module):
    """Self-attention and a perceptron, each on a skip, as vision transformers have them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.before(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.project(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.narrow(F.gelu(self.widen(self.between(x))))


class VisionTransformer(nn.Module):
    """Patches, a class token, positions and two layers, over images ``(batch, 1, 8, 8)``; three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 4, stride=4)
        self.token, self.positions = (
            nn.Parameter(torch.randn(1, 1, 8) / 10),
            nn.Parameter(torch.randn(1, 5, 8) / 10),
        )
        self.layers = nn.ModuleList(TransformerLayer(8, heads=2) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).mT
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x[:, 0]))


class Reader(nn.Module):
    """What an LSTM of two layers makes of a sequence, in its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 12, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0][:, -1]


class Recurrent(nn.Module):
    """An LSTM of two layers over sequences ``(batch, 6, 5)``, and a layer behind it; three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.reader, self.hidden, self.head = Reader(), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(self.reader(x))))


class Residual(nn.Module):
    """``tanh(x + conv(tanh(norm(conv(x)))))``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x + self.second(torch.tanh(self.norm(self.first(x)))))


class ResidualConvNet(nn.Module):
    """A stem and two residual units over images ``(batch, 1, 8, 8)``; three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.units = nn.ModuleList([Residual(4), Residual(4)])
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.stem(x))
        for unit in self.units:
            x = unit(x)
        return self.head(x.mean((2, 3)))


class TwoSenses(nn.Module):
    """Takes a dict of an image and numbers, and gives one of logits and of a value."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.numbers = nn.Linear(64, 12), nn.Linear(5, 12)
        self.body, self.logits, self.value = nn.Linear(24, 12), nn.Linear(12, 3), nn.Linear(12, 1)

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        seen = torch.cat([self.image(x["image"].flatten(1)), self.numbers(x["numbers"])], 1)
        h = torch.tanh(self.body(torch.tanh(seen)))
        return {"logits": self.logits(h), "value": self.value(h).squeeze(1)}


class TwoSensesOfATable(nn.Module):
    """`TwoSenses` for a table of numbers ``(batch, 69)`` and its classes: rows in, logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.net = TwoSenses()

    def forward(self, x: Tensor) -> Tensor:
        return self.net({"image": x[:, :64].unflatten(1, (1, 8, 8)), "numbers": x[:, 64:]})["logits"]


class Perceptron(nn.Module):
    """Two hidden layers, with tanh between, in a forward of its own."""

    def __init__(self, features: int, width: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(features, width), nn.Linear(width, width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Regressor(Perceptron):
    """Two numbers of six, ``(batch, 6)``."""

    def __init__(self) -> None:
        super().__init__(6, 16, 2)


class Tagger(Perceptron):
    """Four labels, any of which an example ``(batch, 6)`` may have."""

    def __init__(self) -> None:
        super().__init__(6, 16, 4)


class Bags(nn.Module):
    """The mean of word vectors, and a hidden layer behind it, over texts ``(batch, 7)`` of indices; three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(20, 12, mode="mean")
        self.hidden, self.head = nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(self.words(x))))
