import torch

from biograd import nets


def test_weights_have_variance_one_and_the_output_is_divided_by_the_root_of_the_width():
    net = nets.create("two-layer", (1, 28, 28), 10, seed=0)
    first, second = net[1].weight, net[3].weight
    assert (first.shape, second.shape) == ((1000, 784), (10, 1000))
    for weight in (first, second):
        assert abs(weight.mean()) < 0.02
        assert abs(weight.std() - 1) < 0.02
    x = torch.randn(3, 1, 28, 28)
    torch.testing.assert_close(net(x), torch.relu(x.flatten(1) @ first.t()) @ second.t() / 1000**0.5)
    assert sum(p.numel() for p in net.parameters()) == 794_000


def test_width_and_nonlinearity_are_settings():
    net = nets.create("two-layer", (4,), 2, width=9, activation="tanh")
    x = torch.randn(3, 4)
    torch.testing.assert_close(net(x), torch.tanh(x @ net[0].weight.t()) @ net[2].weight.t() / 3)
