"""Diabetes: a regression small enough to train on in a second, and always there."""

from pathlib import Path

from biograd.data.card import Card
from biograd.data.dataset import DataSet, Split
from biograd.data.tasks import Regression

CARD = Card(
    title="Diabetes",
    train=332,
    test=110,
    shape=(10,),
    outputs=1,
    licence="none stated by its authors; a file of scikit-learn, BSD 3-Clause",
    homepage="https://www4.stat.ncsu.edu/~boos/var.select/diabetes.html",
    task="regression",
)


def diabetes(directory: str | Path | None, download: bool, seed: int) -> DataSet:
    """How far the disease of 442 patients has gone within a year, from ten measurements; a quarter is the test part.

    Comes with scikit-learn: nothing is read from ``directory`` or downloaded. Returns inputs (n, 10) float32 (age,
    sex, body mass index, blood pressure, six of blood serum) and targets (n, 1) float32, a score from 25 to 346. The
    test part is drawn by seed.

    Reference:
        Efron, Hastie, Johnstone, Tibshirani: Least angle regression. Annals of Statistics, 2004.
    """
    import torch
    from sklearn.datasets import load_diabetes

    from biograd.data.splits import carve_validation
    from biograd.data.statistics import standardisation

    measurements, progression = load_diabetes(return_X_y=True, scaled=False)
    inputs, targets = (torch.tensor(one, dtype=torch.float32) for one in (measurements, progression))
    names = ("progression",)
    whole = Split(inputs, targets.unsqueeze(1))
    train, test = carve_validation(whole, Regression.standardised(names, whole.targets), 1 / 4, seed)
    return DataSet(
        "diabetes", train, test, Regression.standardised(names, train.targets), standardisation(train.inputs)
    )
