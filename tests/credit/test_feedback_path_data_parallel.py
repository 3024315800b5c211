"""A feedback path inside DistributedDataParallel, on two processes of this machine."""

import gc

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import biograd
from biograd.credit.isolation import isolated


def make():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 2)
    ).double()
    return net, torch.randn(6, 1, 4, 4, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)


def gradients(net, rule, x, y, loss_fn=F.mse_loss):
    rule.assign_credit(net, x, y, loss_fn)
    return [parameter.grad for parameter in (*net.parameters(), *rule.parameters())]


def penalised(net):
    """A loss that reads the weights, and on other targets more of them."""
    return lambda output, y: (
        F.mse_loss(output, y) + y.mean() * sum(p.square().sum() for p in net.parameters())
    )


def accumulated(net, rule, x, y):
    """One example without averaging, then the others with it."""
    with net.no_sync():
        gradients(net, rule, x[:1], y[:1])
    return gradients(net, rule, x[1:], y[1:])


def work(rank, rendezvous, results):
    """One of two processes, with half of the batch."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    net, x, y = make()
    half = slice(3 * rank, 3 * rank + 3)
    wrapped = DistributedDataParallel(net)
    for name in ("fa", "kp"):
        wrapped.zero_grad()
        rule = biograd.rules.create(name, wrapped)
        torch.save(gradients(wrapped, rule, x[half], y[half]), f"{results}/{name}-{rank}")
    for name, taught in (("penalised", _with_penalty), ("accumulated", accumulated)):
        wrapped.zero_grad()
        rule = biograd.KolenPollack(wrapped)
        torch.save(taught(wrapped, rule, x[half], y[half]), f"{results}/{name}-{rank}")
        if rank == 0:  # alone, as a measurement may be
            with isolated(wrapped, rule):
                gradients(wrapped, rule, x[half], y[half])
    # The wrapper, which is part of reference cycles, holds the process group; were it collected only while
    # the interpreter shuts down, the group's threads could be caught letting go of a tensor, and abort.
    dist.barrier()
    del wrapped, rule
    gc.collect()
    dist.destroy_process_group()


def _with_penalty(net, rule, x, y):
    return gradients(net, rule, x, y, penalised(net))


def test_two_processes_with_half_a_batch_each_get_the_gradients_of_the_whole(tmp_path):
    arguments = (str(tmp_path / "rendezvous"), str(tmp_path))
    multiprocessing.spawn(work, arguments, nprocs=2)  # pyright: ignore[reportPrivateImportUsage]
    for name in ("fa", "kp"):
        net, x, y = make()
        expected = gradients(net, biograd.rules.create(name, net), x, y)
        for rank in (0, 1):
            got = torch.load(tmp_path / f"{name}-{rank}", weights_only=True)
            assert len(got) == len(expected)
            for a, b in zip(got, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert_the_average(tmp_path, "penalised", _with_penalty)
    assert_the_average(tmp_path, "accumulated", one_and_the_others)


def one_and_the_others(net, rule, x, y):
    gradients(net, rule, x[:1], y[:1])
    return gradients(net, rule, x[1:], y[1:])


def assert_the_average(folder, name, taught):
    """Both processes have the mean of what each would have alone."""
    alone = []
    for rank in (0, 1):
        net, x, y = make()
        half = slice(3 * rank, 3 * rank + 3)
        alone.append(taught(net, biograd.KolenPollack(net), x[half], y[half]))
    for rank in (0, 1):
        got = torch.load(folder / f"{name}-{rank}", weights_only=True)
        for a, one, other in zip(got, *alone, strict=True):
            torch.testing.assert_close(a, (one + other) / 2, rtol=1e-12, atol=1e-12)
