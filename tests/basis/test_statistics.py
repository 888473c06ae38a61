"""Mean and covariance of every site obey the laws of accumulators."""

import pytest
import torch

import chains
from chains import random
from libasis.basis.statistics import SiteStatistics
from libasis.errors import SiteError
from libasis.measure import Records, measure
from measure.laws import assert_merges, assert_resumes


def same(found, truth):
    for mine, true in zip(found, truth, strict=True):
        assert mine.n == true.n
        torch.testing.assert_close(mine.mean, true.mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(mine.covariance, true.covariance, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", chains.SECTIONS)
def test_they_obey_the_laws(name):
    x = chains.data(name) + 100.0
    mask = lambda inputs: inputs[0][..., 0] > 100  # noqa: E731
    traced = chains.chain(chains.SECTIONS[name]()).to(mask=mask)
    batches = list(Records(traced, chains.split(x, 7, 13, 1, 19)).stream())
    assert_merges(lambda: SiteStatistics(traced), batches, same)
    assert_resumes(lambda: SiteStatistics(traced), batches, same)


def test_one_for_each_site():
    x = chains.data("pooled")
    traced = chains.chain(chains.pooled_sections())
    found = measure(Records(traced, chains.split(x, 15, 25)), SiteStatistics(traced), "statistics")
    for moments, f in zip(found, traced.record(x).activations, strict=True):
        flat = f.flatten(0, 1)
        torch.testing.assert_close(moments.mean, flat.mean(0), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(moments.covariance, torch.cov(flat.T, correction=0), rtol=1e-12, atol=1e-12)


def test_widths_are_checked_before_anything_is_allocated():
    traced = chains.chain([lambda z: z.expand(-1, 2_000_000)])
    (record,) = Records(traced, [random(2, 1)]).stream()
    with pytest.raises(SiteError, match=r"Site 'output' has 2000000 features.*narrower site"):
        SiteStatistics(traced).add(record)
