"""`biograd report` as a user types it."""

import pytest


@pytest.mark.usefixtures("blank_figures")
def test_figures_are_of_the_part_that_is_asked_for(biograd, folder):
    biograd("compare --rules bp,fa --data iris --net mlp --net.widths 8,8 --epochs 1 --seeds 1 --out c")
    biograd("report c")
    assert list((folder / "c" / "figures").glob("test-accuracy-*"))
    for path in (folder / "c" / "figures").iterdir():
        path.unlink()
    assert biograd("report c --part validation").code == 0
    names = [path.name for path in (folder / "c" / "figures").iterdir()]
    assert any("validation-accuracy" in name for name in names)
    assert not any("test-accuracy" in name for name in names)
    assert "--part" in biograd("report c --part tset").mistake
