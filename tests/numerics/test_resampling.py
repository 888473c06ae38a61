import numpy as np
import pytest
import torch

from libasis.errors import OptionError
from libasis.numerics import Bootstrap


def test_a_sample_keeps_its_scores_together():
    """Ten equal tokens in each of 40 sequences tell as much as one."""
    values = torch.randn(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one = Bootstrap(seed=2).means(values[None], torch.ones(40))
    ten = Bootstrap(seed=2).means(10 * values[None], torch.full((40,), 10.0))
    torch.testing.assert_close(one, ten)


def test_samples_weigh_by_their_number_of_scores():
    means = Bootstrap(2000, seed=0).means(torch.tensor([[0.0, 30.0]]), torch.tensor([1.0, 3.0]))
    assert set(np.round(means.unique().numpy(), 6)) == {0.0, 7.5, 10.0}


def test_the_draws_of_a_seed_stay_what_they_were():
    """Results of earlier versions were resampled by these."""
    values = torch.tensor([[0.0, 1.0, 2.0, 4.0, 8.0]], dtype=torch.float64)
    found = Bootstrap(4, seed=3).means(values, torch.ones(5, dtype=torch.float64))
    assert found.tolist() == [[1.8, 1.8, 3.6, 4.8]]


@pytest.mark.parametrize("n", [5, 30_000])  # all replicates at once, and some at a time
def test_each_replicate_draws_as_many_as_there_are(n):
    draws = list(Bootstrap(70, seed=1).draws(n))
    assert sum(len(times) for times in draws) == 70
    assert {float(total) for times in draws for total in times.sum(1)} == {n}
    one = torch.randint(n, (n,), generator=torch.Generator().manual_seed(1)).bincount(minlength=n)
    assert draws[0][0].tolist() == one.tolist()


@pytest.mark.parametrize("options", [{"replicates": 0}, {"replicates": 1.5}, {"confidence": 1.0}, {"confidence": 95}])
def test_nonsense_is_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        Bootstrap(**options)
