import re
import runpy
from pathlib import Path

import pytest
import torch

from biograd import nets
from biograd.credit.chain.blocks import blocks

PAGE = (Path(__file__).parents[2] / "docs" / "nets.md").read_text()
ROWS = re.findall(r"^\| `([\w-]+)` \| ([\d×]+) \| .*? \| ([\d,]+) \| (\d+) \|", PAGE, re.MULTILINE)


def test_the_table_names_every_net():
    assert [row[0] for row in ROWS] == list(nets.REGISTRY._built_in)


@pytest.mark.parametrize(("name", "shape", "parameters", "parts"), ROWS, ids=[row[0] for row in ROWS])
def test_the_table_gives_the_sizes_that_nets_have(name, shape, parameters, parts):
    sizes = tuple(map(int, shape.split("×")))
    with torch.device("meta"):
        net = nets.create(name, sizes, 1000 if sizes[-1] == 224 else 10)
    assert f"{sum(p.numel() for p in net.parameters()):,}" == parameters
    assert len(blocks(net)) == int(parts)


@pytest.fixture
def page(tmp_path):
    """Everything that the page's Python defines."""
    code = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "page.py").write_text("\n".join(code))
    return tmp_path / "page.py"


def test_the_python_of_the_page_runs(page):
    shown = runpy.run_path(str(page))
    assert shown["layer"].weight.shape == (16, 16, 5, 5, 3, 64)
    assert shown["layer"].bias.shape == (64, 16, 16)
    assert shown["back"].weight.shape == shown["layer"].weight.shape
    assert shown["back"].bias.shape == (3, 32, 32)
    assert shown["net"](torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert shown["t"].shape == shown["x"].shape
    assert shown["passed_on"].shape == (8, 48, 14, 14)


def test_the_net_of_one_s_own_is_used_by_its_file(page):
    net = nets.create(f"{page}:retina", (1, 9, 9), 4, seed=0, channels="3")
    assert net(torch.zeros(2, 1, 9, 9)).shape == (2, 4)
    assert net[0].out_channels == 3


def test_the_command_for_a_net_of_one_s_own_trains_it(page, biograd):
    ended = biograd(
        "train", "--rule", "dfa", "--data", "digits", "--net", f"{page}:retina", "--net.channels", 2,
        "--epochs", 1, "--out", page.parent / "run", "--json",
    )  # fmt: skip
    assert (ended.code, ended.row["status"]) == (0, "done")
