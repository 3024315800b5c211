import numpy as np
import pytest
from scipy.stats import qmc

from biograd import rules
from biograd.errors import UserMistake
from biograd.searched import Among, LogUniform, Uniform
from biograd.training import RunConfig
from biograd.tuning import Contender, contenders, point, space_of

SPACE = {
    "optimizer.lr": LogUniform(1e-5, 1e-2),
    "rule.alpha": Uniform(0.0, 1.0),
    "rule.step": Among("sum", "mean"),
}


def searched(name, **given):
    (one,) = contenders([name], {"data": "digits", "net": "mlp", **given})
    return one.space


def test_points_are_the_scrambled_sobol_sequence_of_their_seed():
    expected = qmc.Sobol(3, scramble=True, rng=np.random.default_rng(7)).random_base2(4)
    for index in (11, 0, 5):
        rate, alpha, step = point(SPACE, 7, index).values()
        assert np.log10(rate) == pytest.approx(-5 + 3 * expected[index, 0], abs=1e-3)
        assert alpha == pytest.approx(expected[index, 1], abs=1e-4)
        assert step == ("sum", "mean")[int(2 * expected[index, 2])]


def test_a_point_is_a_function_of_seed_and_index_alone():
    backwards = [point(SPACE, 0, index) for index in reversed(range(20))]
    assert backwards[::-1] == [point(SPACE, 0, index) for index in range(20)]
    assert point(SPACE, 0, 4) != point(SPACE, 1, 4)
    assert len({tuple(point(SPACE, 0, index).values()) for index in range(64)}) == 64


def test_what_is_tried_can_be_typed_again():
    for value in point(SPACE, 0, 3).values():
        assert value == "sum" or value == "mean" or value == float(f"{value:.4g}")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Uniform(1, 1),
        lambda: Uniform(0, float("inf")),
        lambda: LogUniform(0, 1),
        lambda: LogUniform(2, 1),
        lambda: Among(1),
        lambda: Among(1, 2, 1),
    ],
)
def test_a_range_without_an_inside_is_refused(make):
    with pytest.raises(UserMistake, match="expected"):
        make()


@pytest.mark.parametrize("rule", rules.names())
def test_what_a_rule_says_is_searched_it_takes_from_end_to_end(rule):
    one = Contender.of({"rule": rule, "data": "digits", "net": "mlp"})
    assert "optimizer.lr" in one.space
    for share in (0.0, 1 - 2**-30):
        config = one.config({name: over.at(share) for name, over in one.space.items()})
        assert space_of(config, {}).keys() >= one.space.keys() - {"feedback_optimizer.eps"}


def test_a_setting_that_is_given_is_not_searched_however_it_is_given(tmp_path):
    assert {"rule.alpha", "rule.noise", "optimizer.lr", "feedback_optimizer.lr"} <= searched("dtp").keys()
    assert "rule.alpha" not in searched("dtp", rule={"alpha": 0.1})
    assert "optimizer.lr" not in searched("dtp", lr=1e-3)
    assert "optimizer.lr" not in searched("dtp", optimizer={"lr": "1e-3"})
    assert "feedback_optimizer.lr" not in searched("dtp", feedback_optimizer="shared")
    file = tmp_path / "rules.toml"
    file.write_text('data = "digits"\nnet = "mlp"\n[rules.dtp]\nrule = {noise = 0.2}\n')
    (one,) = contenders(None, file=file)
    assert "rule.noise" not in one.space
    assert "rule.alpha" in one.space


def test_what_a_rule_says_of_its_optimizer_holds_for_that_one_alone():
    assert str(searched("kp")["optimizer.weight_decay"]) == "0.1 to 10, logarithmic"
    assert "optimizer.weight_decay" not in searched("kp", optimizer="sgd")
    assert str(searched("bp", optimizer="sgd")["optimizer.lr"]) == "0.001 to 1, logarithmic"


def test_the_strength_of_a_penalty_that_is_named_is_searched():
    (one,) = contenders(["bp"], {"data": "digits", "net": "mlp", "penalty": "orthogonality"})
    assert one.config(point(one.space, 0, 0)).penalty.settings["strength"] > 0
    assert "penalty.strength" not in searched("bp", penalty={"name": "orthogonality", "strength": 0.1})


def test_a_rule_in_a_file_of_ones_own_declares_its_space_there(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "from typing import Annotated\n"
        "from biograd.rules.frozen import Frozen\n"
        "from biograd.rules.backpropagation import Backpropagation\n"
        "from biograd.searched import LogUniform, Uniform\n"
        "class Own(Backpropagation):\n"
        "    searched_training = {'optimizer.lr': LogUniform(1e-3, 1e-2)}\n"
        "    def __init__(self, net, sample=None, *, sparsity: Annotated[float, Uniform(0, 1)] = 0.5):\n"
        "        super().__init__(net, sample)\n"
    )
    space = searched(f"{file}:Own")
    assert str(space["rule.sparsity"]) == "0 to 1"
    assert str(space["optimizer.lr"]) == "0.001 to 0.01, logarithmic"


def test_nothing_left_to_search_and_nothing_to_choose_by_are_refused():
    with pytest.raises(UserMistake, match="bp: nothing is left to search"):
        searched("bp", optimizer={"lr": 1e-3, "eps": 1e-8})
    with pytest.raises(UserMistake, match="validation_fraction is 0"):
        searched("bp", validation_fraction=0)


def test_the_layer_of_a_contender_is_its_whole_configuration():
    (one,) = contenders(["dtp"], {"data": "digits", "net": "mlp", "epochs": 3})
    assert one.config({}) == RunConfig.from_sources(
        {"rule": "dtp", "data": "digits", "net": "mlp", "epochs": 3}
    )
