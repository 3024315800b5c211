"""Names in records reach a terminal without what would move its cursor, colour it or turn its text around."""

import json
import shutil
from pathlib import Path

import pytest
from tests import small_run

ODD = "a\x1b[31m\x07\u202eb\ud800"
SHOWN = "a�[31m��b�"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return small_run.trained("fa", tmp_path_factory.mktemp("trained") / "run")


@pytest.mark.parametrize("command", ["report", "resume"])
def test_an_odd_name_is_shown_with_signs_in_place_of_what_has_none(
    command, trained, tmp_path, biograd, blank_figures
):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    for file, key in (("config.json", "label"), ("result.json", "label"), ("result.json", "run")):
        content = json.loads((run / file).read_text())
        (run / file).write_text(json.dumps({**content, key: ODD}))
    if command == "resume":  # a configuration with such a label is refused
        shutil.copy(trained / "config.json", run)
    ended = biograd(command, run)
    assert ended.code == 0
    assert SHOWN in ended.out
    assert all(line.isprintable() for line in ended.out.splitlines())
