"""What is said of uses of weights that cannot be taught."""

from collections.abc import Mapping

from torch import Tensor

from biograd.errors import UnsupportedNet, listed


def refusal(found: Mapping[str, str], constants: Mapping[str, str] | None = None) -> str:
    """What is said of weights, vectors and buffers by name, and of constants, each with the function that uses it."""
    named = {repr(name): function for name, function in found.items()}
    uses = [f"{what} is used by {function}" for what, function in {**named, **(constants or {})}.items()]
    names = f"{next(iter(named))}," if len(named) == 1 else listed(list(named))
    ways = [f"name {'it' if len(named) == 1 else 'them'} in exact=({names})"] if named else []
    ways += ["make each constant a buffer of the net and name it in exact=(…)"] if constants else []
    return (
        f"{listed(uses)}, through which errors would travel back exactly; {' and '.join(ways)} to allow that, or use "
        "the rule bp"
    )


COMPUTED_IN_FORWARD = (
    " in a form that the forward computes (in a parametrisation, torch.nn.utils.parametrize, it would have a feedback "
    "weight)"
)


def as_a_layer(table: Tensor) -> str:
    """What is said beside a function that multiplies by a table of embeddings."""
    rows, width = table.shape
    return (
        f" (as the weight of a layer it is taught: head = nn.Linear({width}, {rows}, bias=False), head.weight = "
        "table.weight)"
    )


DIFFERENTIATES = (
    "the net differentiates within its forward, where feedback weights would change the values; "
    "use the rule bp"
)


def unknown_weight(function: str, shape: tuple[int, ...]) -> UnsupportedNet:
    """What is raised for a weight that is no parameter of the net."""
    return UnsupportedNet(
        f"{function} uses a weight of shape {shape} that is no taught parameter of the net (computed from others in "
        "the forward, or a buffer): its parts named in exact=(…) would keep their exact derivative; or compute it in a "
        "parametrisation (torch.nn.utils.parametrize), which has a feedback weight, or use the rule bp"
    )
