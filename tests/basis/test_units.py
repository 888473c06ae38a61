"""No unit of any coordinate decides what is kept, and nothing moves when one changes."""

import copy

import pytest
import torch
from torch import nn

import libasis
from chains import F64, random
from libasis.basis.whiten import whiten
from libasis.numerics import StreamingMoments, Truncation

F32 = torch.float32


class InUnits(nn.Module):
    """Computes in units of its own: coordinates come in any, and hidden ones are kept in any."""

    def __init__(self, scale, hidden, dtype):
        super().__init__()
        self.register_buffer("scale", scale.to(dtype))
        self.register_buffer("hidden", hidden.to(dtype))
        self.inside, self.outside = nn.Identity(), nn.Linear(6, 3)
        self.up = nn.Linear(5, 6)

    def forward(self, x):
        h = torch.tanh(self.up(x / self.scale)) * self.hidden
        return self.outside(self.inside(h) / self.hidden)


SCALES = {
    "one huge": ([1e9, 1, 1, 1, 1], [1, 1, 1e9, 1, 1, 1]),
    "one tiny": ([1, 1e-9, 1, 1, 1], [1e-9, 1, 1, 1, 1, 1]),
    "yen and grams": ([2e6, 12, 0.1, 3e4, 1e-3], [1e4, 1e-4, 1, 1e6, 1e-2, 10]),
    "both ends": ([1e9, 1e-9, 1e9, 1e-9, 1], [1e-9, 1e9, 1e-9, 1e9, 1, 1]),
}


def fitted(scale, hidden, dtype, method="lib"):
    scale, hidden = torch.tensor(scale, dtype=F64), torch.tensor(hidden, dtype=F64)
    torch.manual_seed(1)
    model = InUnits(scale, hidden, dtype).to(dtype).eval()
    x = (random(400, 5, seed=3) @ random(5, 5, seed=4) * scale).to(dtype)
    return libasis.build(model, list(x.split(150)), ["input", "inside", "output"], basis=method, progress=False)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES)
def test_nothing_moves_in_other_units(scales, dtype):
    plain, other = fitted([1] * 5, [1] * 6, dtype), fitted(*scales, dtype)
    rtol = 2e-3 if dtype == F32 else 1e-7
    for a, b in zip(plain.basis, other.basis, strict=True):
        assert a.k == b.k
        torch.testing.assert_close(b.importances, a.importances, rtol=rtol, atol=0)
    for l, (a, b) in enumerate(zip(plain.edges, other.edges, strict=True)):
        largest = float(a.max())
        torch.testing.assert_close(b, a, rtol=10 * rtol, atol=largest * rtol)
        torch.testing.assert_close(other.signed[l], plain.signed[l], rtol=10 * rtol, atol=largest**0.5 * rtol)
    in_units = torch.tensor(scales[0], dtype=F64)
    torch.testing.assert_close(other.basis[0].C * in_units[:, None], plain.basis[0].C, rtol=10 * rtol, atol=rtol)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES)
def test_principal_components_keep_every_column_in_any_units(scales, dtype):
    assert [site.k for site in fitted(*scales, dtype, "pca").basis] == [5, 6, 3]


TABLES = {  # spread and mean of each column
    "income, age, ratio, flag": ([2e6, 12, 0.1, 0.5], [5e6, 40, 0.3, 0.5]),
    "unix time": ([3e6, 1, 1, 1], [1.7e9, 0, 0, 0]),
    "far from zero": ([1, 1, 1, 1], [1e5, -1e4, 0, 0]),
    "1e-9 to 1e9": ([1e9, 1e-9, 1, 1e4], [0, 0, 0, 0]),
}


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_before_a_batch_norm_is_the_standardised_one(table, dtype):
    """The importances are those of the columns in their own spread, computed by hand."""
    spread, mean = (torch.tensor(part, dtype=F64) for part in table)
    z = random(3000, 4, seed=5) @ (torch.eye(4, dtype=F64) + 0.2)
    x = (z * spread + mean).to(dtype)
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(4, eps=0), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).to(F64)
    model[0].running_mean, model[0].running_var = x.double().mean(0), x.double().var(0)
    model = model.to(dtype).eval()
    found = libasis.fit(libasis.trace(model, x[:9], ["input", "0", "output"]), list(x.split(700)), progress=False)
    assert found[0].k == found[1].k
    truth = libasis.fit(
        libasis.trace(model.double(), x[:9].double(), ["input", "0", "output"]), [x.double()], progress=False
    )
    assert found[0].k == truth[0].k
    total = float(found[0].importances.sum())
    assert total == pytest.approx(float(truth[0].importances.sum()), rel=1e-3 if dtype == F32 else 1e-9)


def kept(x, within=None):
    moments = StreamingMoments(x.shape[1])
    moments.update(x)
    return len(whiten("here", moments, Truncation.parse("auto"), x.dtype, within).decode)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("scale", [[1] * 8, [1e4, 1, 1e-3, 1, 1, 10, 1e-2, 1], [1e9, 1e-9] * 4])
def test_rounding_makes_no_direction(scale, dtype):
    """Rank 3 of 8, whatever the units: what is left of the other five is rounding of a product."""
    W = random(3, 8, seed=6) * torch.tensor(scale, dtype=F64)
    assert kept(random(5000, 3, seed=7).to(dtype) @ W.to(dtype)) == 3


def test_one_outlier_token_hides_no_direction():
    """Massive activations of one position in two coordinates, in bfloat16: all but one direction are kept."""
    x = random(4000, 64, seed=8) * 3
    x[::128, 7] += 2.3e4
    x[::128, 30] -= 9e3
    assert kept(x.bfloat16()) >= 63
    assert kept(x.float()) == 64


def test_a_span_is_decided_in_the_units_of_its_coordinates():
    x = random(500, 4, seed=9) * torch.tensor([1e6, 1, 1, 1e-6], dtype=F64)
    assert kept(x, torch.eye(4, dtype=F64)[:, [0, 3]]) == 2


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.x, self.norm, self.up = nn.Identity(), nn.LayerNorm(8), nn.Linear(8, 16)
        self.down, self.read = nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, x):
        x = self.x(x)
        return self.read(x + self.down(nn.functional.gelu(self.up(self.norm(x)))))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_one_outlier_token_drops_no_direction_of_a_model_in_half_precision(dtype):
    """An importance is noise where rounding can make it in its own direction, not where another is much larger."""
    x = random(120, 8, seed=2)
    x[-1] *= 200
    x, model = x.to(dtype), Block().to(dtype).eval()
    sites = ["x", "read:in", "output"]
    found, precise = (
        libasis.fit(libasis.trace(m, x[:7].to(d), sites), [x.to(d)], progress=False)
        for m, d in ((model, dtype), (copy.deepcopy(model).float(), F32))
    )
    assert [site.k for site in precise] == [site.k for site in found] == [8, 4, 4]
    for a, b in zip(found, precise, strict=True):
        torch.testing.assert_close(a.importances, b.importances, rtol=0.1, atol=0)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("outlier", [1, 200])
@pytest.mark.parametrize("rule", ["auto", "exact"])
def test_what_rounding_alone_makes_of_an_importance_is_dropped(dtype, outlier, rule):
    """The second map cancels all but 4 directions of what the first one writes."""
    write, read = random(64, 12, seed=6), random(5, 64, seed=7)
    span = torch.linalg.qr(write)[0]
    read = read - read @ span @ span.T + random(5, 4, seed=8) @ span[:, :4].T
    write, read = write.to(dtype), read.to(dtype)
    x = random(300, 12, seed=9).to(dtype)
    x[-1] *= outlier
    model = nn.Sequential(nn.Identity(), nn.Linear(12, 64, bias=False), nn.Linear(64, 5, bias=False)).eval().to(dtype)
    model.load_state_dict({"1.weight": write, "2.weight": read})
    traced = libasis.trace(model, x[:7], ["0", "output"])
    assert libasis.fit(traced, [x], moments=rule, progress=False)["0"].k == 4
