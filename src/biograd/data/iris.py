"""Iris: the smallest test that a rule learns at all."""

from pathlib import Path

from biograd.data.card import Card
from biograd.data.dataset import DataSet, Split
from biograd.data.tasks import Classes

CARD = Card(
    title="Iris",
    train=100,
    test=50,
    shape=(4,),
    outputs=3,
    licence="CC BY 4.0",
    homepage="https://archive.ics.uci.edu/dataset/53/iris",
)


def iris(directory: str | Path | None, download: bool, seed: int) -> DataSet:
    """Four measurements of 150 flowers, three species; a third, drawn by seed, is the test part.

    Comes with scikit-learn: nothing is read from ``directory`` or downloaded. Returns inputs (n, 4)
    float32, in centimetres; every species gives its share of both parts.

    Reference:
        Fisher: The use of multiple measurements in taxonomic problems. Annals of Eugenics, 1936.
    """
    import torch
    from sklearn.datasets import load_iris

    from biograd.data.splits import carve_validation
    from biograd.data.statistics import standardisation

    measurements, species = load_iris(return_X_y=True)
    whole = Split(torch.tensor(measurements, dtype=torch.float32), torch.tensor(species, dtype=torch.int64))
    task = Classes(("setosa", "versicolor", "virginica"))
    train, test = carve_validation(whole, task, 1 / 3, seed)
    return DataSet("iris", train, test, task, standardisation(train.inputs))
