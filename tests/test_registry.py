import sys

import pytest
import torch
from torch import nn

from biograd import nets, rules
from biograd.errors import UserMistake
from biograd.registry import Registry
from biograd.rules.backpropagation import Backpropagation

RULE = """
from biograd import Rule, Credit

class Halved(Rule):
    def __init__(self, net, sample=None, *, share: float = 0.5):
        super().__init__()
        self.share = share

    def assign_credit(self, net, x, y, loss_fn, *, weight=None):
        weighting = self.entry.begin(self, net, x, weight)
        output = net(x)
        leaf = output.detach().requires_grad_()
        loss = loss_fn(leaf, y)
        loss.backward()
        output.backward(weighting.of(self.share * leaf.grad))
        return Credit(loss.detach(), output.detach())

NUMBER = 3
"""


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(3, 2))


@pytest.fixture
def registry():
    return Registry("rule", {"bp": "biograd.rules.backpropagation:Backpropagation"}, "biograd.rules")


@pytest.fixture
def own_file(tmp_path):
    file = tmp_path / "own rules.py"
    file.write_text(RULE)
    return file


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package that registers rules, as pip would leave it on ``sys.path``."""

    def install(entry_points: str, module: str = RULE) -> None:
        (tmp_path / "halved_rule.py").write_text(module)
        info = tmp_path / "halved_rule-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: halved-rule\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[biograd.rules]\n{entry_points}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "halved_rule", raising=False)

    return install


def test_a_built_in_name_is_found_and_imported(registry):
    assert registry.find("bp") is Backpropagation
    assert registry.names() == ["bp"]


def test_an_unknown_name_says_what_is_meant_and_what_there_is(registry):
    with pytest.raises(
        UserMistake, match="unknown rule 'pb': did you mean 'bp'\\? Known: bp; or give path/to"
    ):
        registry.find("pb")
    with pytest.raises(UserMistake, match="unknown rule 'xyz': Known: bp"):
        registry.find("xyz")


def test_a_rule_of_another_package_is_found_by_its_entry_point(installed, net):
    installed("halved = halved_rule:Halved")
    assert "halved" in rules.names()
    assert rules.create("halved", net, share="0.25").share == 0.25


def test_a_rule_of_another_package_has_the_contract_checked_by_name(installed):
    from biograd.testing import check_rule

    installed("halved = halved_rule:Halved")
    check_rule("halved")


def test_a_package_cannot_take_a_built_in_name(installed, registry):
    installed("bp = halved_rule:Halved")
    assert registry.names() == ["bp"]
    assert registry.find("bp") is Backpropagation


def test_a_package_that_cannot_be_imported_is_named(installed, registry):
    installed("halved = halved_rule:Halved", module="import no_such_module_anywhere")
    assert "halved" in registry.names()
    with pytest.raises(
        UserMistake, match=r"rule 'halved' .*halved_rule:Halved.* cannot be imported: ModuleNotFound"
    ):
        registry.find("halved")


def test_an_entry_point_to_a_name_that_does_not_exist_is_named(installed, registry):
    installed("halved = halved_rule:Quartered")
    with pytest.raises(UserMistake, match=r"rule 'halved' .*Quartered"):
        registry.find("halved")


def test_a_rule_is_found_in_a_file(own_file, net):
    rule = rules.create(f"{own_file}:Halved", net, share=0.5)
    rule.assign_credit(net, torch.ones(1, 3), torch.tensor([0]), nn.functional.cross_entropy)
    halved = net[0].weight.grad.clone()
    net.zero_grad()
    nn.functional.cross_entropy(net(torch.ones(1, 3)), torch.tensor([0])).backward()
    torch.testing.assert_close(2 * halved, net[0].weight.grad)


def test_a_file_is_imported_once(own_file, registry):
    assert registry.find(f"{own_file}:Halved") is registry.find(f"{own_file}:Halved")


def test_a_file_may_be_given_from_the_home_or_the_working_directory(own_file, registry, monkeypatch):
    found = registry.find(f"{own_file}:Halved")
    monkeypatch.setenv("HOME", str(own_file.parent))
    assert registry.find("~/own rules.py:Halved") is found
    monkeypatch.chdir(own_file.parent)
    assert registry.find("own rules.py:Halved") is found


def test_two_files_of_one_name_stay_apart(tmp_path, registry):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(f"def make(): return {name!r}")
    assert registry.find(f"{tmp_path}/one/mine.py:make")() == "one"
    assert registry.find(f"{tmp_path}/two/mine.py:make")() == "two"


def test_a_file_that_is_not_there_is_a_mistake(tmp_path, registry):
    with pytest.raises(
        UserMistake, match=f"there is no file {tmp_path}/none.py; expected path/to/file.py:Name"
    ):
        registry.find(f"{tmp_path}/none.py:Rule")


@pytest.mark.parametrize("name", ["Quartered", "", "Halved.share"])
def test_a_name_that_a_file_does_not_define_is_a_mistake(own_file, registry, name):
    with pytest.raises(UserMistake, match=f"defines no '{name}'"):
        registry.find(f"{own_file}:{name}")


def test_what_cannot_be_called_is_no_rule(own_file, registry):
    with pytest.raises(UserMistake, match=r"NUMBER.* is of type int.*expected a class or function"):
        registry.find(f"{own_file}:NUMBER")


def test_what_makes_no_rule_is_refused(tmp_path, net):
    file = tmp_path / "mine.py"
    file.write_text("def make(net, sample): return net")
    with pytest.raises(UserMistake, match=r"makes a Sequential, expected a biograd.Rule"):
        rules.create(f"{file}:make", net)


@pytest.mark.parametrize("text", ["def broken(:", "raise ValueError('no')", "import no_such_module_anywhere"])
def test_a_file_that_cannot_be_imported_says_why_and_may_be_mended(tmp_path, registry, text):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(
        UserMistake, match=r"mine.py cannot be imported: (SyntaxError|ValueError|ModuleNotFound)"
    ):
        registry.find(f"{file}:Halved")
    file.write_text(RULE)
    assert registry.find(f"{file}:Halved").__name__ == "Halved"


def test_a_class_stands_for_itself(net):
    assert isinstance(rules.create(Backpropagation, net), Backpropagation)
    with pytest.raises(UserMistake, match="rule Backpropagation has no setting 'share'"):
        rules.create(Backpropagation, net, share=2)
    assert isinstance(nets.create(lambda shape, outputs: nn.Linear(shape[0], outputs), (3,), 2), nn.Linear)


def test_what_is_neither_a_name_nor_a_class_is_a_mistake(net):
    with pytest.raises(UserMistake, match="rule 3 is of type int; expected a class or function"):
        rules.create(3, net)


def test_a_file_without_a_name_is_told(registry):
    with pytest.raises(UserMistake, match=r"rule 'mine\.py' is a file: say what of it, mine\.py:NAME"):
        registry.find("mine.py")
