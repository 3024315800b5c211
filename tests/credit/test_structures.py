import copy
import dataclasses
import types
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import biograd
from biograd.credit.structures import (
    batch_size,
    called,
    copied,
    detached,
    gradients_at,
    map_tensors,
    outlined,
    tensors_in,
)
from tests.structures import ModelOutput

A, B = torch.arange(6.0).view(2, 3), torch.arange(2)
Pair = namedtuple("Pair", "first second")


class Tagged(list):
    tag = "none"


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    logits: Any
    note: str = "as it is"


@dataclasses.dataclass
class Unset:
    logits: Any
    later: Any = dataclasses.field(init=False)


tagged = Tagged([A, B])
tagged.tag = "mine"
STRUCTURES = {
    "tensor": A,
    "tuple": (A, B),
    "list": [A, [B, None]],
    "list of a class": tagged,
    "named tuple": Pair(A, (B,)),
    "what torch.max returns": torch.return_types.max((A, B)),
    "dict": {"a": A, 3: {"b": B}, "name": "text"},
    "ordered dict": OrderedDict(a=A, b=B),
    "default dict": defaultdict(list, a=A),
    "user's dict": UserDict(a=A, b=B),
    "read-only mapping": types.MappingProxyType({"a": A}),
    "frozen dataclass": Frozen([A, B]),
    "dataclass with a field that is not set": Unset(A),
    "model output": ModelOutput(logits=A, hidden=(A, B)),
    "inputs": biograd.Inputs(A, mask=B, flag=True),
    "packed sequence": pack_sequence([torch.ones(3), torch.ones(2)]),
    "nested": ({"a": [Frozen(A)]}, None, 3, "text"),
    "nothing": (),
    "none": None,
}


def same(one, other):
    """Whether two structures are of one type throughout, with equal tensors."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, biograd.Inputs):
        return same(vars(one), vars(other))
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one) if hasattr(one, field.name)]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "items"):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other


@pytest.mark.parametrize("value", STRUCTURES.values(), ids=list(STRUCTURES))
def test_a_mapped_structure_is_of_the_same_kind_and_the_first_stays_as_it_was(value):
    before = list(tensors_in(value))
    mapped = map_tensors(lambda tensor: tensor + 1, value)
    assert same(map_tensors(lambda tensor: tensor - 1, mapped), value)
    assert [id(tensor) for tensor in tensors_in(value)] == [id(tensor) for tensor in before]
    assert all(torch.equal(m, t + 1) for m, t in zip(tensors_in(mapped), before, strict=True))


def test_attributes_of_what_holds_tensors_are_kept():
    mapped = detached((tagged, STRUCTURES["default dict"]))
    assert mapped[0].tag == "mine"
    assert mapped[1]["new"] == []


def test_items_and_attributes_of_a_model_output_stay_in_step():
    taken = ModelOutput(logits=A.clone().requires_grad_() * 2, hidden=None)
    free = detached(taken)
    assert free.logits is free["logits"]
    assert not free.logits.requires_grad
    assert free.hidden is None
    assert list(free) == ["logits"]


def test_detached_shares_memory_and_copied_has_its_own():
    assert detached([A])[0].data_ptr() == A.data_ptr()
    assert copied([A])[0].data_ptr() != A.data_ptr()


@pytest.mark.parametrize(
    ("x", "size"),
    [
        (A, 2),
        (torch.tensor(1.0), None),
        ({"scale": torch.tensor(1.0), "x": torch.ones(4, 2), "mask": torch.ones(7, 7)}, 4),
        (biograd.Inputs(mask=None, x=[torch.ones(3)]), 3),
        (biograd.Inputs(STRUCTURES["packed sequence"], torch.ones(9)), 2),
        (["a", "b"], None),
        (torch.ones(0, 3), 0),
    ],
)
def test_the_first_tensor_with_an_axis_counts_the_examples(x, size):
    assert batch_size(x) == size


def test_inputs_are_the_arguments_of_a_call_and_all_else_is_one():
    def echo(*args, **kwargs):
        return args, kwargs

    assert called(echo, biograd.Inputs(1, 2, key=3)) == ((1, 2), {"key": 3})
    assert called(echo, (1, 2)) == (((1, 2),), {})
    assert called(echo, {"key": 3}) == (({"key": 3},), {})
    assert same(copy.deepcopy(STRUCTURES["inputs"]), STRUCTURES["inputs"])


def test_a_message_shows_shapes_and_never_numbers():
    assert outlined(A) == "a tensor (2, 3)"
    assert outlined(None) == "None"
    assert outlined(nn.Identity()) == "an Identity"
    assert outlined([A] * 9) == "a list with tensors (2, 3), (2, 3), (2, 3), (2, 3) and 5 more"
    assert repr(STRUCTURES["inputs"]) == "an Inputs with tensors (2, 3), (2,)"


def test_gradients_lie_where_the_tensors_lay():
    x = {"a": A.clone().requires_grad_(), "b": B, "unused": A.clone().requires_grad_()}
    (2 * x["a"]).sum().backward()
    found = gradients_at(x)
    assert found["b"] is None
    assert torch.equal(found["a"], torch.full_like(A, 2))
    assert not found["unused"].any()
