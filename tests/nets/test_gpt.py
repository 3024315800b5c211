import pytest
import torch

from biograd.errors import UserMistake
from biograd.nets.gpt import gpt


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return gpt((8,), 5, width=8, heads=2, depth=2)


def test_a_token_sees_those_before_it_and_itself_alone(net):
    x = torch.randint(5, (1, 8), generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[0, 5] = (x[0, 5] + 1) % 5
    changed = (net(x) != net(other)).any(-1)[0]
    assert changed.tolist() == [False] * 5 + [True] * 3


def test_what_a_shorter_sequence_gives_is_what_it_gives_as_a_beginning(net):
    x = torch.randint(5, (2, 8), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net(x[:, :3]), net(x)[:, :3])


def test_a_tied_readout_is_the_table_itself():
    tied, untied = (gpt((8,), 5, width=8, heads=2, depth=1, tied=tied) for tied in (True, False))
    assert tied.head.linear.weight is tied.embed.table.weight
    counts = [sum(p.numel() for p in net.parameters()) for net in (tied, untied)]
    assert counts[1] - counts[0] == 5 * 8


@pytest.mark.parametrize(
    ("shape", "settings", "words"),
    [
        ((3, 8, 8), {}, r"gpt takes sequences .* got \(3, 8, 8\)"),
        ((8,), {"heads": 3}, "3 heads cannot share"),
    ],
)
def test_what_does_not_fit_is_refused(shape, settings, words):
    with pytest.raises(UserMistake, match=words):
        gpt(shape, 10, **settings)
