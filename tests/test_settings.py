from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Le, Len
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from biograd.errors import UserMistake
from biograd.settings import Setting, checked_settings, describe, settings_model, validate

Fraction = Annotated[float, Gt(0), Le(1)]


def make(
    net,
    sample=None,
    *,
    scale: Annotated[float, Gt(0)] = 1.0,
    kind: Literal["uniform", "normal"] = "uniform",
    widths: tuple[Annotated[int, Gt(0)], ...] = (512, 512),
    weight_decay: Fraction | None = None,
    bias: bool = True,
    seed: Annotated[int, Ge(0)] = 0,
):
    """A constructor with settings of every kind."""
    return scale, kind, widths, weight_decay, bias, seed


def test_settings_are_the_keyword_only_parameters_as_a_user_reads_them():
    assert describe(make) == [
        Setting("scale", "float > 0", 1.0),
        Setting("kind", "uniform | normal", "uniform"),
        Setting("widths", "int > 0, …", (512, 512)),
        Setting("weight_decay", "float > 0, ≤ 1 | none", None),
        Setting("bias", "bool", True),
        Setting("seed", "int ≥ 0", 0),
    ]


def test_a_class_is_described_by_its_constructor():
    class Rule:
        def __init__(self, net, *, beta: float = 2.0):
            pass

    assert describe(Rule) == [Setting("beta", "float", 2.0)]


def test_a_constructor_without_settings_has_none():
    assert describe(lambda net: net) == []
    assert validate(lambda net: net, {}, "net 'x'") == {}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("scale", "0.5", 0.5),
        ("scale", "1e-3", 1e-3),
        ("kind", "normal", "normal"),
        ("weight_decay", "none", None),
        ("widths", "32", (32,)),
        ("widths", "64,32", (64, 32)),
        ("widths", " 64 , 32, ", (64, 32)),
        ("weight-decay", "0.1", 0.1),
        ("bias", "false", False),
        ("bias", "true", True),
        ("seed", "7", 7),
    ],
)
def test_text_of_a_command_line_becomes_the_value_it_means(name, text, value):
    (converted,) = validate(make, {name: text}, "net 'x'").values()
    assert converted == value
    assert type(converted) is type(value)


@hypothesis_settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "scale": st.floats(min_value=0, exclude_min=True, allow_infinity=False),
            "kind": st.sampled_from(["uniform", "normal"]),
            "widths": st.lists(st.integers(1, 10**6)).map(tuple),
            "weight_decay": st.none() | st.floats(0, 1, exclude_min=True),
            "bias": st.booleans(),
            "seed": st.integers(0, 2**63),
        },
    )
)
def test_values_within_their_ranges_come_back_as_they_are_and_nothing_else_does(settings):
    assert validate(make, settings, "net 'x'") == settings


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scale", 0.0, "setting 'scale' got 0.0: expected a number greater than 0"),
        ("scale", "wide", "setting 'scale' got 'wide': expected a number"),
        ("scale", float("nan"), "setting 'scale' got nan: expected a finite number"),
        ("scale", float("inf"), "setting 'scale' got inf: expected a finite number"),
        ("kind", "cauchy", "setting 'kind' got 'cauchy': expected 'uniform' or 'normal'"),
        ("widths", "64,0", "setting 'widths.1' got '0': expected a number greater than 0"),
        ("widths", "64,x", "setting 'widths.1' got 'x': expected a whole number"),
        ("weight_decay", 2.0, "setting 'weight_decay' got 2.0: expected a number less than or equal to 1"),
        ("bias", "perhaps", "setting 'bias' got 'perhaps': expected true or false"),
        ("seed", -1, "setting 'seed' got -1: expected a number greater than or equal to 0"),
        ("seed", 1.5, "setting 'seed' got 1.5: expected a whole number"),
    ],
)
def test_a_value_of_the_wrong_type_or_out_of_range_is_a_mistake_in_one_line(name, value, message):
    with pytest.raises(UserMistake) as caught:
        validate(make, {name: value}, "net 'x'")
    assert str(caught.value).startswith(f"net 'x': {message}")
    assert "\n" not in str(caught.value)


def test_an_unknown_setting_is_a_mistake_that_lists_those_there_are():
    with pytest.raises(
        UserMistake, match="net 'x' has no setting 'width'; its settings: scale, kind, widths"
    ):
        validate(make, {"width": 3}, "net 'x'")
    with pytest.raises(UserMistake, match="net 'y' has no setting 'width'; its settings: none"):
        validate(lambda net: net, {"width": 3}, "net 'y'")


def test_positional_parameters_are_no_settings():
    with pytest.raises(UserMistake, match="has no setting 'sample'"):
        validate(make, {"sample": 3}, "net 'x'")


def test_a_setting_without_default_must_be_given():
    def needy(net, *, path: str):
        return path

    with pytest.raises(UserMistake, match=r"^net 'x' needs the setting 'path'$"):
        validate(needy, {}, "net 'x'")
    assert validate(needy, {"path": "p"}, "net 'x'") == {"path": "p"}


def test_a_setting_given_in_both_spellings_is_a_mistake():
    with pytest.raises(UserMistake, match="net 'x': setting 'weight_decay' is given twice"):
        validate(make, {"weight-decay": 0.1, "weight_decay": 0.2}, "net 'x'")


def test_the_model_has_the_defaults_of_the_signature():
    assert tuple(settings_model(make)().model_dump().values()) == make(None)


def test_a_checked_constructor_refuses_bad_settings_and_converts_good_ones():
    checked = checked_settings(make)
    assert checked(None, widths=[3, 4])[2] == (3, 4)
    assert checked(None) == make(None)
    with pytest.raises(UserMistake, match="make: setting 'scale' got -1"):
        checked(None, scale=-1)


def test_a_checked_constructor_keeps_its_name_signature_and_the_errors_of_a_call():
    checked = checked_settings(make)
    assert checked.__doc__ == make.__doc__
    assert describe(checked) == describe(make)
    with pytest.raises(TypeError, match="unexpected keyword argument 'width'"):
        checked(None, width=3)


def test_the_length_of_a_list_is_part_of_its_range():
    def sized(*, widths: Annotated[tuple[int, ...], Len(1)] = (1,)): ...

    assert describe(sized) == [Setting("widths", "int, … length ≥ 1", (1,))]
    with pytest.raises(UserMistake, match=r"setting 'widths' got .*at least 1 item"):
        validate(sized, {"widths": ""}, "net 'x'")
