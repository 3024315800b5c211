import torch
from torch import nn

from biograd.credit.back.making import OneUnit


def test_a_decoder_that_was_looked_at_in_a_call_serves_batches_of_its_kind_alone():
    decoder, one, looked = nn.Sequential(nn.Linear(3, 4), nn.Tanh()), OneUnit(), {}
    unit = one.of(decoder, torch.ones(2, 3), looked)
    assert unit is not None
    assert one.of(decoder, torch.ones(5, 3), looked) is unit
    assert one.of(decoder, torch.ones(2, 3, dtype=torch.float64), looked) is None
    assert one.of(decoder, torch.ones(3), looked) is None


def test_the_next_call_looks_again():
    decoder, one = nn.Sequential(nn.Linear(3, 4), nn.Tanh()), OneUnit()
    assert one.of(decoder, torch.ones(2, 3), {}) is not None
    decoder[0].register_forward_hook(lambda layer, x, y: None)
    assert one.of(decoder, torch.ones(2, 3), {}) is None
