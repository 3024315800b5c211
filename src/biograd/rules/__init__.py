"""Learning rules: one file a rule, each named as its paper names it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from biograd.errors import UserMistake
from biograd.registry import Registry
from biograd.settings import validate

if TYPE_CHECKING:
    import torch

    from biograd.rules.base import Rule

REGISTRY = Registry(
    "rule",
    {
        "bp": "biograd.rules.backpropagation:Backpropagation",
        "fa": "biograd.rules.feedback_alignment:FeedbackAlignment",
        "dfa": "biograd.rules.direct_feedback_alignment:DirectFeedbackAlignment",
        "usf": "biograd.rules.sign_concordant:UniformSignConcordant",
        "brsf": "biograd.rules.sign_concordant:BatchwiseRandomSignConcordant",
        "frsf": "biograd.rules.sign_concordant:FixedRandomSignConcordant",
        "kp": "biograd.rules.kolen_pollack:KolenPollack",
        "wm": "biograd.rules.weight_mirror:WeightMirror",
        "drtp": "biograd.rules.direct_random_target_projection:DirectRandomTargetProjection",
        "tp": "biograd.rules.target_propagation:TargetPropagation",
        "itp": "biograd.rules.incremental_target_propagation:IncrementalTargetPropagation",
        "gait-prop": "biograd.rules.gait_prop:GaitProp",
        "dtp": "biograd.rules.difference_target_propagation:DifferenceTargetPropagation",
        "sdtp": (
            "biograd.rules.simplified_difference_target_propagation:SimplifiedDifferenceTargetPropagation"
        ),
        "ao-sdtp": "biograd.rules.auxiliary_output_sdtp:AuxiliaryOutputSDTP",
        "drl": "biograd.rules.difference_reconstruction:DifferenceReconstruction",
        "ddtp-linear": "biograd.rules.direct_difference_target_propagation:DirectDifferenceTargetPropagation",
        "l-drl": "biograd.rules.local_difference_reconstruction:LocalDifferenceReconstruction",
        "stdp-association": "biograd.rules.stdp_association:StdpAssociation",
        "softhebb": "biograd.rules.softhebb:SoftHebb",
        "forward-forward": "biograd.rules.forward_forward:ForwardForward",
        "pepita": "biograd.rules.pepita:Pepita",
        "frozen": "biograd.rules.frozen:Frozen",
        "shallow": "biograd.rules.shallow:Shallow",
    },
    group="biograd.rules",
)


def names() -> list[str]:
    """The short names of every rule, third-party ones included."""
    return REGISTRY.names()


def declared(name: str) -> dict[str, Any]:
    """What a rule says of itself, by the names of the class attributes of `biograd.Rule`.

    Args:
        name: one of `names()`, or ``path/to/file.py:ClassName``.

    Returns:
        The values by name; of a function that makes rules nothing is known, and all are None but what training it
        brings along, which is empty.

    Example:
        >>> declared("drtp")["waits_for"], declared("kp")["error_weights"], declared("drl")["forward_passes"]
        ('label', 'learned', 'depth')
    """
    from biograd.rules.base import Rule

    constructor = REGISTRY.find(name)
    if isinstance(constructor, type) and issubclass(constructor, Rule):
        return {key: getattr(constructor, key) for key in _DECLARED}
    known = {"default_training": Rule.default_training, "searched_training": Rule.searched_training}
    return {**dict.fromkeys(_DECLARED), **known}


_DECLARED = (
    "family",
    "error_weights",
    "waits_for",
    "forward_passes",
    "nets",
    "takes_structures",
    "needs",
    "tasks",
    "teaches_hidden_layers",
    "default_training",
    "searched_training",
)


def create(
    name: "str | Callable[..., Rule]",
    net: "torch.nn.Module",
    *,
    sample: Any = None,
    **settings: Any,
) -> "Rule":
    """Make a rule by its short name for a net.

    Args:
        name: one of `names()`, ``path/to/file.py:ClassName``, or the class itself.
        net: the net that the rule will teach; it is read, not changed or kept.
        sample: one input, batch of one, as the net takes it, for rules that need the shapes inside the net.
        **settings: the keyword-only parameters of the rule.

    Raises:
        UserMistake: an unknown name or a bad setting.
        UnsupportedNet: the rule cannot teach this net.

    Example:
        >>> import torch, biograd
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
        >>> rule = biograd.rules.create("fa", net, seed=1)
        >>> x, y = torch.ones(3, 4), torch.tensor([0, 1, 1])
        >>> loss, output = rule.assign_credit(net, x, y, torch.nn.functional.cross_entropy)
        >>> output.shape
        torch.Size([3, 2])
    """
    from biograd.rules.base import Rule

    constructor = REGISTRY.find(name)
    rule = constructor(net, sample, **validate(constructor, settings, REGISTRY.called(name)))
    if not isinstance(rule, Rule):
        raise UserMistake(f"{REGISTRY.called(name)} makes a {type(rule).__name__}, expected a biograd.Rule")
    if "entry" not in vars(rule):
        raise UserMistake(f"{REGISTRY.called(name)}: its __init__ must call super().__init__() first")
    return rule
