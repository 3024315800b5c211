"""What is taught in the zoo: each net with its data, its loss and its cut points; and the rules."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from biograd.data import DataSet
from tests.zoo import data, nets

RULES = (
    *("bp", "fa", "usf", "brsf", "frsf", "kp", "wm", "dfa", "drtp", "dtp", "sdtp"),
    *("gait-prop", "stdp-association", "shallow", "frozen"),
)


@dataclass(frozen=True)
class Animal:
    """A net to be taught.

    Attributes:
        net: makes it.
        said: what it is, in a few words.
        data: its set.
        blocks: its cut points, for rules that teach block by block.
        loss_fn: of its output.
        taken: what the net and the loss are given, made of a tensor of inputs and one of targets.
        of_a_table: the same net behind one tensor in and one out, as the command line needs it, and its cut points;
            None where it is so.
    """

    net: type[nn.Module]
    said: str
    data: Callable[[int], DataSet]
    blocks: tuple[str, ...]
    loss_fn: Callable[[Any, Any], Tensor] = F.cross_entropy
    taken: Callable[[Tensor, Tensor], tuple[Any, Any]] = lambda x, y: (x, y)
    of_a_table: tuple[type[nn.Module], tuple[str, ...]] | None = None

    @property
    def by_command(self) -> tuple[str, tuple[str, ...]]:
        """The name of the net that the command line trains, and its cut points."""
        if self.of_a_table is None:
            return self.name, self.blocks
        net, blocks = self.of_a_table
        return net.__name__, blocks

    @property
    def name(self) -> str:
        """That of the net's class."""
        return self.net.__name__


def _senses(x: Tensor, y: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    image, beside = x[:, :64].unflatten(1, (1, 8, 8)), x[:, 64:]
    return {"image": image, "numbers": beside}, {"class": y, "value": image.mean((1, 2, 3))}


def _of_both(output: dict[str, Tensor], y: dict[str, Tensor]) -> Tensor:
    return F.cross_entropy(output["logits"], y["class"]) + F.mse_loss(output["value"], y["value"])


ANIMALS = (
    Animal(
        nets.Encoder,
        "`nn.TransformerEncoder` of two layers",
        data.sequences,
        ("embed", "encoder.layers.*", "head"),
    ),
    Animal(
        nets.VisionTransformer,
        "a class token, positions, attention by hand",
        data.images,
        ("patches", "layers.*", "head"),
    ),
    Animal(nets.Recurrent, "`nn.LSTM` of two layers", data.sequences, ("reader", "hidden", "head")),
    Animal(
        nets.ResidualConvNet, "convolutions with skips around them", data.images, ("stem", "units.*", "head")
    ),
    Animal(
        nets.TwoSenses,
        "a dict of inputs, a dict of outputs",
        data.table,
        ("image", "numbers", "body", "logits", "value"),
        _of_both,
        _senses,
        of_a_table=(nets.TwoSensesOfATable, ("net.image", "net.numbers", "net.body", "net.logits")),
    ),
    Animal(
        nets.Regressor,
        "numbers in place of classes",
        data.numbers,
        ("first", "second", "head"),
        F.mse_loss,
    ),
    Animal(
        nets.Tagger,
        "several labels an example",
        data.tags,
        ("first", "second", "head"),
        F.binary_cross_entropy_with_logits,
    ),
    Animal(nets.Bags, "`nn.EmbeddingBag` over words", data.texts, ("words", "hidden", "head")),
)
