import pytest
import torch
from torch import nn

from biograd.errors import UserMistake
from biograd.settings import describe
from biograd.training import Ranks, build, optimizers
from biograd.training.trainer import Trainer


def taught(name, dtype=torch.float32, bias=True, **settings):
    """A layer with a gradient, and an optimiser that holds it."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2, bias=bias, dtype=dtype)
    optimizer = optimizers.create(name, layer.parameters(), **settings)
    layer(torch.ones(4, 3, dtype=dtype)).square().mean().backward()
    return layer, optimizer


def test_every_optimizer_of_torch_is_there_or_refused_with_a_reason():
    torchs = {
        cls.__name__.lower()
        for cls in torch.optim.Optimizer.__subclasses__()
        if "torch.optim" in cls.__module__
    }
    torchs |= {"adamw"}  # a subclass of Adam
    reachable = set(optimizers.names()) | set(optimizers._REFUSED)
    assert torchs - {"_multitensoradam"} <= reachable


@pytest.mark.parametrize("name", [name for name in optimizers.names() if name != "adam-uncorrected"])
def test_each_moves_the_weights_by_torchs_own_step(name):
    layer, optimizer = taught(name, bias=name != "muon")
    twin, _ = taught("sgd", bias=name != "muon")
    cls = type(optimizer)
    assert cls is getattr(torch.optim, cls.__name__)
    reference = cls(twin.parameters())
    optimizer.step()
    reference.step()
    torch.testing.assert_close(layer.weight, twin.weight)
    assert not torch.equal(layer.weight, taught("sgd", bias=name != "muon")[0].weight)


@pytest.mark.parametrize("name", optimizers.names())
def test_settings_are_typed_and_leave_out_what_the_loop_cannot_use(name):
    settings = {setting.name: setting.type for setting in describe(optimizers.find(name))}
    assert settings["lr"] == "float > 0"
    assert settings.get("betas") in (None, "float, …")
    assert settings.get("foreach") in (None, "bool | none")
    assert not {"params", "capturable", "differentiable"} & set(settings)


def test_adam_without_correction_has_the_defaults_of_adam():
    found, adam = (
        {setting.name: setting.default for setting in describe(optimizers.find(name))}
        for name in ("adam-uncorrected", "adam")
    )
    assert found == {name: adam[name] for name in found}


def test_text_is_converted_as_the_signature_says():
    text = {"lr": "0.5", "betas": "0.8,0.99", "amsgrad": "true", "weight-decay": "1e-2", "foreach": "true"}
    group = taught("adamw", **text)[1].param_groups[0]
    assert (group["lr"], group["betas"], group["amsgrad"]) == (0.5, (0.8, 0.99), True)
    assert (group["weight_decay"], group["foreach"], group["fused"]) == (0.01, True, None)
    assert taught("sgd", momentum="0.9")[1].param_groups[0]["momentum"] == 0.9


def test_fused_kernels_are_used_where_torch_has_them_and_the_user_chose_nothing():
    assert taught("adam")[1].param_groups[0]["fused"] is True
    assert taught("adam", fused=False)[1].param_groups[0]["fused"] is False
    assert taught("adam", foreach=True)[1].param_groups[0]["fused"] is None


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("lbfgs", {}, "evaluates the loss several times a step"),
        ("sparseadam", {}, "takes sparse gradients only"),
        ("adamm", {}, "did you mean 'adam'"),
        ("adam", {"momentum": 1}, "no setting 'momentum'; its settings: lr, betas, eps"),
        ("adam", {"capturable": True}, "no setting 'capturable'"),
        ("adam", {"lr": -1}, "setting 'lr' got -1"),
        ("adam", {"lr": 0}, "setting 'lr' got 0"),
        ("adam", {"lr": "fast"}, "setting 'lr' got 'fast'"),
        ("adam", {"betas": "0.9"}, "setting 'betas"),
        ("adam", {"betas": "0.9,1.5"}, "Invalid beta parameter at index 1: 1.5"),
        ("sgd", {"weight_decay": -1}, "Invalid weight_decay value: -1"),
        ("sgd", {"nesterov": True}, "Nesterov momentum requires a momentum"),
        ("adam", {"fused": True, "foreach": True}, "`fused` and `foreach` cannot be `True` together"),
    ],
)
def test_a_mistake_is_one_line(name, settings, words):
    with pytest.raises(UserMistake) as caught:
        optimizers.check(name, settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this version of PyTorch has no Muon")
def test_one_that_does_not_take_a_parameters_shape_says_so():
    with pytest.raises(UserMistake, match="optimizer 'muon': Muon only supports 2D parameters"):
        taught("muon")


def test_one_of_the_users_own_is_taken_from_its_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\n"
        "class Sign(torch.optim.Optimizer):\n"
        "    def __init__(self, params, lr=0.1, *, flip=False):\n"
        "        super().__init__(params, {'lr': lr, 'flip': flip})\n"
    )
    optimizer = taught(f"{file}:Sign", lr="0.5", flip="yes")[1]
    assert optimizer.defaults == {"lr": 0.5, "flip": True}


def test_an_optimizer_empties_gradients_in_its_own_way(make_config, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "import torch\n"
        "class Keeps(torch.optim.SGD):\n"
        "    def zero_grad(self, set_to_none=True):\n"
        "        self.defaults['emptied'] = self.defaults.get('emptied', 0) + 1\n"
        "        assert all(p.grad is None for group in self.param_groups for p in group['params'])\n"
    )
    setup = build(make_config(optimizer={"name": f"{file}:Keeps", "lr": 0.1}, epochs=1))
    Trainer(setup, Ranks(setup.device), tmp_path).run()
    assert setup.optimizer.defaults["emptied"] == 6
