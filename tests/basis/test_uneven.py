"""In half precision the rounding of a few outsize tokens hides no direction of the others."""

import pytest
import torch
from torch import nn

import libasis
from chains import random
from cut.cutting import randn
from libasis.basis.uneven import Weighed
from libasis.measure import Records
from libasis.numerics import StreamingMoments
from measure.laws import assert_merges, assert_resumes

SITES = ["blocks.0:in", "blocks.1:in", "norm:in", "output"]


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm, self.up, self.down = nn.RMSNorm(d), nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, x):
        return x + self.down(nn.functional.silu(self.up(self.norm(x))))


class Stream(nn.Module):
    """Two blocks of a residual stream, and logits."""

    def __init__(self, d=16):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.Sequential(Block(d), Block(d))
        self.norm, self.head = nn.RMSNorm(d), nn.Linear(d, 10)

    def forward(self, x):
        return self.head(self.norm(self.blocks(x)))

    def chain(self):
        """Cut by hand, which takes no time."""
        return libasis.Chain([*self.blocks, lambda z: self.head(self.norm(z))], SITES)


def always(x):
    """The first token of every sequence is one, as large in all coordinates."""
    x[:, 0] = x[0, 0] * 200


def in_one_coordinate(x):
    x[:, 0] = x[0, 0]
    x[:, 0, 3] += 1000


def one_token(x):
    x[5, 4] *= 2000


def several(x):
    """The first tokens differ, each as large in all coordinates."""
    x[:, 0] = x[:8, 0].repeat(5, 1) * 200


def alike(x):
    """The first tokens differ, by little beside what they have in common."""
    x[:, 0] += x[0, 0] * 200


def compared(x, dtype, cut):
    model, x = Stream().to(dtype).eval(), x.to(dtype)
    found = libasis.fit(cut(model, x), [x], progress=False)
    precise = libasis.fit(cut(model.float(), x.float()), [x.float()], progress=False)
    assert [site.k for site in precise] == [site.k for site in found] == [16, 16, 16, 10]
    for a, b in zip(found, precise, strict=True):
        torch.testing.assert_close(a.importances, b.importances, rtol=0.05, atol=0)
        torch.testing.assert_close(a.C_pinv @ a.C, torch.eye(a.k, dtype=torch.float64), rtol=0, atol=1e-6)
    assert all("without_outliers" in repr(basis) for basis in (found, precise))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("outlier", [always, in_one_coordinate, one_token, several, alike])
def test_directions_are_those_of_the_float32_copy(outlier, dtype):
    outlier(x := randn(40, 8, 16))
    compared(x, dtype, lambda model, x: model.chain())


def test_of_a_traced_model_too():
    always(x := randn(40, 8, 16))
    compared(x, torch.bfloat16, lambda model, x: libasis.trace(model, x[:4], SITES))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("times", [1, 30, 1000])
@pytest.mark.parametrize("share", [0.002, 0.1, 0.4])
def test_their_rounding_makes_no_direction(dtype, times, share):
    """Rank 3 of 8; the large vectors too fill the other five with their rounding."""
    x, W = random(2000, 3, seed=1), random(3, 8, seed=2).to(dtype)
    x[: int(share * len(x))] *= times
    y = x.to(dtype) @ W
    for method in ("lib", "pca"):
        assert libasis.fit(libasis.Chain([torch.tanh], ["y", "output"]), [y], method, progress=False)["y"].k == 3


def test_a_direction_that_only_one_vector_has_is_kept():
    x = randn(4000, 8) * torch.tensor([1.0] * 7 + [0])
    x[0, 7] = 500
    section = libasis.Chain([lambda z: 2 * z], ["x", "output"])
    assert libasis.fit(section, [x.bfloat16()], progress=False)["x"].k == 8


def test_sums_obey_the_laws():
    def same(found, truth):
        torch.testing.assert_close(found["0"].mean, truth["0"].mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found["0"].covariance, truth["0"].covariance, rtol=1e-12, atol=1e-12)

    x = random(40, 6, seed=3)
    x[3] *= 100
    x[4] = 0
    traced = libasis.Chain([torch.tanh], ["input", "output"])
    batches = list(Records(traced, list(x.split(11))).stream())
    assert_merges(lambda: Weighed({0: (6.0, 0.1)}, {0: 6}), batches, same)
    assert_resumes(lambda: Weighed({0: (6.0, 0.1)}, {0: 6}), batches, same)


def test_a_weight_is_how_often_a_vector_counts():
    x, times = random(9, 4, seed=4), torch.tensor([1, 3, 2, 1, 1, 5, 1, 2, 1])
    one, other = StreamingMoments(4), StreamingMoments(4)
    one.update(x, times.double())
    other.update(x.repeat_interleave(times, 0))
    assert one.n == other.n
    torch.testing.assert_close(one.mean, other.mean)
    torch.testing.assert_close(one.covariance, other.covariance)
