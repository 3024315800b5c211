"""What follows the weights of a data-parallel net is averaged as the net's own gradients are."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from biograd.credit.wrappers import data_parallel


@torch.no_grad()
def average_beside(net: nn.Module, followers: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Average the gradients of followers over processes where the net is wrapped to have its own averaged.

    Args:
        net: of this call, whose backward is over; within ``no_sync()`` nothing is averaged yet.
        followers: each taught weight and what follows it.
    """
    wrapper = data_parallel(net)
    if wrapper is None or not wrapper.require_backward_grad_sync:
        return
    for weight, follower in followers:
        if weight.grad is not None and follower.requires_grad:  # so in all processes, or in none
            share = torch.zeros_like(follower) if follower.grad is None else follower.grad
            follower.grad = share.div_(dist.get_world_size(wrapper.process_group))
            dist.all_reduce(follower.grad, group=wrapper.process_group)
