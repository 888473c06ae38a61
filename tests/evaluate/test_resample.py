import numpy as np
import pytest
import torch

from libasis.ablation import SampleScores
from libasis.evaluate.resample import curve_band, pooled_mean, pooled_ratio, replicate_counts
from libasis.intervene import Allowance, stable_counts
from libasis.numerics import Bootstrap


def scores(rows, base=None, counts=None):
    rows = {count: torch.as_tensor(row, dtype=torch.float64) for count, row in rows.items()}
    n = len(next(iter(rows.values())))
    base = torch.ones(n, dtype=torch.float64) if base is None else base
    counts = torch.ones(n, dtype=torch.float64) if counts is None else counts
    return SampleScores(counts, base, {"x": rows})


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    hits = 0
    for trial in range(200):
        sample = 3 + torch.randn(60, generator=generator, dtype=torch.float64)
        low, high = curve_band(scores({1: sample}), "x", Bootstrap(400, 0.9, seed=trial))[1]
        hits += low <= 3 <= high
    assert 0.83 <= hits / 200 <= 0.95  # 0.9, four standard errors of 200 trials, a percentile interval of 60 samples


def test_stable_counts_by_hand():
    passed = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 1], [1, 1, 0, 1], [1, 1, 0, 1]]).bool()
    assert stable_counts([0, 2, 5, 9], passed).tolist() == [5, 2, np.inf, 0]


def test_replicates_of_the_count_surround_it():
    """With each count one more of 100 samples is right; three wrong ones are allowed, give or take."""
    rows = {m: (torch.arange(100) < m).double() for m in range(90, 101)}
    found = replicate_counts(scores(rows), "x", Allowance(0.03, True), Bootstrap(seed=0))
    low, high = Bootstrap().interval(found)
    assert low < 97 <= high <= 100
    assert abs(np.median(found) - 97) <= 1


def test_a_score_that_should_be_low_is_read_so():
    rows = {0: torch.full((9,), 2.0), 1: torch.full((9,), 1.05)}
    for higher, expected in ((False, 1), (True, 0)):
        assert replicate_counts(scores(rows), "x", Allowance(0.1, higher), Bootstrap(9)).tolist() == [expected] * 9


def test_where_nothing_passes_the_count_is_infinite():
    found = replicate_counts(scores({0: torch.zeros(5), 3: torch.zeros(5)}), "x", Allowance(0.1, True), Bootstrap(10))
    assert np.isinf(found).all()
    assert Bootstrap(10).interval(found) == (np.inf, np.inf)


def test_the_same_seed_resamples_alike():
    rows = {m: (torch.arange(50) < m).double() for m in (40, 45, 50)}
    a, b, c = (replicate_counts(scores(rows), "x", Allowance(0.1, True), Bootstrap(50, seed=s)) for s in (1, 1, 2))
    assert a.tolist() == b.tolist() != c.tolist()


def test_ratios_pair_the_two_sides():
    """Where ours is half of theirs in every replicate, the ratio is certain, however uncertain both are."""
    theirs = {str(i): np.random.default_rng(i).uniform(10, 100, 300) for i in range(3)}
    ours = {name: 0.5 * values for name, values in theirs.items()}
    low, high = pooled_ratio(ours, theirs, Bootstrap(300))
    assert (low, high) == (pytest.approx(0.5), pytest.approx(0.5))
    low, high = pooled_mean(theirs, Bootstrap(300))
    assert low < 55 < high
    assert high - low > 10


def test_models_that_differ_widen_the_interval():
    alike, different = ({str(i): np.full(200, 50.0 + step * i) for i in range(5)} for step in (0, 10))
    assert pooled_mean(alike, Bootstrap(200)) == (50, 50)
    low, high = pooled_mean(different, Bootstrap(200))
    assert low < 65
    assert high > 75
