"""How a matrix leads from the output of a net to a block: to each place from its own, or from all to all."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from biograd.credit.chain.places import Laid
from biograd.errors import UnsupportedNet

Told = Literal["own", "all"]
"""What a place of a block is told of: its own place in the source, or all of it."""
Matrix = Callable[[Tensor], Tensor]
"""Takes ``(…, outputs)`` to ``(…, units)``."""


@dataclass(frozen=True)
class Way(ABC):
    """Interface: how a matrix tells a block of a source, a tensor in the shape of what another block gives.

    Attributes:
        hidden: how what the block gives is laid out.
        source: how the source is.
    """

    hidden: Laid
    source: Laid

    @property
    @abstractmethod
    def units(self) -> int:
        """How many numbers the matrix gives."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """How many numbers it takes."""

    @abstractmethod
    def examples(self, source: Tensor) -> int:
        """How many examples are averaged where a source has one for each that the matrix takes."""

    @abstractmethod
    def __call__(self, matrix: Matrix, source: Tensor, hidden: Tensor) -> Tensor:
        """A signal in the shape of ``hidden``, what the block gave, for a source of as many examples."""


@dataclass(frozen=True)
class OwnPlace(Way):
    r"""One matrix for all places: each is told of the source at its own place.

    .. math:: s_t = B e_t, \qquad s_t = B e / \sqrt T

    the second where the source has no places, and the block has T.
    """

    @property
    def units(self) -> int:
        """See `Way`."""
        return self.hidden.features

    @property
    def outputs(self) -> int:
        """See `Way`."""
        return self.source.features

    def examples(self, source: Tensor) -> int:
        """See `Way`: a place is an example of its own."""
        return self.source.by_place(source).shape[:-1].numel()

    def __call__(self, matrix: Matrix, source: Tensor, hidden: Tensor) -> Tensor:
        """See `Way`."""
        if source.dim() == hidden.dim() == 2 and (*source.shape[1:], *hidden.shape[1:]) == self._of_vectors:
            return matrix(source)  # what follows comes to that
        e, h = self.source.by_place(source), self.hidden.by_place(hidden)  # (batch, places …, numbers)
        self._require(e, h)
        signal = matrix(e)
        if e.dim() == 2 and h.dim() > 2:
            places = h.shape[1:-1]
            # s_t = B e / √T
            signal = signal / math.sqrt(places.numel())
            signal = signal.view(len(e), *(1,) * len(places), -1).expand(h.shape)
        return self.hidden.as_given(signal) if hidden.dim() > 2 else signal.view(hidden.shape)

    @cached_property
    def _of_vectors(self) -> tuple[int, ...]:
        """How many numbers source and block have, where both may be vectors; empty where not."""
        return () if "absent" in (self.source.axis, self.hidden.axis) else (self.outputs, self.units)

    def _require(self, e: Tensor, h: Tensor) -> None:
        for laid, found, expected in ((self.source, e, self.outputs), (self.hidden, h, self.units)):
            if found.shape[-1] != expected:
                raise UnsupportedNet(
                    f"{laid.what} has {found.shape[-1]} {laid.setting} a place, and {expected} were seen "
                    f"when the rule was made: make it with a sample of this size; {laid.setting}='first' or 'last' "
                    "says which axis holds them"
                )
        if e.dim() > 2 and e.shape[1:-1] != h.shape[1:-1]:
            raise no_place_of_its_own(self.hidden, h.shape[1:-1], e.shape[1:-1])


@dataclass(frozen=True)
class AllPlaces(Way):
    """A weight from every number of the source to every unit of the block."""

    @property
    def units(self) -> int:
        """See `Way`."""
        return self.hidden.shape.numel()

    @property
    def outputs(self) -> int:
        """See `Way`."""
        return self.source.shape.numel()

    def examples(self, source: Tensor) -> int:
        """See `Way`."""
        return len(source)

    def __call__(self, matrix: Matrix, source: Tensor, hidden: Tensor) -> Tensor:
        """See `Way`."""
        e = _flat(source, self)
        if hidden.numel() != len(hidden) * self.units:
            raise UnsupportedNet(
                f"{self.hidden.what} is {tuple(hidden.shape[1:])}, {self.units} units were seen when the rule was "
                "made: make it with a sample of this size, or with places='own', which takes any (of dfa and drtp "
                "form='tiled' too)"
            )
        return matrix(e).view(hidden.shape)


@dataclass(frozen=True)
class Tiling(Way):
    """A weight from every number of the source to every feature of the block, the same at all its places."""

    @property
    def units(self) -> int:
        """See `Way`."""
        return self.hidden.features

    @property
    def outputs(self) -> int:
        """See `Way`."""
        return self.source.shape.numel()

    def examples(self, source: Tensor) -> int:
        """See `Way`."""
        return len(source)

    def __call__(self, matrix: Matrix, source: Tensor, hidden: Tensor) -> Tensor:
        """See `Way`."""
        signal, h = matrix(_flat(source, self)), self.hidden.by_place(hidden)
        signal = signal.view(len(signal), *(1,) * (h.dim() - 2), -1)
        return self.hidden.as_given(signal.expand(h.shape))


def way_to(hidden: Laid, source: Laid, places: Told | None, *, is_tiled: bool = False) -> Way:
    """How a matrix leads from a source to a block.

    A block that has no places in the sample is told of all that a source with places says.

    Args:
        hidden: how what the block gives is laid out.
        source: how the source is.
        places: what a place is told of: ``own``, ``all``, or the first where features are last and else the second.
        is_tiled: whether all places of a block are told the same where they are not told of their own.

    Raises:
        UnsupportedNet: which axis holds features is not known, or places have none of their own in the source.
    """
    if hidden.has_places and (places != "all" or is_tiled):
        hidden.require_axis()
    if places == "all" or (places is None and hidden.axis == "first" and hidden.has_places):
        return Tiling(hidden, source) if is_tiled else AllPlaces(hidden, source)
    if source.has_places and not hidden.has_places:
        return AllPlaces(hidden, source)
    if source.has_places:
        source.require_axis()
        if source.places != hidden.places:
            raise no_place_of_its_own(hidden, hidden.places, source.places)
    return OwnPlace(hidden, source)


def no_place_of_its_own(hidden: Laid, here: torch.Size, there: torch.Size) -> UnsupportedNet:
    """What is raised where a block and a source have other places."""
    return UnsupportedNet(
        f"{hidden.what} has the places {tuple(here)} and what it is told of {tuple(there)}, so that none has "
        "its own there: places='all' with a sample tells each of all, for inputs of the sample's size"
    )


def _flat(source: Tensor, way: Way) -> Tensor:
    """A source as ``(batch, numbers)``."""
    if source.numel() != len(source) * way.outputs:
        raise UnsupportedNet(
            f"{way.source.what} is {tuple(source.shape[1:])}, {way.outputs} numbers were seen when the rule was made: "
            "make it with a sample of this size, or with places='own', which takes any"
        )
    return source if source.dim() == 2 else source.reshape(len(source), -1)
