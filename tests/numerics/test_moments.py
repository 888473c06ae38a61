"""Streaming moments do not depend on how the data came, and a large mean costs no digits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chains import F64, random
from libasis.numerics import StreamingMoments

N, D = 60, 4
DATA = random(N, D, seed=5) @ random(D, D, seed=6) + 3.0


def seen(*pieces, d=D):
    moments = StreamingMoments(d)
    for piece in pieces:
        moments.update(piece)
    return moments


def assert_same(one, other, tolerance=1e-10):
    assert one.n == other.n
    torch.testing.assert_close(one.mean, other.mean, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(one.covariance, other.covariance, rtol=tolerance, atol=tolerance)
    assert one.mean_square == pytest.approx(other.mean_square, rel=tolerance)


def pieces_of(x, cuts):
    return x.tensor_split(sorted(cuts))


cuts = st.lists(st.integers(0, N), max_size=8)  # equal cuts make empty pieces


def test_they_are_mean_and_covariance():
    found = seen(DATA)
    torch.testing.assert_close(found.mean, DATA.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.covariance, torch.cov(DATA.T, correction=0), rtol=1e-12, atol=1e-14)
    assert found.mean_square == pytest.approx(float(DATA.square().sum(1).mean()), rel=1e-12)


@given(cuts, st.permutations(range(N)))
def test_split_and_order_do_not_matter(cuts, order):
    assert_same(seen(*pieces_of(DATA[order], cuts)), seen(DATA))


@given(cuts, cuts)
def test_merging_is_seeing(one, other):
    """Accumulators of unequal and of empty pieces, merged in any grouping, have seen all the data."""
    a, b = DATA[:13], DATA[13:]
    merged = seen(*pieces_of(a, one))
    for piece in pieces_of(b, other):
        merged.merge(seen(piece))
    assert_same(merged, seen(DATA))


def test_nothing_seen_changes_nothing():
    empty, full = StreamingMoments(D), seen(DATA)
    full.merge(empty)
    full.update(DATA[:0])
    assert_same(full, seen(DATA), 0)
    empty.merge(full)
    assert_same(empty, full, 1e-15)
    assert (StreamingMoments(D).covariance == 0).all()


def test_merging_leaves_the_other_as_it_was():
    one, other = seen(DATA[:20]), seen(DATA[20:])
    empty = StreamingMoments(D)
    empty.merge(other)
    empty.merge(one)
    assert_same(other, seen(DATA[20:]), 0)


@given(cuts)
def test_a_large_mean_costs_no_digits(cuts):
    """On a binary grid the shift itself is exact; E[xx] - E[x]E[x] would be wrong in the fourth digit."""
    x = (DATA * 2**10).round() / 2**10
    shifted = x + 2.0**20
    assert torch.equal(shifted - 2.0**20, x)
    found, truth = seen(*pieces_of(shifted, cuts)), seen(x)
    torch.testing.assert_close(found.covariance, truth.covariance, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.mean - 2.0**20, truth.mean, rtol=0, atol=1e-8)


def test_single_precision_is_accumulated_in_double():
    single = DATA.to(torch.float32)
    found = seen(*single.split(1))
    assert found.mean.dtype == found.covariance.dtype == F64
    assert_same(found, seen(single.double()), 1e-12)


def test_the_covariance_of_few_vectors_has_their_rank():
    values = torch.linalg.eigvalsh(seen(*DATA[:3].split(1)).covariance)
    assert (values > 1e-9).sum() == 2
    assert values.min() > -1e-12
