"""Studies: what was asked, with which cells and budgets, and what has been published; all of it data."""

from typing import TYPE_CHECKING

from biograd.errors import UserMistake
from biograd.registry import Registry

if TYPE_CHECKING:
    from biograd.studies.study import Study

__all__ = ["REGISTRY", "find", "names"]

REGISTRY = Registry(
    "study",
    {
        "bartunov2018": "biograd.studies.bartunov2018:bartunov2018",
        "feedback-family": "biograd.studies.feedback_family:feedback_family",
        "gait-prop": "biograd.studies.gait_prop:gait_prop",
        "local-stdp": "biograd.studies.local_stdp:local_stdp",
        "low-precision": "biograd.studies.low_precision:low_precision",
        "song2021": "biograd.studies.song2021:song2021",
    },
    "biograd.studies",
)


def names() -> list[str]:
    """The names of every study, third-party ones included."""
    return REGISTRY.names()


def find(name: str) -> "Study":
    """The study of a name.

    Args:
        name: one of `names()`, or ``path/to/file.py:name`` of a function that returns the study.

    Raises:
        UserMistake: there is none, or what the name stands for fails or returns something else.
    """
    from biograd.studies.study import Study
    from biograd.training import user_code

    make = REGISTRY.find(name)
    with user_code.blamed("study", name):
        study = make()
    if not isinstance(study, Study):
        raise UserMistake(
            f"study {name!r} makes a {type(study).__name__}, expected a biograd.studies.study.Study"
        )
    return study
