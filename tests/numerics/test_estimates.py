"""Laws of the estimate, its agreement with scipy, and how often its interval holds the truth."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from libasis.errors import OptionError
from libasis.numerics import Bootstrap, Estimate, paired

NAN = math.nan
SEEDS = st.integers(0, 10**6)


def study(seed, n, units=0):
    """Skewed differences, and the unit of each."""
    generator = np.random.default_rng(seed)
    labels = None if not units else generator.integers(units, size=n).tolist()
    return generator.lognormal(size=n) - 1.4, labels


def numbers(estimate):
    return [estimate.value, estimate.low, estimate.high, estimate.p]


def near(estimate, expected):
    assert numbers(estimate) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(SEEDS, st.sampled_from([6, 9, 15, 40]), st.sampled_from([0, 8, 20]))
def test_the_order_of_samples_and_the_names_of_units_do_not_matter(seed, n, units):
    d, labels = study(seed, n, units)
    order = np.random.default_rng(seed + 1).permutation(n)
    moved = None if labels is None else [f"patient {labels[i]}" for i in order]
    near(paired(d[order], moved, seed=seed), numbers(paired(d, labels, seed=seed)))


@given(SEEDS, st.sampled_from([6, 40]), st.sampled_from([0, 7, 20]), st.sampled_from([1e-6, 0.5, 300.0]))
def test_it_scales(seed, n, units, factor):
    d, labels = study(seed, n, units)
    value, low, high, p = numbers(paired(d, labels))
    near(paired(factor * d, labels), [factor * value, factor * low, factor * high, p])


@given(SEEDS, st.sampled_from([6, 40]), st.sampled_from([0, 7, 20]))
def test_the_opposite_differences_have_the_opposite_interval(seed, n, units):
    d, labels = study(seed, n, units)
    value, low, high, p = numbers(paired(d, labels))
    near(paired(-d, labels), [-value, -high, -low, p])


@given(SEEDS, st.sampled_from([6, 40]), st.sampled_from([0, 7, 20]), st.floats(-5, 5))
def test_a_shift_shifts_the_interval(seed, n, units, shift):
    d, labels = study(seed, n, units)
    before, after = paired(d, labels), paired(d + shift, labels)
    assert numbers(after)[:3] == pytest.approx([x + shift for x in numbers(before)[:3]], rel=1e-9, abs=1e-9)


@given(SEEDS, st.sampled_from([8, 30]))
def test_a_sample_copied_ten_times_tells_no_more(seed, n):
    d, _ = study(seed, n)
    copied = paired(np.repeat(d, 10), np.repeat(np.arange(n), 10))
    assert (copied.n, copied.units) == (10 * n, n)
    near(copied, numbers(paired(d)))
    near(paired(d, range(n)), numbers(paired(d)))


@pytest.mark.parametrize("kind", [list, np.array, torch.DoubleTensor, lambda d: nn.Parameter(torch.DoubleTensor(d))])
def test_any_row_of_numbers_will_do(kind):
    d, labels = study(3, 30, 14)
    assert numbers(paired(kind(d.tolist()), torch.tensor(labels))) == numbers(paired(d, labels))


def test_samples_without_a_score_are_left_out_and_counted():
    d, labels = study(1, 30, 14)
    holes = np.insert(d, [0, 7, 30], NAN)
    found = paired(holes, np.insert(labels, [0, 7, 30], 99))
    assert (found.n, found.missing, found.units) == (30, 3, 13)
    assert numbers(found) == numbers(paired(d, labels))


def test_the_seed_decides():
    d, _ = study(0, 25)
    assert paired(d, seed=4) == paired(d, seed=4)
    other = paired(d, seed=5)
    assert numbers(other) != numbers(paired(d, seed=4))
    assert numbers(other) == pytest.approx(numbers(paired(d, seed=4)), rel=0.2)


def test_few_units_have_the_interval_of_student_and_all_their_signs():
    d, _ = study(2, 10)
    found = paired(d, confidence=0.9)
    known = stats.ttest_1samp(d, 0).confidence_interval(0.9)
    assert (found.low, found.high) == (pytest.approx(known.low), pytest.approx(known.high))
    flips = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert found.p == pytest.approx(flips.pvalue)
    assert found.confidence == 0.9
    assert "Student" in found.method
    assert "independent" in found.method
    assert "few units (10)" in found.warning


def test_the_studentised_interval_by_hand():
    """Units of unequal size, drawn one by one, each time with an error of its own."""
    d, labels = study(5, 90, 17)
    sums, sizes = (np.bincount(labels, w) for w in (d, None))

    def mean_and_error(chosen):
        s, n = sums[chosen], sizes[chosen]
        value = s.sum() / n.sum()
        return value, math.sqrt(17 / 16 * ((s - value * n) ** 2).sum()) / n.sum()

    value, error = mean_and_error(np.arange(17))
    rest = sums - value * sizes
    order = np.argsort(rest if (rest**3).sum() > 0 else -rest)
    studies = np.concatenate([times.numpy() for times in Bootstrap(199, seed=6).draws(17)]).astype(int)
    found = [mean_and_error(order[np.repeat(np.arange(17), times)]) for times in studies]
    t = sorted((mean - value) / own for mean, own in found)
    got = paired(d, labels, replicates=199, seed=6)
    assert (got.value, got.low, got.high) == pytest.approx((value, value - t[-5] * error, value - t[4] * error))
    assert got.method == "studentised bootstrap over 17 units"
    assert got.warning is None


@pytest.mark.parametrize("d", [[], [NAN], [1.0], [0.0] * 4, [1.0, 2.0, 3.0, 4.0]])
def test_below_five_units_there_is_no_interval(d):
    found = paired(d)
    assert (found.low, found.high, found.method[:11]) == (-math.inf, math.inf, "no interval")
    assert "needs 5" in found.warning
    assert 0 < found.p <= 1
    assert found.value == pytest.approx(np.nanmean(d) if found.n else NAN, nan_ok=True)


@pytest.mark.parametrize("units", [None, np.arange(60) // 4])
@pytest.mark.parametrize("d", [0.0, 1.0, -1.0, 0.3])
def test_equal_differences_have_an_interval_with_a_width(d, units):
    found = paired(np.full(60, d), units)
    n = found.units
    seen = 0.025 ** (1 / n)  # the least share, for 97.5%, that is met n times in n
    width = 2 * (1 - seen) * abs(d) if d else 1 - seen
    assert found.value == pytest.approx(d)
    assert found.high - found.low == pytest.approx(2 * width if d == 0 else width)
    assert found.low <= found.value <= found.high
    assert found.p == (pytest.approx(2.0 ** (1 - n)) if d else 1)
    assert ("none of" in (found.warning or "")) == (d == 0)


def outcomes(n):
    """Every study of n samples that gain or lose: its interval, and the logarithm of how many ways lead to it."""
    some = [(up, down) for up in range(n + 1) for down in range(n + 1 - up)]
    found = [paired([1.0] * up + [-1.0] * down + [0.0] * (n - up - down)) for up, down in some]
    up, down = np.array(some).T
    ways = [math.lgamma(n + 1) - math.lgamma(a + 1) - math.lgamma(b + 1) - math.lgamma(n - a - b + 1) for a, b in some]
    return up, down, np.array(ways), found


@pytest.mark.parametrize("n", [5, 12, 20, 50])
def test_accuracy_is_covered_as_often_as_promised_or_more(n):
    """Not simulated: the sum over all outcomes, at rare and common gains and losses."""
    up, down, ways, found = outcomes(n)
    low, high, p = (np.array([getattr(e, name) for e in found]) for name in ("low", "high", "p"))
    for changed in (0.01, 0.05, 0.1, 0.3, 0.7, 0.999):
        for gain in (0.5, 0.7, 0.9, 0.999):
            a, b = changed * gain, changed * (1 - gain)
            weight = np.exp(ways + up * math.log(a) + down * math.log(b) + (n - up - down) * math.log(1 - a - b))
            assert weight.sum() == pytest.approx(1)
            assert weight[(low <= a - b) & (a - b <= high)].sum() >= 0.95
            if gain == 0.5:
                assert weight[p <= 0.05].sum() <= 0.05


def test_where_few_units_change_they_are_counted_and_not_resampled():
    d = np.zeros(100)
    d[:3] = 0.2, 0.5, 0.9
    found = paired(d)
    assert found.low < 0 < found.value < 0.05 < found.high < 0.9
    assert "only 3 of 100" in found.warning
    near(paired(d + 2), [2 + found.value, 2 + found.low, 2 + found.high, 1e-4])  # about the most common value


def coverage(draw, truth, studies=300, **options):
    """How often the interval held the truth, and how often p was at most 0.05."""
    generator = np.random.default_rng(0)
    found = [paired(*draw(generator), seed=seed, replicates=500, **options) for seed in range(studies)]
    return np.mean([e.low <= truth <= e.high for e in found]), np.mean([e.p <= 0.05 for e in found])


def clustered(generator):
    """30 units of 1 to 19 samples that have half of their variance in common."""
    units = np.repeat(np.arange(30), generator.integers(1, 20, 30))
    return generator.normal(size=30)[units] + generator.normal(size=len(units)), units


@pytest.mark.parametrize(
    ("draw", "truth", "least"),
    [
        (lambda g: (g.normal(size=12), None), 0, 0.95),
        (lambda g: (g.lognormal(size=30), None), math.exp(0.5), 0.93),
        (lambda g: (g.random(30) < 0.05, None), 0.05, 0.95),
        (clustered, 0, 0.95),
    ],
)
def test_intervals_hold_the_truth(draw, truth, least):
    held, rejected = coverage(draw, truth)
    assert held >= least - 3 * math.sqrt(0.05 * 0.95 / 300)
    if truth == 0:
        assert held <= 0.95 + 3 * math.sqrt(0.05 * 0.95 / 300)
        assert rejected <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_taking_samples_of_a_unit_as_independent_would_be_wrong():
    """Why units matter: without them the interval is far too narrow."""
    held, rejected = coverage(lambda g: (clustered(g)[0], None), 0, studies=80)
    assert held < 0.75
    assert rejected > 0.2


def test_it_says_itself_in_a_line():
    found = Estimate(-0.03, -0.05, -0.01, 0.002, 100, 30, 0, 0.95, "any", "few units (30)")
    assert repr(found) == ("Estimate(-0.03 [-0.05, -0.01], p = 0.002, 100 samples in 30 units; few units (30))")


@pytest.mark.parametrize(
    ("arguments", "options", "word"),
    [
        (([1.0, math.inf],), {}, "infinite"),
        (([[1.0, 2.0]],), {}, "shape"),
        (([1.0, 2.0], ["a"]), {}, "1 labels for 2"),
        (([1.0],), {"confidence": 95}, "confidence"),
        (([1.0],), {"replicates": 0}, "replicates"),
    ],
)
def test_nonsense_is_refused(arguments, options, word):
    with pytest.raises(OptionError, match=word):
        paired(*arguments, **options)
