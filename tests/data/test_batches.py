"""A batch is cut among processes before anything of it is loaded."""

import pytest

from biograd.data import cut


@pytest.mark.parametrize(("size", "examples"), [(1, 5), (2, 5), (3, 7), (4, 3), (3, 0)])
def test_parts_are_disjoint_in_order_and_even(size, examples):
    parts = [range(examples)[cut(examples, rank, size)] for rank in range(size)]
    assert [place for part in parts for place in part] == list(range(examples))
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1
    assert lengths == sorted(lengths, reverse=True)  # the last get none where there are too few
