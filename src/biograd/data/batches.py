"""What training asks of data: batches by number, of which a process loads its own part and no more."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Batches(Protocol):
    """The batches of each epoch, every one a pure function of (seed, epoch, place in the epoch).

    So an epoch that is entered at batch ``start`` gives what one run from its beginning would have given, and
    processes that train together agree on the batches without a word. Nothing says where the examples lie: they
    may be a tensor on the device, or read from files as they are asked for.
    """

    def __len__(self) -> int:
        """Batches an epoch."""
        ...

    def examples(self, number: int) -> int:
        """How many examples the batch of this number has, over all processes."""
        ...

    def epoch(
        self, epoch: int, start: int = 0, *, rank: int = 0, size: int = 1
    ) -> "Iterator[tuple[Any, Tensor]]":
        """The batches of an epoch from number ``start`` on, of each the part of one of several processes.

        The examples of a batch are cut by `cut` before they are loaded, so that a process reads, decodes and
        augments what it trains on. Random changes of an example do not depend on who makes them.

        Args:
            epoch: from 0.
            start: the first batch.
            rank: which of the processes asks.
            size: how many there are.

        Yields:
            Inputs (part, …), or a structure of tensors or `biograd.Inputs`, as the net takes them, and targets
            (part, …) as the loss takes them, both on the device and in memory of their
            own. A part may be empty.
        """
        ...

    def sample(self) -> Any:
        """The first example, not augmented, as a batch of one."""
        ...


def cut(count: int, rank: int, size: int) -> slice:
    """Which of the ``count`` examples of a batch are for one of ``size`` processes.

    Parts are disjoint, in order, and differ by one example at most; with fewer examples than processes the last
    get none.

    Example:
        >>> [cut(5, rank, 2) for rank in (0, 1)]
        [slice(0, 3, None), slice(3, 5, None)]
    """
    least, longer = divmod(count, size)
    first = rank * least + min(rank, longer)
    return slice(first, first + least + (rank < longer))
