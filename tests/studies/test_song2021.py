"""The study trains what the paper trains, and compares with what it published."""

import pytest

from biograd import nets
from biograd.studies.cells import configuration
from biograd.studies.song2021 import ALIGNMENT, DECAYS, OUTPUT_WEIGHT, SEEDS, song2021
from biograd.studies.study import BUDGETS

STUDY = song2021()


@pytest.mark.parametrize("budget", BUDGETS)
def test_every_cell_is_a_configuration(budget):
    cells = [cell for cell in STUDY.cells if cell.budget(budget)]
    configs = [configuration(cell, budget, 0, {"device": "cpu"}) for cell in cells]
    assert len({config.digest() for config in configs}) == len(cells)


def test_the_decay_is_of_the_output_layer_alone_and_absent_at_zero():
    net = nets.create("two-layer", (1, 28, 28), 10)
    assert net.get_parameter(OUTPUT_WEIGHT).shape == (10, 1000)
    for cell in STUDY.cells:
        penalty = configuration(cell, "full", 0, {"device": "cpu"}).penalty
        decay = float(cell.label.removeprefix("lambda-"))
        assert penalty.name == ("decay" if decay else "none")
        assert penalty.settings == ({"strength": decay, "weights": (OUTPUT_WEIGHT,)} if decay else {})


def test_lambdas_differ_in_nothing_but_the_decay():
    for epochs in SEEDS:
        cells = [cell for cell in STUDY.cells if cell.name.startswith(f"epochs-{epochs}/")]
        configs = [configuration(cell, "full", 0, {"device": "cpu"}).to_json() for cell in cells]
        for config in configs:
            config["penalty"] = config["label"] = None
        assert len(cells) == len(DECAYS)
        assert all(config == configs[0] for config in configs)


def test_each_length_has_its_published_accuracy_and_the_last_its_alignment():
    for group in STUDY.groups:
        accuracy, cosine = group.shows
        assert accuracy.published is not None
        is_last = group.name.endswith(f"epoch {max(SEEDS)}")
        assert (cosine.published is not None) == is_last
    assert {decay: published.value for decay, published in ALIGNMENT.items()} == {
        0.0: 0.07,
        0.1: 0.55,
        0.3: 0.659,
    }
