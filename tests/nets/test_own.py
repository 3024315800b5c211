"""A net of one's own is a module, which is copied, or what makes one, with or without being told the task."""

import pytest
import torch
from torch import nn

from biograd import nets
from biograd.errors import UserMistake
from biograd.settings import validate


class Whole(nn.Module):
    """A net that is told nothing of its task; only what is given by name is a setting."""

    def __init__(self, width=4, *, depth: int = 1):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), *[nn.Tanh()] * depth, nn.Linear(width, 2))

    def forward(self, x):
        return self.layers(x)


def told(input_shape, outputs, *, width: int = 5):
    return nn.Sequential(nn.Linear(input_shape[0], width), nn.Linear(width, outputs))


def with_defaults(input_shape=(3,), outputs=2):
    return nn.Linear(input_shape[0], outputs)


def test_a_module_is_copied_as_it_is():
    net = Whole().eval()
    made = [nets.create(net, (9,), 9, seed=seed) for seed in (0, 1)]
    assert made[0] is not made[1] is not net
    assert not made[0].training
    for one in made:
        torch.testing.assert_close(list(one.parameters()), list(net.parameters()), rtol=0, atol=0)
    with pytest.raises(UserMistake, match="has no setting 'depth'; its settings: none"):
        nets.create(net, (3,), 2, depth=2)


def test_what_needs_nothing_makes_a_net_from_the_seed():
    one, same, other = (nets.create(Whole, (9,), 9, seed=seed, depth="2") for seed in (0, 0, 1))
    assert len(one.layers) == 4
    assert torch.equal(one.layers[0].weight, same.layers[0].weight)
    assert not torch.equal(one.layers[0].weight, other.layers[0].weight)
    assert isinstance(nets.create(lambda: nn.Linear(3, 2), (9,), 9), nn.Linear)


class OfClasses(nn.Linear):
    def __init__(self, classes):
        super().__init__(3, classes)


@pytest.mark.parametrize(
    ("net", "name"),
    [(Whole, "width"), (OfClasses, "classes"), (lambda shape, outputs, width=3: None, "width")],
)
def test_a_parameter_that_is_no_setting_is_said_to_be_none(net, name):
    with pytest.raises(
        UserMistake, match=rf"settings are keyword-only parameters: write \*, before {name} where"
    ):
        nets.create(net, (3,), 2, **{name: 10})


@pytest.mark.parametrize(
    ("net", "name"), [("mlp", "outputs"), (Whole, "classes"), (nn.Linear(3, 2), "width")]
)
def test_nothing_is_said_of_parameters_that_nobody_wrote(net, name):
    with pytest.raises(UserMistake, match=f"has no setting '{name}'; its settings: [^;]*$"):
        validate(nets.REGISTRY.find(net), {name: 10}, "the net")


def told_by_name(*, outputs, width: int = 5):
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, outputs))


def test_what_is_told_of_the_task_makes_a_net_for_it():
    assert nets.create(told_by_name, (3,), 4, width=6)[1].weight.shape == (4, 6)
    assert nets.create(told, (7,), 2, width=6)[0].weight.shape == (6, 7)
    assert nets.create(with_defaults, (7,), 4).weight.shape == (4, 7)


def test_a_file_names_any_of_them(tmp_path):
    (tmp_path / "own.py").write_text(
        "from torch import nn\nnet = nn.Linear(3, 2)\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.layer = nn.Linear(3, 2)\n"
    )
    made = nets.create(f"{tmp_path / 'own.py'}:net", (3,), 2)
    assert isinstance(made, nn.Linear)
    assert nets.create(f"{tmp_path / 'own.py'}:Net", (3,), 2).layer.weight.shape == (2, 3)


def test_what_is_no_net_is_one_line():
    with pytest.raises(UserMistake, match=r"of type int; expected a torch.nn.Module, or a class or function"):
        nets.create(3, (3,), 2)
