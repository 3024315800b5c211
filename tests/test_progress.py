import itertools
from types import SimpleNamespace

from biograd import progress


def test_it_is_drawn_ten_times_a_second_at_most(monkeypatch):
    milliseconds = itertools.count()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(milliseconds) / 1000))
    drawn = []
    bar = progress.Bar(SimpleNamespace(update=lambda task, **state: drawn.append(state["completed"])), 0)
    for step in range(1000):
        bar.reach(step)
    assert 9 <= len(drawn) <= 10
    assert drawn[:2] == [0, 100]
