"""A claim beyond delta is corrected for the number of claims, and intervals under resample see shared donors."""

import numpy as np

from libasis.verify import Claimed, decide
from libasis.verify.verdict import Noise, OneKind

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=60)
NOISE = (NOISE - NOISE.mean()) / NOISE.std(ddof=1)


def claim(beyond, delta=0.5, direction="increase"):
    """An effect that lies ``beyond`` standard errors beyond delta."""
    found = OneKind.of(NOISE + delta + beyond / 60**0.5, None, direction, delta=delta)
    return Claimed(direction, delta, [found, found])


def test_beyond_delta_once_may_be_chance_among_many():
    near, far = claim(2.3), claim(6.0)
    assert decide([near])[0].word == "supported"
    words = [verdict.word for verdict in decide([near] * 10)]
    assert words == ["supported, below delta"] * 10
    assert [verdict.word for verdict in decide([far] * 10)] == ["supported"] * 10


def test_the_interval_that_reaches_inside_is_told_where_it_is_not_the_one_that_is_shown():
    far, near = claim(6.0).kinds[0], claim(0.5).kinds[0]
    own, other = (decide([Claimed("increase", 0.5, kinds)])[0] for kinds in ([near, far], [far, near]))
    assert own.word == other.word == "supported, below delta"
    assert own.reason == "the interval reaches inside 0.5"
    shown = f"{near.effect.value:.3g} [{near.effect.low:.3g}, {near.effect.high:.3g}]"
    assert other.reason == f"the interval reaches inside 0.5 under another kind of replacement ({shown})"


def test_without_a_side_both_are_paid_for():
    one, both = claim(2.3).kinds[0].p_beyond, claim(2.3, direction="any").kinds[0].p_beyond
    assert both == 2 * one


def test_at_most_a_twentieth_of_families_at_delta_is_called_supported():
    rng, wrong = np.random.default_rng(1), 0
    for seed in range(40):
        effects = [OneKind.of(rng.normal(size=25) + 1, None, "increase", delta=1.0, seed=seed) for _ in range(8)]
        wrong += any(v.word == "supported" for v in decide([Claimed("increase", 1.0, [e, e]) for e in effects]))
    assert wrong <= 6  # 2 expected at most


def test_noise_and_intervals_grow_with_what_samples_share():
    x = np.random.default_rng(2).normal(size=200)
    to = np.random.default_rng(3).permutation(200)
    changes = (x[to] - x) ** 2
    plain, seen = (OneKind.of(changes, None, givers=g) for g in (None, (list(range(200)), to.tolist())))
    factor = seen.noise.shared
    assert 1.1 < factor < 1.6
    assert np.isclose(seen.effect.high - seen.effect.value, factor * (plain.effect.high - plain.effect.value))
    assert np.isclose(seen.inner[0] - seen.effect.value, factor * (plain.inner[0] - plain.effect.value))
    assert np.isclose(Noise.of(changes, None).deviation * factor, seen.noise.deviation)
