"""Layers that PyTorch lacks; ordinary modules, which know nothing of learning rules."""

from biograd.layers.first_units import FirstUnits
from biograd.layers.invertible_convolution import InvertibleConv2d
from biograd.layers.label_places import LabelPlaces
from biograd.layers.length_norm import LengthNorm
from biograd.layers.local.function import (
    locally_connected1d,
    locally_connected2d,
    locally_connected3d,
    locally_connected_backward,
)
from biograd.layers.local.geometry import Geometry
from biograd.layers.local.locally_connected import (
    LocallyConnected,
    LocallyConnected1d,
    LocallyConnected2d,
    LocallyConnected3d,
)
from biograd.layers.local.locally_connected_transpose import (
    LocallyConnectedTranspose,
    LocallyConnectedTranspose1d,
    LocallyConnectedTranspose2d,
    LocallyConnectedTranspose3d,
)
from biograd.layers.local.transpose_function import (
    locally_connected_transpose1d,
    locally_connected_transpose2d,
    locally_connected_transpose3d,
    locally_connected_transpose_backward,
)
from biograd.layers.scale import Scale
from biograd.layers.tokens import ClassToken, Positions
from biograd.layers.triangle import Triangle

__all__ = [
    "ClassToken",
    "FirstUnits",
    "Geometry",
    "InvertibleConv2d",
    "LabelPlaces",
    "LengthNorm",
    "LocallyConnected",
    "LocallyConnected1d",
    "LocallyConnected2d",
    "LocallyConnected3d",
    "LocallyConnectedTranspose",
    "LocallyConnectedTranspose1d",
    "LocallyConnectedTranspose2d",
    "LocallyConnectedTranspose3d",
    "Positions",
    "Scale",
    "Triangle",
    "locally_connected1d",
    "locally_connected2d",
    "locally_connected3d",
    "locally_connected_backward",
    "locally_connected_transpose1d",
    "locally_connected_transpose2d",
    "locally_connected_transpose3d",
    "locally_connected_transpose_backward",
]
