"""What is searched for a configuration, and the points of a search."""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import qmc

from biograd import nets, penalties, records, rules
from biograd.errors import UserMistake
from biograd.searched import Range
from biograd.settings import Setting, describe
from biograd.training import RunConfig, config_layers, optimizers, schedules

Space = dict[str, Range]
"""Dotted names of a configuration, ``"rule.alpha"``, to what each is drawn from, in the order of their dimensions."""

Point = dict[str, Any]
"""A value for each name of a space."""


def space_of(config: RunConfig, given: Mapping[str, Any]) -> Space:
    """What the parts of a configuration say is searched of them, without what is given.

    Rule, net, optimiser, the rule's own optimiser, schedule and penalty each declare it in the annotations of their
    settings; `biograd.Rule.searched_training` goes over those of training. A strategy's settings are searched where it
    is the one that is used.

    Args:
        config: of which trials vary.
        given: the layer of what the user fixed; see `biograd.training.config.given_by`.
    """
    declared = {
        f"{section}.{setting.name}": setting.searched
        for section, constructor in _constructors(config).items()
        for setting in describe(constructor)
        if setting.searched is not None and _is_used(setting, getattr(config, section).settings)
    }
    searched = {**declared, **_of_training(config)}
    fixed = records.flatten(given)
    is_shared = fixed.get("feedback_optimizer.name") == config_layers.SHARED
    return {
        name: over
        for name, over in searched.items()
        if name not in fixed and not (is_shared and name.startswith("feedback_optimizer."))
    }


def required(given: Mapping[str, Any]) -> dict[str, Any]:
    """A layer of the settings that a search brings and nothing else does: those of a penalty that have no default."""
    name = given.get("penalty", {}).get("name")
    if name is None:
        return {}
    settings = describe(penalties.REGISTRY.find(name))
    drawn = {one.name: one.searched.at(0.5) for one in settings if _is_open(one) and one.searched is not None}
    return {"penalty": {"name": name, **drawn}} if drawn else {}


def _is_open(setting: Setting) -> bool:
    return setting.default is inspect.Parameter.empty


def point(space: Space, seed: int, index: int) -> Point:
    """The settings of a trial: a scrambled Sobol point, a function of the space, the seed and the index alone.

    So any trial can be made anywhere, at any time and in any order. The numbers are rounded to
    `biograd.searched.DIGITS` digits.

    Args:
        space: one dimension a name, in its order.
        seed: of the scrambling, ≥ 0.
        index: from 0.

    Raises:
        UserMistake: nothing is searched.

    Example:
        >>> from biograd.searched import LogUniform, Uniform
        >>> space = {"lr": LogUniform(1e-5, 1e-2), "rule.alpha": Uniform(0, 1)}
        >>> point(space, 0, 3) == point(space, 0, 3), point(space, 0, 3) == point(space, 0, 2)
        (True, False)
    """
    if not space:
        raise UserMistake("nothing is searched: every setting that could be is given")
    shares = _sobol(len(space), seed, 2 ** math.ceil(math.log2(index + 1)))[index]
    return {name: over.at(float(share)) for (name, over), share in zip(space.items(), shares, strict=True)}


@lru_cache
def _sobol(dimensions: int, seed: int, count: int) -> np.ndarray:
    """The first points of a sequence, ``(count, dimensions)`` in [0, 1), a power of 2 as the sequence wants it."""
    return qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(seed)).random(count)


def _constructors(config: RunConfig) -> dict[str, Callable[..., Any]]:
    """The parts of a configuration that may declare what is searched of them."""
    found = {
        "rule": rules.REGISTRY.find(config.rule.name),
        "net": nets.REGISTRY.find(config.net.name),
        "optimizer": optimizers.find(config.optimizer.name),
        "schedule": schedules.REGISTRY.find(config.schedule.name),
        "penalty": penalties.REGISTRY.find(config.penalty.name),
    }
    if config.feedback_optimizer.name != config_layers.SHARED:
        found["feedback_optimizer"] = optimizers.find(config.feedback_optimizer.name)
    return found


def _of_training(config: RunConfig) -> Space:
    """What the rule says of training, without what is said of another optimiser than the one that is used."""
    declared = rules.declared(config.rule.name)
    own = config_layers.flat(declared["default_training"].get("optimizer", "adam"))["name"]
    return {
        name: over
        for name, over in declared["searched_training"].items()
        if not name.startswith("optimizer.") or config.optimizer.name == own
    }


def _is_used(setting: Setting, chosen: Mapping[str, Any]) -> bool:
    """Whether it is the constructor's own, or of the strategy that is chosen."""
    if setting.strategy is None:
        return True
    strategy = chosen.get(setting.name.partition(".")[0])
    return strategy is not None and config_layers.flat(strategy)["name"] == setting.strategy.name
