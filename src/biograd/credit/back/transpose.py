"""The decoder that can be a block's transposed Jacobian: its nonlinearity first, then its layers transposed."""

from dataclasses import replace

from torch import nn

from biograd.credit.back.decoders import Site
from biograd.credit.back.mirror import mirrored, or_mlp, own_nonlinearity
from biograd.credit.chain.blocks import Block


def transpose(site: Site) -> nn.Sequential:
    r"""The layers of a block transposed and in reverse, behind its own nonlinearity: :math:`G(h) = V \varphi(h)`.

    Its derivative :math:`V\,\mathrm{diag}(\varphi'(h))` has the form of the transposed derivative of the block
    :math:`h = \varphi(W x + b)`, which is :math:`W^\top \mathrm{diag}(\varphi')`, except that φ' is read at h instead
    of before it. There are no biases, since they cancel in differences. Otherwise as
    `biograd.credit.back.mirror.mirror`.

    Args:
        site: where.

    Raises:
        UnsupportedNet: a block of a chain that has no mirror, such as a residual unit.
    """
    return transposed(site) if not site.is_named else or_mlp(transposed, site)


def transposed(site: Site) -> nn.Sequential:
    """The layers of a block transposed; see `transpose`.

    Raises:
        UnsupportedNet: a block that has no mirror.
    """
    # without a nonlinearity, in which the mirror would end
    plain = Block(site.below.name, (site.below.opening,), site.below.opening)
    layers = mirrored(replace(site, below=plain))
    for layer in layers:
        if isinstance(getattr(layer, "bias", None), nn.Parameter):
            layer.register_parameter("bias", None)
    return nn.Sequential(*filter(None, [own_nonlinearity(site.block)]), *layers)
