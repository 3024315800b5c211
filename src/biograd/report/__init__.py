"""Reports: tables and figures from records. Reads rows, never trains."""

import os
from pathlib import Path

__all__ = ["write_report"]


def write_report(
    directory: str | os.PathLike[str], title: str | None = None, *, validated: bool = False
) -> Path:
    """Write ``report.html`` and its figures for the runs below ``directory``.

    As `biograd.report.page.write_report`, which this imports when it is called: matplotlib is heavy.
    """
    from biograd.report import page

    return page.write_report(directory, title, validated=validated)
