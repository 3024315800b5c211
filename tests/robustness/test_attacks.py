import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from biograd import UserMistake
from biograd.robustness import fgsm, pgd, square
from biograd.robustness.ball import into_ball
from biograd.robustness.projected_gradient_descent import _worse_for_the_model
from biograd.robustness.scores import accuracy, is_right, margins

ATTACKS = {
    "fgsm": fgsm,
    "pgd": lambda *given, **more: pgd(*given, steps=4, restarts=2, **more),
    "square": lambda *given, **more: square(*given, queries=12, **more),
}


def linear(classes, seed):
    """A model of random weights, for inputs of any shape."""

    def predict(x):
        flat = x.flatten(1)
        weights = torch.randn(flat.shape[1], classes, generator=torch.Generator().manual_seed(seed))
        return flat @ weights.to(x.dtype)

    return predict


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
@settings(max_examples=25, deadline=None)
@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 5)),
        st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
        st.tuples(st.integers(1, 3), st.integers(1, 6)),
    ),
    batch=st.integers(0, 6),
    epsilon=st.floats(0, 2),
    classes=st.integers(2, 4),
    seed=st.integers(0, 2**32),
    bounded=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_an_attack_stays_within_ball_and_bounds(attack, shape, batch, epsilon, classes, seed, bounded, dtype):
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, *shape, generator=draw, dtype=dtype)
    y = torch.randint(classes, (batch,), generator=draw)
    kept, random = x.clone(), torch.get_rng_state()
    bounds = (0.0, 1.0) if bounded else (None, None)
    attacked = attack(linear(classes, seed), x, y, epsilon, *bounds)
    assert (attacked.shape, attacked.dtype, attacked.requires_grad) == (x.shape, x.dtype, False)
    if batch:
        assert (attacked - x).abs().max() <= epsilon + 1e-6
    if bounded and batch:
        assert attacked.min() >= 0
        assert attacked.max() <= 1
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_no_change_is_allowed_at_epsilon_zero(digits, attack):
    net, x, y = digits
    assert torch.equal(attack(net, x, y, 0.0, 0.0, 1.0), x)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_the_same_call_gives_the_same_examples(digits, attack):
    net, x, y = digits
    assert torch.equal(attack(net, x, y, 0.1, 0.0, 1.0), attack(net, x, y, 0.1, 0.0, 1.0))


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("epsilon", [-0.1, float("nan"), float("inf")])
def test_a_size_that_is_none_is_refused(digits, attack, epsilon):
    net, x, y = digits
    with pytest.raises(UserMistake, match="epsilon is a number ≥ 0"):
        attack(net, x, y, epsilon)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_inputs_outside_the_bounds_are_refused(digits, attack):
    net, x, y = digits
    with pytest.raises(UserMistake, match="outside the bounds"):
        attack(net, 255 * x, y, 0.1, 0.0, 1.0)


def test_the_nearest_point_of_the_ball_and_the_bounds():
    x, moved = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([-1.0, 0.55, 2.0])
    torch.testing.assert_close(into_ball(moved, x, 0.2, 0.0, 1.0), torch.tensor([0.0, 0.55, 1.0]))
    torch.testing.assert_close(into_ball(moved, x, 0.2, None, None), torch.tensor([-0.1, 0.55, 1.1]))


def test_fgsm_moves_every_value_to_the_border_where_the_loss_grows():
    def model(x):
        return torch.stack([x[:, 0] - 2 * x[:, 1], 0 * x[:, 2]], 1)

    attacked = fgsm(model, torch.zeros(1, 3), torch.tensor([0]), 0.3)
    torch.testing.assert_close(attacked, torch.tensor([[-0.3, 0.3, 0.0]]))


def test_fgsm_follows_the_gradient_that_it_is_given():
    attacked = fgsm(lambda x: x, torch.zeros(1, 2), torch.tensor([0]), 0.5, gradient=lambda x, y: x + 7)
    assert torch.equal(attacked, torch.full((1, 2), 0.5))


def test_pgd_begins_anywhere_in_the_ball():
    x, y = torch.full((4000, 1), 0.5), torch.zeros(4000, dtype=torch.long)

    def nowhere(x, y):
        return torch.zeros_like(x)

    moved = pgd(lambda x: x, x, y, 0.2, gradient=nowhere, steps=1) - x
    assert moved.abs().max() <= 0.2
    assert abs(moved.mean()) < 0.01
    assert abs(moved.std() - 0.4 / 12**0.5) < 0.01  # uniform


def test_pgd_steps_reach_every_point_of_the_ball_unless_a_size_is_given():
    x, y = torch.zeros(1, 1), torch.tensor([0])
    steps = {"steps": 4, "gradient": lambda x, y: torch.ones_like(x), "start": torch.tensor([[-1.0]])}
    torch.testing.assert_close(pgd(lambda x: x, x, y, 1.0, **steps), torch.tensor([[1.0]]))
    torch.testing.assert_close(pgd(lambda x: x, x, y, 1.0, step_size=0.1, **steps), torch.tensor([[-0.6]]))


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_a_step_of_pgd_is_two_and_a_half_radii_over_their_number(steps):
    """Madry et al. 2018: 2.5 ε / steps; here the gradient is there for the first step alone."""
    asked = []

    def once(x, y):
        asked.append(len(asked))
        return torch.full_like(x, len(asked) == 1)

    x, y = torch.zeros(1, 1, dtype=torch.float64), torch.tensor([0])
    moved = pgd(lambda x: x, x, y, 0.8, gradient=once, steps=steps, start=x)
    assert moved.item() == pytest.approx(min(0.8, 2.5 * 0.8 / steps), rel=1e-12)
    assert len(asked) == steps


def test_of_two_restarts_that_do_the_same_harm_the_first_is_kept():
    x, y = torch.zeros(5, 2), torch.zeros(5, dtype=torch.long)
    once, twice = (pgd(lambda x: 0 * x, x, y, 1.0, restarts=restarts) for restarts in (1, 2))
    assert torch.equal(once, twice)
    assert once.any()


@pytest.mark.parametrize("attack", [pgd, square])
def test_without_a_generator_the_seed_is_zero(digits, attack):
    net, x, y = digits
    count = {"steps": 1} if attack is pgd else {"queries": 3}
    given = attack(net, x, y, 0.1, generator=torch.Generator().manual_seed(0), **count)
    assert torch.equal(attack(net, x, y, 0.1, **count), given)


def test_more_restarts_leave_no_more_right(digits):
    net, x, y = digits
    few, many = (
        is_right(net(pgd(net, x, y, 0.12, 0.0, 1.0, steps=2, restarts=restarts)), y) for restarts in (1, 6)
    )
    assert (many <= few).all()  # the first start is the same
    assert accuracy(many) < accuracy(few)


def test_of_several_restarts_each_example_keeps_the_worst():
    """The loss has a hill on either side of the start, the left one lower: gradients lead to the nearest."""

    def model(x):
        right = torch.where(x[:, 0] > 0, -3 * x[:, 0], x[:, 0])
        return torch.stack([right + 9, torch.zeros_like(right)], 1)

    x, y = torch.zeros(200, 1), torch.zeros(200, dtype=torch.long)
    once, often = (pgd(model, x, y, 1.0, restarts=restarts) for restarts in (1, 20))
    assert 60 < (once > 0).sum() < 140
    assert (often > 0.99).all()


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"restarts": 0}, {"step_size": 0.0}, {"step_size": -1.0}])
def test_pgd_refuses_numbers_out_of_range(digits, wrong):
    with pytest.raises(UserMistake, match="pgd takes steps ≥ 1"):
        pgd(*digits, 0.1, **wrong)


def test_pgd_takes_one_start_for_one_restart(digits):
    net, x, y = digits
    with pytest.raises(UserMistake, match="a start goes with one restart"):
        pgd(net, x, y, 0.1, start=x, restarts=2)


@pytest.mark.parametrize("wrong", [{"queries": 1}, {"share": 0.0}, {"share": 1.5}])
def test_square_refuses_numbers_out_of_range(digits, wrong):
    with pytest.raises(UserMistake, match="square takes queries ≥ 2"):
        square(*digits, 0.1, **wrong)


@pytest.mark.parametrize("flat", [False, True])
def test_square_never_raises_a_margin_and_more_queries_lower_it(digits, flat):
    net, x, y = digits
    x = x.flatten(1) if flat else x
    before, few, many = (
        margins(net(attacked.view(-1, 1, 8, 8)), y)
        for attacked in (x, *(square(net, x, y, 0.1, 0.0, 1.0, queries=queries) for queries in (2, 100)))
    )
    assert (few <= before).all()
    assert (many <= before).all()
    assert accuracy(many >= 0) < accuracy(few >= 0) < accuracy(before >= 0)


def test_square_asks_for_as_many_answers_as_it_may_and_none_of_what_is_wrong_already():
    asked = torch.zeros(3, dtype=torch.long)

    def model(x):
        """The first example is wrong, the second can be made wrong, the third cannot."""
        for mark in x[:, 1].round().long().tolist():
            asked[mark] += 1
        right = torch.stack([torch.tensor([-1.0, 0.1, 9.0])[mark] for mark in x[:, 1].round().long()])
        return torch.stack([right + x[:, 0], torch.zeros(len(x))], 1)

    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    attacked = square(model, x, torch.zeros(3, dtype=torch.long), 0.2, queries=30)
    assert asked[0] == 1
    assert asked[1] < 15
    assert asked[2] == 30
    assert torch.equal(attacked[0], x[0])
    assert model(attacked)[1, 0] < 0


def test_square_asks_for_no_gradient(digits):
    net, x, y = digits

    def opaque(x):
        assert not torch.is_grad_enabled()
        return net(x.detach())

    assert accuracy(is_right(net(square(opaque, x, y, 0.3, 0.0, 1.0, queries=50)), y)) < 0.5


def test_squares_grow_smaller_and_every_channel_has_a_sign_of_its_own():
    x = torch.full((1, 2, 10, 10), 0.5)
    seen = []

    def model(tried):
        seen.append(tried[0] - x[0])
        return torch.tensor([[1.0, 0.0]])  # nothing helps

    square(model, x, torch.tensor([0]), 0.1, queries=400, share=0.36)
    stripes, squares = seen[1], list(seen[2:])
    assert (stripes.std(1) < 1e-6).all()  # each column is one colour
    changed = [(change - stripes).abs().amax(0) > 1e-6 for change in squares]
    sides = [mask.any(1).sum().item() for mask in changed]
    assert max(sides[:1]) <= 6
    assert sides[-1] <= 1
    apart = [(change[0] - change[1]).abs()[mask] > 0.1 for change, mask in zip(squares, changed, strict=True)]
    assert 0.2 < torch.cat(apart).double().mean() < 0.8


def test_the_side_of_a_square_is_that_of_the_papers_schedule_and_its_place_anywhere():
    """Of 10 000 queries the share is halved at 10, 50, 200, 1000, 2000, 4000, 6000 and 8000; here there are 1000."""
    x, seen = torch.zeros(1, 8, 32, 32), []

    def unmoved(tried):
        seen.append(tried[0])
        return torch.tensor([[1.0, 0.0]])

    square(unmoved, x, torch.tensor([0]), 0.1, queries=1000, share=1.0)
    rows = [(tried != seen[1]).any(0).any(1) for tried in seen[2:]]  # seen[1] are the stripes
    halved = [1, 5, 20, 100, 200, 400, 600, 800]
    shares = [0.5 ** sum(query >= at for at in halved) for query in range(2, 1000)]
    assert [int(changed.sum()) for changed in rows] == [round(32 * share**0.5) for share in shares]
    assert torch.stack(rows[-300:]).any(0).all()


def test_a_set_of_features_has_the_nearest_whole_number_of_them():
    x, seen = torch.zeros(200, 100), []

    def unmoved(tried):
        seen.append(tried)
        return torch.tensor([[1.0, 0.0]]).expand(len(tried), 2)

    square(unmoved, x, torch.zeros(200, dtype=torch.long), 0.1, queries=4, share=0.96)
    assert (seen[2] != seen[1]).sum(1).max() == 2  # 0.96 / 2⁶ of 100 features are 1.5


def test_a_tie_of_the_right_class_with_another_is_attacked_on():
    asked = []

    def tied(x):
        asked.append(len(x))
        return torch.zeros(len(x), 2)

    square(tied, torch.zeros(1, 3), torch.tensor([0]), 0.1, queries=5)
    assert asked == [1] * 5


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_does_harm(digits, attack):
    net, x, y = digits
    attacked = attack(net, x, y, 0.3, 0.0, 1.0)
    assert accuracy(is_right(net(x), y)) > 0.95
    assert accuracy(is_right(net(attacked), y)) < 0.75
    assert F.cross_entropy(net(attacked), y) > 2 * F.cross_entropy(net(x), y)


def test_a_misclassified_example_is_worse_than_one_with_a_larger_loss_that_is_right():
    right = torch.tensor([[0.36, 0.32, 0.32]]).log()  # cross-entropy 1.02
    wrong = torch.tensor([[0.40, 0.41, 0.19]]).log()  # 0.92
    y = torch.tensor([0])
    for first, second in ((right, wrong), (wrong, right)):
        assert torch.equal(_worse_for_the_model(lambda x: x, first, second, y), wrong)
