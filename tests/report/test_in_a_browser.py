"""A reader's browser shows the page whole, sorts the best to the top at once, and is told to fetch nothing."""

import pytest
from tests.report.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

TITLES = "[...document.querySelectorAll('#summary thead th')]"
CLICK = TITLES + ".find((title) => title.textContent === '{}').querySelector('button').click()"
FIRST = "[...document.querySelectorAll('#summary tbody tr')].map((row) => row.cells[0].textContent)"
WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def clicked(browser, title):
    browser.run(CLICK.format(title))
    return browser.run(FIRST)


def test_the_first_click_puts_the_best_on_top_and_the_second_the_worst(browser, runs_folder):
    browser.show(runs_folder / "report.html")
    assert browser.run(FIRST) == ["bp", "fa", "dfa", "shallow"]
    for part in ("test", "validation"):
        assert clicked(browser, f"{part} accuracy %")[::3] == ["bp", "shallow"]
        assert clicked(browser, f"{part} accuracy %")[::3] == ["shallow", "bp"]
    assert clicked(browser, "seconds")[:2] == ["shallow", "dfa"]
    assert clicked(browser, "Δ bp")[::3] == ["fa", "bp"]  # bp stands beside itself, and so below
    assert clicked(browser, "rule") == ["bp", "dfa", "fa", "shallow"]


@pytest.mark.parametrize("width", [375, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_any_screen_and_fetches_nothing(browser, runs_folder, width, dark):
    browser.fetched.clear()
    browser.show(runs_folder / "report.html", width=width, dark=dark)
    assert not browser.run(WIDER)
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(15, 18, 23)") is dark
    assert browser.fetched == [(runs_folder / "report.html").resolve().as_uri()]
    assert browser.complaints == []
