"""``biograd nets``: which nets there are, and the settings and size of one."""

import argparse
from typing import Any

from biograd.cli.exits import DONE
from biograd.cli.output import columns, print_json
from biograd.cli.parsing import add_command


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "nets",
        run,
        "what nets there are; with a name: its settings, defaults, ranges and number of parameters",
        "examples:\n  biograd nets\n  biograd nets mlp\n  biograd nets my_net.py:MyNet",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a net; without one, all are listed")


def run(arguments: argparse.Namespace) -> int:
    """List the nets, or describe one."""
    from biograd import nets
    from biograd.cli import describe

    if arguments.name is not None:
        return _describe(arguments.name, arguments.json)
    summaries = describe.summaries(nets.REGISTRY)
    if arguments.json:
        print_json({"nets": [{"name": name, "summary": line} for name, line in summaries.items()]})
    else:
        print(columns(list(summaries.items())))
        print("\nbiograd nets NAME shows the settings and the size of one.")
    return DONE


_NATURAL_INPUTS = {
    "mnist": ((1, 28, 28), 10),
    "cifar10": ((3, 32, 32), 10),
    "imagenet": ((3, 224, 224), 1000),
    "unicode-names": ((64,), 39),
}
_MADE_FOR = {
    "convnet": "cifar10",
    "vgg11": "cifar10",
    "resnet20": "cifar10",
    "resnet56": "cifar10",
    "resnet18": "imagenet",
    "vit": "cifar10",
    "gpt": "unicode-names",
}


def _describe(name: str, as_json: bool) -> int:
    from biograd import nets
    from biograd.cli import describe
    from biograd.training.user_code import require_net

    constructor = nets.REGISTRY.find(name)
    require_net(name, constructor)
    sizes = _parameters(name)
    if as_json:
        print_json({**describe.row(name, constructor), "parameters": sizes})
        return DONE
    print(describe.text("net", name, constructor))
    for data, parameters in sizes.items():
        print(f"\n{parameters:,} parameters with its defaults on {data}")
    return DONE


def _parameters(name: str) -> dict[str, int]:
    """Number of trainable parameters on the data that a net is made for, or else on the first it takes."""
    import torch

    from biograd import nets

    for data in _data_for(name):
        shape, outputs = _NATURAL_INPUTS[data]
        try:
            with torch.device("meta"):  # counts without allocating
                net = nets.create(name, shape, outputs)
                return {data: sum(p.numel() for p in net.parameters() if p.requires_grad)}
        except Exception:  # whatever a net of the user's own raises at a shape that it was not made for
            continue
    return {}


def _data_for(name: str) -> list[str]:
    made_for = _MADE_FOR.get(name) or next(
        (data for data in ("mnist", "cifar10", "imagenet") if data.removesuffix("10") in name), None
    )
    return [made_for] if made_for else list(_NATURAL_INPUTS)
