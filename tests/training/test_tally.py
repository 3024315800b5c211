import torch

from biograd.rules.base import Credit
from biograd.training.tally import ClassTally, Tally, means, scores


def test_means_are_per_example_whatever_the_batches():
    torch.manual_seed(0)
    output, y = torch.randn(7, 3), torch.randint(0, 3, (7,))
    tally = Tally(torch.device("cpu"))
    for part in (slice(0, 5), slice(5, 7)):
        loss = torch.nn.functional.cross_entropy(output[part], y[part])
        tally.add(Credit(loss, output[part]), y[part])
    loss, accuracy = means(tally.sums())
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(output, y).item())
    assert accuracy == (output.argmax(1) == y).double().mean().item()


def test_sums_go_on_where_they_were():
    tally, other = Tally(torch.device("cpu")), Tally(torch.device("cpu"))
    tally.add(Credit(torch.tensor(1 / 3), torch.eye(2)), torch.tensor([0, 0]))
    other.restore(tally.sums())
    assert torch.equal(other.sums(), tally.sums())
    assert other.examples == 2


def test_balanced_accuracy_is_the_mean_over_classes_whatever_the_batches():
    y = torch.tensor(
        [0, 0, 0, 0, 0, 0, 0, 0, 3, 3]
    )  # no example of 1 and 2, which others of the set may name
    said = torch.tensor([0, 0, 0, 0, 0, 0, 0, 3, 3, 0])
    device = torch.device("cpu")
    tally, of_classes = Tally(device), ClassTally(4, device)
    for part in (slice(0, 7), slice(7, 10)):
        output = torch.nn.functional.one_hot(said[part], 4).double()
        tally.add(Credit(torch.tensor(0.5), output), y[part])
        of_classes.add(output, y[part])
    assert scores(tally.sums(), of_classes.counts) == (0.5, 0.8, (7 / 8 + 1 / 2) / 2)
