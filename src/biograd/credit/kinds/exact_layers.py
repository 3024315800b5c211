"""Layers whose parameters no error travels back through, or that keep their exact derivative."""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import nn

from biograd.credit.kinds.layer_kind import Exact, LayerKind
from biograd.layers import ClassToken, Positions


def _weighs_a_bag(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether the net computes how much each entry of a bag counts: that error is a product with the table."""
    weighting = kwargs.get("per_sample_weights", args[8] if len(args) > 8 else None)
    return weighting is not None and weighting.requires_grad


EMBEDDINGS = LayerKind(
    types=(nn.Embedding, nn.EmbeddingBag),
    place="opens",
    feedback=Exact(
        functions=(F.embedding, F.embedding_bag),
        nodes=("Embedding", "EmbeddingBag"),
        is_table=True,
        carries=_weighs_a_bag,
    ),
)

NORMALISATIONS = LayerKind(
    types=(nn.LayerNorm, nn.RMSNorm, nn.GroupNorm),
    place="closes",
    is_silent=True,
    feedback=Exact(
        functions=(F.layer_norm, F.rms_norm, F.group_norm), nodes=("NativeLayerNorm", "FusedRmsNorm")
    ),
)

INSTANCE_NORMALISATIONS = LayerKind(
    types=(nn.modules.batchnorm._NormBase,), place="closes", feedback=Exact(functions=(F.instance_norm,))
)

# It takes a unit's mean over the batch away from that unit alone.
BATCH_NORMALISATIONS = LayerKind(
    types=(nn.modules.batchnorm._BatchNorm,),
    place="closes",
    is_unit_by_unit=True,
    feedback=Exact(functions=(F.batch_norm,)),
)

# Their parameters are added to activations, or stand beside them.
TOKENS = LayerKind(types=(ClassToken, Positions), place="closes", is_silent=True, feedback=Exact())

EXACT_LAYERS = [EMBEDDINGS, NORMALISATIONS, INSTANCE_NORMALISATIONS, BATCH_NORMALISATIONS, TOKENS]
