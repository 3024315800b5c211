"""Examples as programs hold them: tensors, arrays, a torch Dataset, columns; read once, into arrays."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from biograd.data.columns import require_once
from biograd.errors import UserMistake, brief, listed
from biograd.user_files import failed

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

PARTS = ("train", "test")

READ_AGAIN = 8
"""Examples that are read twice: a mirror image is tossed for, and one or two of them may be as they were."""

_BY_NAME = "one input is one tensor, and several have names, {'image': …, 'table': …}"


@dataclass(frozen=True)
class Part:
    """Inputs (n, …), an array or a dict of columns, and targets (n, …) as they were found."""

    inputs: "ndarray | dict[str, ndarray]"
    targets: "ndarray"


@dataclass(frozen=True)
class Examples:
    """What a user's own object holds.

    Attributes:
        train: the training part, or all there is.
        test: the test part, None where there is none.
        classes: the names of the classes, where it has them; targets are then their indices.
    """

    train: Part
    test: Part | None
    classes: tuple[str, ...] | None


def are_examples(found: Any) -> bool:
    """Whether something holds examples, rather than being what makes them."""
    if inspect.isclass(found) or inspect.isroutine(found) or isinstance(found, str):
        return False
    return isinstance(found, Mapping) or _has_items(found) or _is_loader(found)


def gathered(found: Any, *, inputs: Sequence[str] = (), targets: str | None = None) -> Examples:
    """Read all examples.

    Args:
        found: a pair of inputs and targets (tensors, arrays, lists, columns); or what has a length and items that are
            such pairs, or mappings, as a `torch.utils.data.Dataset`; or what has ``column_names``, as a data set of
            Hugging Face; or a training and a test part of these kinds, as a pair or ``{"train": …, "test": …}``. The
            inputs of a pair may be several by name, ``{"image": …, "table": …}``.
        inputs: of mappings and columns, which hold the inputs: one, as it is, or several, as a dict.
        targets: which one holds the targets.

    Raises:
        UserMistake: it is none of these, or has been read; an example is unlike the others, or differs when it is read
            again; or it is not said which columns are meant.
    """
    if isinstance(found, Examples):
        if inputs or targets is not None:
            raise UserMistake(
                "the inputs and targets of the data have been read: no columns are left to choose from"
            )
        return found
    require_once(inputs)
    parts = [_Source(part, inputs, targets) for part in _parts(found)]
    read = [part.read() for part in parts]
    return Examples(read[0], read[1] if len(read) > 1 else None, parts[0].classes())


def _parts(found: Any) -> list[Any]:
    """The training part and the test part, or the one that is both."""
    if isinstance(found, Mapping):
        if set(found) not in ({"train"}, set(PARTS)):
            raise UserMistake(
                f"data has the parts {listed([str(key) for key in found])}: expected train, and test where there is "
                "one; a validation part is carved from the first"
            )
        return [found[name] for name in PARTS if name in found]
    return list(found) if _is_pair(found) and not any(map(_is_whole, found)) else [found]


class _Source:
    """One part as it was given, and which of its columns are meant."""

    def __init__(self, given: Any, inputs: Sequence[str], targets: str | None) -> None:
        self.given, self.columns = given, (inputs, targets)
        there = getattr(given, "column_names", None)
        self.read_whole = self._named(there, inputs, targets) if isinstance(there, list) else None

    def read(self) -> Part:
        if _is_pair(self.given) and any(map(_is_whole, self.given)):
            self._refuse_names()
            return _as_part(*self.given)
        if self.read_whole is not None:
            columns, target = self.read_whole
            return _as_part(_picked(self.given, columns), self.given[target])
        if _is_loader(self.given):
            raise UserMistake(
                f"data is a {type(self.given).__name__}, which hands out batches: give the examples that it has, "
                "loader.dataset"
            )
        if not _has_items(self.given):
            raise UserMistake(
                f"data is {brief(self.given)}, expected a pair of inputs and targets, or what has a length and items, "
                "as a torch Dataset has"
            )
        items = [self._item(place) for place in range(len(self.given))]
        if not all(_are_same(item, self._item(place)) for place, item in enumerate(items[:READ_AGAIN])):
            raise UserMistake(
                "an example of the data differs when it is read again, and it is read once: leave random transforms "
                "out, and crop and mirror images by the settings crop_padding and flip"
            )
        return _as_part([x for x, _ in items], [y for _, y in items])

    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes, where the data says them."""
        feature = self._features().get(self.read_whole[1]) if self.read_whole else None
        names = getattr(feature, "names", None) or getattr(self.given, "classes", None)
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            return None
        return tuple(names)

    def _item(self, place: int) -> tuple[Any, Any]:
        try:
            item = self.given[place]
        except Exception as error:
            raise failed(f"example {place} of the data cannot be read", error) from error
        if isinstance(item, Mapping):
            columns, target = self._named(list(item), *self.columns)
            return _picked(item, columns), item[target]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise UserMistake(
                f"example {place} of the data is {brief(item)}, expected a pair of an input and a target, or a "
                f"mapping; {_BY_NAME}"
            )
        self._refuse_names()
        return item[0], item[1]

    def _refuse_names(self) -> None:
        """Refuse to choose columns where inputs and targets stand apart already."""
        if any(self.columns):
            raise UserMistake(
                "the settings inputs and targets choose among the columns of data, and it gives pairs of an input and "
                "a target: leave them out"
            )

    def _named(
        self, there: list[str], inputs: Sequence[str], targets: str | None
    ) -> tuple[Sequence[str], str]:
        """The columns of inputs and that of targets; what is not said, where there is but one that it can be."""
        kinds = [name for name in there if getattr(self._features().get(name), "names", None)]
        y = targets or (kinds[0] if len(kinds) == 1 else None)
        others = [name for name in there if name != y]
        x = inputs or (others if y is not None and len(others) == 1 else ())
        if not x or not set(x) <= set(there) or y not in there:
            raise UserMistake(
                f"data has the columns {listed(there)}, and its inputs are {brief(', '.join(x) or None)}, its targets "
                f"{brief(y)}: say which they are with the settings inputs and targets"
            )
        return x, y

    def _features(self) -> Mapping[Any, Any]:
        found = getattr(self.given, "features", None)
        return found if isinstance(found, Mapping) else {}


def _picked(held: Any, columns: Sequence[str]) -> Any:
    """One column as it is, several by name."""
    return held[columns[0]] if len(columns) == 1 else {name: held[name] for name in columns}


def _as_part(inputs: Any, targets: Any) -> Part:
    _refuse_nameless(inputs, targets)
    return Part(_inputs_of_all(inputs), _stacked(targets, "target"))


def _refuse_nameless(inputs: Any, targets: Any) -> None:
    """Refuse several inputs side by side, each of all examples, that would be taken for the examples."""
    if not isinstance(inputs, tuple | list) or not inputs or len(inputs) == (number := _count(targets)):
        return
    if number is not None and all(_count(one) == number for one in inputs):
        raise UserMistake(
            f"the inputs of {number} examples are a {type(inputs).__name__} of {len(inputs)}: {_BY_NAME}"
        )


def _count(values: Any) -> int | None:
    """How many there are; None of what has no length."""
    try:
        return len(values)
    except TypeError:
        return None


def _inputs_of_all(inputs: Any) -> "ndarray | dict[str, ndarray]":
    """One array, or one for each column, of columns as they are or of examples that hold them by name."""
    if isinstance(inputs, list) and inputs and isinstance(inputs[0], Mapping):
        inputs = {
            name: [_column(one, place, inputs[0])[name] for place, one in enumerate(inputs)]
            for name in inputs[0]
        }
    if not isinstance(inputs, Mapping):
        return _stacked(inputs, "input")
    return {name: _stacked(column, f"input {name!r}") for name, column in inputs.items()}


def _column(inputs: Any, place: int, first: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inputs of an example, which has the columns of the first."""
    if not isinstance(inputs, Mapping) or inputs.keys() != first.keys():
        held = (
            f"the columns {listed(list(map(str, inputs)))}" if isinstance(inputs, Mapping) else brief(inputs)
        )
        raise UserMistake(
            f"the input of example {place} is {held}, that of the first the columns {listed(list(map(str, first)))}: "
            "make all alike"
        )
    return inputs


def _stacked(values: Any, what: str) -> "ndarray":
    """One array of all, (n, …)."""
    import numpy as np

    _refuse_mapping(values, what)
    if not isinstance(values, Iterable):
        raise UserMistake(f"the {what}s are {brief(values)}, expected one for each example")
    if _has_array(values):
        return _as_array(values, what)
    found = [_as_array(value, what) for value in values]
    for place, value in enumerate(found):
        if value.shape != found[0].shape:
            raise UserMistake(
                f"the {what} of example {place} has shape {value.shape}, that of the first {found[0].shape}: make all "
                "alike"
            )
    if not found:
        raise UserMistake("data is empty, expected at least one example")
    return np.stack(found)


def _refuse_mapping(value: Any, what: str) -> None:
    if isinstance(value, Mapping):
        expected = (
            "a run takes one tensor of targets; for more, write a loop of your own with rule.assign_credit"
            if what == "target"
            else "a column is one tensor"
        )
        raise UserMistake(f"{_a(what)} is a mapping of {listed([str(key) for key in value])}: {expected}")


def _as_array(value: Any, what: str) -> "ndarray":
    import numpy as np
    import torch

    _refuse_mapping(value, what)
    if isinstance(value, torch.Tensor):
        return _as_values(value, what)
    if (mode := getattr(value, "mode", None)) is not None and callable(getattr(value, "getbands", None)):
        return _as_pixels(value, mode)
    try:
        found = np.asarray(value)
    except ValueError:
        found = np.array(None)
    if found.dtype.hasobject and found.ndim and all(isinstance(one, str) for one in found.flat):
        return found.astype(str)  # a column of texts, as pandas has it
    if found.dtype.kind not in "buifU":
        several = f"; {_BY_NAME}" if what == "input" and isinstance(value, tuple | list) else ""
        raise UserMistake(f"{_a(what)} is {brief(value)}, expected numbers, text or an image{several}")
    return found


def _a(what: str) -> str:
    return f"a {what}" if what == "target" else f"an {what}"


def _as_values(value: "Tensor", what: str) -> "ndarray":
    """Those of a tensor; float32 for types that NumPy lacks."""
    import torch

    if value.layout != torch.strided or value.is_meta:
        held = "without values" if value.is_meta else f"{value.layout}"
        raise UserMistake(f"{_a(what)} is a tensor {held}, expected a dense one that holds its values")
    whole = value.detach().cpu().resolve_conj().resolve_neg()
    is_known = not whole.is_floating_point() or whole.dtype in (torch.float16, torch.float32, torch.float64)
    return (whole if is_known else whole.float()).numpy()


def _as_pixels(image: Any, mode: str) -> "ndarray":
    """An image of PIL's with the channel first."""
    import numpy as np

    if mode not in ("L", "RGB"):
        raise UserMistake(f"an input is an image of mode {mode!r}: convert it to 'RGB' or 'L'")
    pixels = np.asarray(image)
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)


def _are_same(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    """Whether an example is as it was; what is no number is equal to itself."""
    first, second = _arrays(*one), _arrays(*other)
    return first.keys() == second.keys() and all(_are_equal(first[name], second[name]) for name in first)


def _arrays(x: Any, y: Any) -> "dict[str, ndarray]":
    """Those of an example."""
    columns = {f"input {name!r}": one for name, one in x.items()} if isinstance(x, Mapping) else {"input": x}
    return {what: _as_array(value, what) for what, value in {**columns, "target": y}.items()}


def _are_equal(x: "ndarray", y: "ndarray") -> bool:
    return x.shape == y.shape and bool(((x == y) | ((x != x) & (y != y))).all())


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2


def _has_array(value: Any) -> bool:
    return hasattr(value, "__array__") and not callable(getattr(value, "getbands", None))


def _is_whole(value: Any) -> bool:
    """Whether something is all inputs, or all targets, of a part; a mapping is columns."""
    is_list = isinstance(value, Sequence) and not isinstance(value, tuple | str)
    return _has_array(value) or isinstance(value, Mapping) or is_list


def _is_loader(value: Any) -> bool:
    """Whether something is a `torch.utils.data.DataLoader`, or the like."""
    return all(hasattr(value, name) for name in ("dataset", "batch_size", "__iter__"))


def _has_items(value: Any) -> bool:
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")
