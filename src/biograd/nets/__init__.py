"""Ordinary modules by short name; they know nothing of learning rules."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from biograd.registry import Registry
from biograd.settings import validate

if TYPE_CHECKING:
    from torch import nn

REGISTRY = Registry(
    "net",
    {
        "mlp": "biograd.nets.mlp:mlp",
        "ff-mlp": "biograd.nets.ff_mlp:ff_mlp",
        "square": "biograd.nets.square:square",
        "tower": "biograd.nets.square:tower",
        "lenet": "biograd.nets.lenet:lenet",
        "convnet": "biograd.nets.convnet:convnet",
        "vgg11": "biograd.nets.vgg:vgg11",
        "resnet20": "biograd.nets.resnet:resnet20",
        "resnet56": "biograd.nets.resnet:resnet56",
        "resnet18": "biograd.nets.resnet:resnet18",
        "vit": "biograd.nets.vit:vit",
        "gpt": "biograd.nets.gpt:gpt",
        "bartunov-mnist-fc": "biograd.nets.bartunov2018:mnist_fc",
        "bartunov-mnist-lc": "biograd.nets.bartunov2018:mnist_lc",
        "bartunov-mnist-conv": "biograd.nets.bartunov2018:mnist_conv",
        "bartunov-cifar-fc": "biograd.nets.bartunov2018:cifar_fc",
        "bartunov-cifar-lc": "biograd.nets.bartunov2018:cifar_lc",
        "bartunov-cifar-conv": "biograd.nets.bartunov2018:cifar_conv",
        "bartunov-imagenet-lc": "biograd.nets.bartunov2018:imagenet_lc",
        "bartunov-imagenet-conv": "biograd.nets.bartunov2018:imagenet_conv",
        "two-layer": "biograd.nets.two_layer:two_layer",
        "softhebb-mlp": "biograd.nets.softhebb:mlp",
        "softhebb-cnn": "biograd.nets.softhebb:cnn",
        "gait-cifar-deep": "biograd.nets.gait_prop:cifar_deep",
        "gait-cifar-shallow": "biograd.nets.gait_prop:cifar_shallow",
        "gait-imagenet": "biograd.nets.gait_prop:imagenet",
    },
    group="biograd.nets",
    adapter="biograd.nets.own:constructor",
    expected="a torch.nn.Module, or a class or function that makes one",
)


_AT_MATRICES = ("embed", "layers.*.*.qkv", "layers.*.*.out", "layers.*.*.up", "layers.*.*.down", "head")
_AT_SUBLAYERS = ("embed", "layers.*.*", "head")
_CUT = ("vit", "gpt")


def cut_points(name: str, *, in_sequence: bool = False) -> tuple[str, ...]:
    """Where a net whose parts hold several matrices can be cut; empty for other nets.

    A run cuts there under rules that teach block by block, unless it is told otherwise.

    Args:
        name: of the net.
        in_sequence: whether each block must read the one before it alone, as rules need that send targets: then blocks
            are sublayers, with their skips, else every matrix is one.

    Example:
        >>> cut_points("gpt")[:2], cut_points("gpt", in_sequence=True), cut_points("mlp")
        (('embed', 'layers.*.*.qkv'), ('embed', 'layers.*.*', 'head'), ())
    """
    if name not in _CUT:
        return ()
    return _AT_SUBLAYERS if in_sequence else _AT_MATRICES


def names() -> list[str]:
    """The short names of every net, third-party ones included."""
    return REGISTRY.names()


def create(
    name: "str | Callable[..., nn.Module]",
    input_shape: Any,
    outputs: int,
    *,
    seed: int | None = None,
    **settings: Any,
) -> "nn.Module":
    """Make a net by its short name.

    Args:
        name: one of `names()`, ``path/to/file.py:Name``, or itself a callable ``Name(input_shape, outputs, *, …)``.
        input_shape: shape of one example, ``(features,)`` or ``(channels, height, width)``; of columns, which a net of
            your own may take, a dict of the shapes by name.
        outputs: number of output units.
        seed: draws the initial weights from a generator state of its own and leaves the global one
            as it was; None draws from the global one.
        **settings: the keyword-only parameters of the net.

    Raises:
        UserMistake: an unknown name, a bad setting, or an input shape that the net cannot take.
    """
    constructor = REGISTRY.find(name)
    checked = validate(constructor, settings, REGISTRY.called(name))
    if seed is None:
        return constructor(input_shape, outputs, **checked)
    with _seeded(seed):
        return constructor(input_shape, outputs, **checked)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators that a net is drawn from, and put them back after.

    Only the default device's: forking every GPU's would open a context on each.
    """
    import torch

    device = torch.get_default_device()
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
