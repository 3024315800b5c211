"""The names of cut points: modules of any net whose outputs end blocks, and what to propose where none are named."""

import difflib
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from biograd.errors import UserMistake, listed

MOST_PROPOSED = 12
"""How many cut points a proposal lists; a net of more wide-spread parts gets the first of them."""


def named_modules(net: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Module]:
    """The modules that names and patterns stand for, in the order of the net.

    Args:
        net: any net, without wrappers.
        patterns: names as in ``net.named_modules()``, in any order; ``*`` stands for any text within one of its parts,
            so that ``layers.*`` is every layer and nothing inside one.

    Raises:
        UserMistake: a pattern stands for nothing, there is but one module, or one lies inside another.

    Example:
        >>> net = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), nn.Linear(2, 1))
        >>> list(named_modules(net, ["0.*", "1"]))
        ['0.0', '0.1', '1']
    """
    modules = dict(net.named_modules())
    modules.pop("", None)
    for pattern in patterns:
        if not any(_fits(name, pattern) for name in modules):
            raise UserMistake(_no_such_module(pattern, list(modules)))
    found = {name: m for name, m in modules.items() if any(_fits(name, pattern) for pattern in patterns)}
    for name in found:
        around = next((other for other in found if name.startswith(f"{other}.")), None)
        if around is not None:
            raise UserMistake(
                f"blocks names {name!r}, which lies inside {around!r}, named too: leave one of them out"
            )
    if len(found) < 2:
        raise UserMistake(
            f"blocks names one module, {next(iter(found))!r}, and needs two at least, of which the last gives the "
            f"net's output: {_offered(net)}"
        )
    return found


def proposed(net: nn.Module) -> list[str]:
    """Cut points for a net: its parts that hold weights, and of lists of parts every member.

    Example:
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.embed = nn.Linear(2, 2)
        ...         self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
        ...         self.head = nn.Linear(2, 1)
        >>> proposed(Net())
        ['embed', 'layers.*', 'head']
    """
    found = []
    for name, child in net.named_children():
        if not any(parameter.dim() >= 2 for parameter in child.parameters()):
            continue
        members = [part for part in child.children() if any(p.dim() >= 2 for p in part.parameters())]
        is_list = isinstance(child, nn.ModuleList) or (
            type(child).forward is nn.Sequential.forward and len(members) > 1
        )
        found.append(f"{name}.*" if is_list and len(members) == len(list(child.children())) else name)
    if len(found) == 1 and not found[0].endswith(".*"):  # a wrapper around the net proper
        (name,) = found
        return [f"{name}.{inner}" for inner in proposed(net.get_submodule(name))]
    return found


def proposal(net: nn.Module) -> str:
    """What a refusal says of cut points; empty where the net has no two parts to name."""
    found = proposed(net)
    if len(found) < 2 and not any("*" in name for name in found):
        return ""
    names = ", ".join(f'"{name}"' for name in found[:MOST_PROPOSED])
    flags = ",".join(found[:MOST_PROPOSED])
    more = ", …" if len(found) > MOST_PROPOSED else ""
    return f"name cut points, blocks=[{names}{more}] (--rule.blocks {flags}{',…' if more else ''})"


def _offered(net: nn.Module) -> str:
    return proposal(net) or "use a rule for any net"


def _fits(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _no_such_module(pattern: str, names: list[str]) -> str:
    lists = dict.fromkeys(re.sub(r"\.\d+$", ".*", name) for name in names if re.search(r"\.\d+$", name))
    near = difflib.get_close_matches(pattern, [*lists, *names], n=3, cutoff=0.4)
    said = ", ".join(map(repr, near)) if near else listed([repr(name) for name in names], 8)
    return (
        f"blocks names {pattern!r}, and no module of the net is called so: the nearest are {said}; * stands for any "
        "text within one part of a name"
    )
