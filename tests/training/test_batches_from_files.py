"""Data need not be a tensor in memory: a run is taught by whatever gives batches."""

import dataclasses

import pytest
import torch
from tests.training.mapped import MappedBatches, write

from biograd import records
from biograd.training import Ranks, build, evaluation
from biograd.training.observers import of_run
from biograd.training.trainer import Trainer


def test_a_run_reads_each_example_once_an_epoch_and_is_taught_by_it(make_config, net_file, tmp_path):
    write(tmp_path)
    config = make_config(net=net_file("plain"), precision="float64", batch_size=5, validation_fraction=0)
    mapped = MappedBatches(tmp_path, 5)
    setup = dataclasses.replace(build(config), training=mapped)
    (tmp_path / "run").mkdir()
    trainer = Trainer(setup, Ranks(setup.device), tmp_path / "run", of_run(config, Ranks(setup.device)))
    trainer.run()
    assert all(sorted(mapped.loaded[epoch]) == list(range(23)) for epoch in (0, 1))
    assert [row["step"] for row in records.read_lines(tmp_path / "run" / "metrics.jsonl")] == [5, 10]

    plain, held = build(config), MappedBatches(tmp_path, 5)
    for epoch in (0, 1):
        for x, y in list(held.epoch(epoch)):
            plain.optimizer.zero_grad()
            plain.loss_fn(plain.net(x), y).backward()
            plain.optimizer.step()
            plain.schedule.scheduler.step()
    for trained, expected in zip(setup.net.parameters(), plain.net.parameters(), strict=True):
        torch.testing.assert_close(trained, expected, rtol=1e-12, atol=0)


def test_processes_read_what_they_judge_and_nothing_else(make_config, tmp_path, monkeypatch):
    write(tmp_path)
    setup = build(make_config(precision="float64"))
    alone = evaluation.evaluate(setup, MappedBatches(tmp_path, 5), Ranks(setup.device))
    read, sums = [], []
    monkeypatch.setattr(Ranks, "sum", lambda ranks, value: sums.append(value) or value)
    for rank in range(3):
        mapped = MappedBatches(tmp_path, 5)
        evaluation.evaluate(setup, mapped, Ranks(setup.device, rank, 3))
        read.append(mapped.loaded[0])
    assert sorted(number for one in read for number in one) == list(range(23))
    assert [len(one) for one in read] == [9, 9, 5]  # of five, five, five, five and three
    loss, _, examples = sum(sums[::2]).tolist()
    assert loss / examples == pytest.approx(alone.loss, rel=1e-12)
