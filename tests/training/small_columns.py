"""Examples of several columns, and nets that take them as a dict or by keyword."""

import torch
from torch import nn
from torch.utils.data import Dataset

N = 40
_DRAWN = torch.Generator().manual_seed(0)
Y = torch.arange(N) % 3
WORDS = torch.randint(0, 9, (N, 4), generator=_DRAWN)
TABLE = torch.randn(N, 5, generator=_DRAWN) + Y.unsqueeze(1)
pair = ({"words": WORDS, "table": TABLE}, Y)
whole = (torch.cat([WORDS, TABLE], 1), Y)


class Items(Dataset):
    """Mappings, of which inputs and target have to be named."""

    def __len__(self):
        return N

    def __getitem__(self, place):
        return {"number": place, "words": WORDS[place], "table": TABLE[place], "class": int(Y[place])}


items = Items()


class ByKeyword(nn.Module):
    """A bag of words beside a table, each an argument."""

    def __init__(self, input_shape, outputs):
        super().__init__()
        assert input_shape == {"words": (4,), "table": (5,)}
        self.words, self.table = nn.Embedding(9, 6), nn.Linear(5, 6)
        self.head = nn.Linear(12, outputs)

    def forward(self, words, table):
        return self.head(torch.cat([self.words(words).mean(1), self.table(table).tanh()], 1))


class OfADict(ByKeyword):
    """The same of one argument."""

    def forward(self, x):
        return super().forward(**x)


class Forgetful(ByKeyword):
    """One that is given too much."""

    def forward(self, words):
        return self.head(self.words(words).mean(1).repeat(1, 2))
