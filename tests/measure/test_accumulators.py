"""What is summed over the data obeys the laws of `measure.laws`, in rounds that build on one another too."""

import pytest
import torch

import libasis
from cut.cutting import randn
from libasis.measure import Accumulator, Records, measure, measure_all
from libasis.numerics import StreamingMoments, Sums
from measure.laws import assert_merges, assert_plain, assert_resumes

D = 3


class Spread(Accumulator):
    """A toy: the mean in the first round, mean squared distances from it in the second."""

    sums = ("total", "squares", "n", "moments", "by_size")
    plan = ("mean",)

    def __init__(self):
        self.total = self.squares = None
        self.n, self.mean = 0, None
        self.moments = [StreamingMoments(D)]
        self.by_size = {4: 0, 5: 0}

    def add(self, record):
        x = record.vectors(0)
        if self.mean is not None:
            squares = (x - self.mean).square().sum()
            self.squares = squares if self.squares is None else self.squares + squares
            return
        total = x.sum(0)
        self.total = total if self.total is None else self.total + total
        self.n += len(x)
        self.by_size[record.size] += 1
        self.moments[0].update(x)

    def another_round(self):
        if self.mean is None:
            self.mean = self.total / self.n
            return True
        return False

    def finish(self):
        return self.mean, self.squares / self.n, self.moments[0].covariance.trace(), self.by_size


def close(found, expected):
    *numbers, sizes = zip(found, expected, strict=True)
    assert sizes[0] == sizes[1]
    for mine, truth in numbers:
        torch.testing.assert_close(mine, truth, rtol=1e-12, atol=1e-12)


@pytest.fixture
def records():
    model = torch.nn.Linear(D, 2).double().eval()
    sizes = 4, 5, 4, 5
    return Records(libasis.trace(model, randn(2, D), ["input", "output"]), [randn(n, D, seed=n) for n in sizes])


def test_a_toy_obeys_the_laws(records):
    batches = list(records.stream())
    assert_merges(Spread, batches, close)
    assert_resumes(Spread, batches, close)


def test_what_breaks_a_law_is_found(records):
    class Last(Spread):
        """Forgets all batches but the last."""

        def add(self, record):
            self.total, self.n = None, 0
            super().add(record)

    class Forgets(Spread):
        """Its state lacks the mean: the second round would be taken for the first."""

        plan = ()

    batches = list(records.stream())
    with pytest.raises(AssertionError):
        assert_merges(Last, batches, close)
    with pytest.raises((AssertionError, TypeError)):
        assert_resumes(Forgets, batches, close)


def test_the_driver_goes_through_the_data_as_often_as_is_asked(records):
    class Counting(Spread):
        """Counts what it is given."""

        seen = ()

        def add(self, record):
            assert not torch.is_grad_enabled()
            self.seen = (*self.seen, record.index)
            super().add(record)

    both = Counting(), Counting()
    measure_all(records, list(both), "toys")
    alone = measure(records, Spread(), "toy")
    for one in both:
        assert one.seen == (0, 1, 2, 3) * 2
        close(one.finish(), alone)


class Nested(Sums):
    """Sums of every kind."""

    sums = ("tensor", "number", "nothing", "part", "several", "by_name")

    def __init__(self, tensor=0.0, number=0, nothing=None, several=()):
        self.tensor, self.number, self.nothing = torch.full((2,), tensor), number, nothing
        self.part = StreamingMoments(1)
        self.several = [StreamingMoments(1) for _ in several]
        self.by_name = {f"n{i}": x for i, x in enumerate(several)}
        for moments, x in zip(self.several, several, strict=True):
            moments.update(torch.tensor([[x]]))


def test_sums_of_every_kind_add_up():
    one, two = Nested(1.0, 2, None, (3.0, 4.0)), Nested(5.0, 6, torch.ones(1), (7.0, 8.0))
    one.merge(two)
    assert one.tensor.tolist() == [6.0, 6.0]
    assert (one.number, one.nothing.tolist(), one.part.n) == (8, [1.0], 0)
    assert [m.n for m in one.several] == [2, 2]
    assert one.several[1].mean.tolist() == [6.0]
    assert one.by_name == {"n0": 10.0, "n1": 12.0}


def test_what_one_side_lacks_is_taken_from_the_other():
    one, two = Nested(), Nested(several=(7.0, 8.0))
    one.merge(two)
    assert [m.n for m in one.several] == [1, 1]
    assert one.by_name == {"n0": 7.0, "n1": 8.0}
    one.merge(Nested())
    assert [m.n for m in one.several] == [1, 1]


def test_a_state_is_plain_and_is_read_back():
    one = Nested(1.0, 2, torch.ones(1), (3.0, 4.0))
    state = one.state()
    assert_plain(state)
    assert set(state) > {"tensor", "number", "part.n", "several.1.mean", "by_name.n0"}
    assert "nothing" not in Nested().state()
    again = Nested(several=(0.0, 0.0))
    again.load(state)
    assert again.tensor.tolist() == [1.0, 1.0]
    assert again.several[1].mean.tolist() == [4.0]
    assert again.by_name == one.by_name
    one.tensor += 1  # what was written down stays
    assert again.tensor.tolist() == state["tensor"].tolist() == [1.0, 1.0]


def test_an_emptied_one_has_seen_nothing_and_leaves_the_other():
    one = Nested(float("inf"), 2, None, (3.0,))
    two = one.emptied()
    assert (two.tensor.tolist(), two.number, two.nothing) == ([0.0, 0.0], 0, None)
    assert (two.several[0].n, two.by_name) == (0, {"n0": 0})
    assert (one.several[0].n, one.by_name, one.number) == (1, {"n0": 3.0}, 2)
