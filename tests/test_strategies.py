"""Strategies: settings that are chosen by name and have settings of their own, however they are given."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Gt

from biograd.errors import UserMistake
from biograd.settings import Strategy, checked_settings, describe, spelled, validate


@dataclass(frozen=True, kw_only=True)
class Fixed(Strategy):
    name: ClassVar[str] = "fixed"
    rate: Annotated[float, Gt(0)] = 0.1
    step_size: int = 3


@dataclass(frozen=True, kw_only=True)
class Free(Strategy):
    name: ClassVar[str] = "free"
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True, kw_only=True)
class Nested(Strategy):
    name: ClassVar[str] = "nested"
    inner: Fixed | Free = Free()


def make(net, *, form: Fixed | Nested = Fixed(), inverse: Fixed | Free | None = None, seed: int = 0):
    return form, inverse, seed


def made(**given: Any) -> dict[str, Any]:
    return validate(make, given, "rule 'r'")


@pytest.mark.parametrize(
    "given",
    [
        {"form": Fixed(rate=0.5)},
        {"form": {"name": "fixed", "rate": 0.5}},
        {"form": {"name": "fixed", "settings": {"rate": 0.5}}},
        {"form": {"rate": 0.5}},
        {"form": "fixed", "form.rate": "0.5"},
        {"form.rate": "0.5", "form": "fixed"},
        {"form.rate": "0.5"},
        {"form": {"name": "fixed", "rate": 0.1}, "form.rate": "0.5"},
        {"form": Fixed(rate=0.2), "form.rate": 0.5},
        {"form": {"name": "fixed", "settings": {"rate": 0.1}}, "form.rate": 0.5},
    ],
    ids=str,
)
def test_however_it_is_given_it_is_the_same_strategy(given):
    assert made(**given) == {"form": Fixed(rate=0.5)}


def test_a_dash_in_the_setting_of_a_strategy_is_an_underscore():
    expected = {"form": Fixed(step_size=7)}
    assert made(**{"form.step-size": "7"}) == made(form={"step-size": 7}) == expected


def test_a_strategy_within_a_strategy_is_chosen_and_set_by_two_dots():
    given = {"form": "nested", "form.inner": "fixed", "form.inner.rate": "2"}
    assert made(**given) == {"form": Nested(inner=Fixed(rate=2))}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"form": "fixd"}, "rule 'r': setting 'form' got 'fixd': expected fixed, nested"),
        (
            {"form": 3},
            "rule 'r': setting 'form' got 3: expected a name, or a table of a name and its settings",
        ),
        ({"form": None}, "rule 'r': setting 'form' got None: expected fixed, nested"),
        ({"form.rate": 0}, "rule 'r': form 'fixed': setting 'rate' got 0: expected a number greater than 0"),
        (
            {"form": "nested", "form.rate": 1},
            "rule 'r': form 'nested' has no setting 'rate'; its settings: inner",
        ),
        ({"inverse.rate": 1}, "rule 'r': setting 'inverse' got rate without a name: expected fixed, free"),
        ({"seed.rate": 1}, "setting 'seed' got {'rate': 1}"),
        ({"from.rate": 1}, "rule 'r' has no setting 'from'; its settings: form, inverse, seed"),
        ({"form": "fixed", "form.step-size": 1, "form.step_size": 2}, "'form.step_size' is given twice"),
        (
            {"form": {"name": "nested", "inner": "fixd"}},
            "rule 'r': form 'nested': setting 'inner' got 'fixd'",
        ),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_that_names_the_setting(given, message):
    with pytest.raises(UserMistake) as caught:
        made(**given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_alone_refine_the_default_and_a_name_begins_anew():
    def other(net, *, form: Fixed | Nested = Fixed(rate=0.5)): ...

    assert validate(other, {"form.step_size": 7}, "rule")["form"] == Fixed(rate=0.5, step_size=7)
    assert validate(other, {"form": "fixed", "form.step_size": 7}, "rule")["form"] == Fixed(step_size=7)


def test_none_is_taken_where_the_annotation_has_it():
    assert made(inverse=None) == made(inverse="none") == {"inverse": None}


def test_made_by_hand_it_is_checked_and_converted():
    strategy: Any = Fixed
    assert strategy(rate="0.5") == Fixed(rate=0.5)
    with pytest.raises(UserMistake, match="Fixed: setting 'rate' got 0"):
        Fixed(rate=0)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Fixed(), {"name": "fixed", "settings": {}}),
        (Fixed(rate=0.5, step_size=3), {"name": "fixed", "settings": {"rate": 0.5}}),
        (
            Nested(inner=Fixed(rate=2)),
            {"name": "nested", "settings": {"inner": {"name": "fixed", "settings": {"rate": 2}}}},
        ),
    ],
    ids=str,
)
def test_a_record_holds_its_name_and_what_differs_and_gives_it_back(strategy, expected):
    assert spelled({"form": strategy, "seed": 1}) == {"form": expected, "seed": 1}
    assert made(form=expected) == {"form": strategy}
    assert spelled(made(form=expected)) == {"form": expected}


def test_its_settings_are_described_behind_the_one_that_chooses_it():
    found = [(one.name, one.type, one.default, one.strategy) for one in describe(make)]
    assert found == [
        ("form", "fixed | nested", "fixed", None),
        ("form.rate", "float > 0", 0.1, Fixed),
        ("form.step_size", "int", 3, Fixed),
        ("form.inner", "fixed | free", "free", Nested),
        ("form.inner.rate", "float > 0", 0.1, Fixed),
        ("form.inner.step_size", "int", 3, Fixed),
        ("form.inner.kind", "a | b", "a", Free),
        ("inverse", "fixed | free | none", None, None),
        ("inverse.rate", "float > 0", 0.1, Fixed),
        ("inverse.step_size", "int", 3, Fixed),
        ("inverse.kind", "a | b", "a", Free),
        ("seed", "int", 0, None),
    ]


def test_a_checked_constructor_takes_its_strategies_in_every_form():
    @checked_settings
    def construct(net, *, form: Fixed | Nested = Fixed()):
        return form

    constructor: Any = construct
    assert constructor(None, form="nested") == Nested()
    assert constructor(None, form={"name": "fixed", "rate": 1}) == Fixed(rate=1)
    with pytest.raises(UserMistake, match="setting 'form' got None"):
        constructor(None, form=None)
