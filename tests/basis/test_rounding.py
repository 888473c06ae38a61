"""In half precision a direction is kept where it varies more than the rounding that is measured beside float32."""

import copy

import pytest
import torch
from torch import nn

import libasis
from chains import random
from libasis.basis.pulled_rounding import LabelRounding, SpanRounding
from libasis.basis.rounding import Beside, Rounding
from libasis.importance import Span
from libasis.measure import Records
from measure.laws import assert_merges, assert_resumes

HALVES = [torch.bfloat16, torch.float16]


def linear(W, dtype):
    """x W."""
    made = nn.Linear(*W.shape, bias=False)
    made.weight = nn.Parameter(W.T.contiguous().float(), requires_grad=False)
    return made.to(dtype).eval()


class Planted(nn.Module):
    """A site of 8 coordinates, made by arithmetic that each test says, and something that reads it."""

    def __init__(self, before, after=None):
        super().__init__()
        self.before, self.after = before, after or nn.Tanh()

    def forward(self, x):
        return self.after(self.before(x))


class Around(nn.Module):
    """A large number is added and taken away again."""

    def __init__(self, first, by):
        super().__init__()
        self.first, self.by = first, by

    def forward(self, x):
        return (self.first(x) + self.by) - self.by


class Cast(nn.Module):
    """Half precision inside of a float32 model."""

    def __init__(self, first, dtype):
        super().__init__()
        self.first, self.dtype = first.to(dtype), dtype

    def forward(self, x):
        return self.first(x.to(self.dtype)).float()


def kept(model, x, method="lib", batch=None):
    before = copy.deepcopy(model.state_dict())
    traced = libasis.trace(model.eval(), x[:4], ["before:out", "output"])
    basis = libasis.fit(traced, list(x.split(batch or len(x))), method=method, progress=False)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    return basis["before:out"].k, basis


def with_weak_direction(d, weak):
    """``[d, d]`` of which all singular values but one are 1."""
    Q = torch.linalg.qr(random(d, d, seed=7))[0]
    return (Q * torch.tensor([1.0] * (d - 1) + [weak])) @ Q.T


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("method", ["lib", "pca"])
def test_a_direction_below_the_bound_and_above_its_rounding_is_kept(dtype, method):
    """Its variance is a quarter of 16 eps^2 of the coordinates', and 40 times the rounding."""
    x = random(3000, 8, seed=1).to(dtype)
    weak = with_weak_direction(8, 2 * torch.finfo(dtype).eps)
    k, basis = kept(Planted(linear(weak, dtype)), x, method)
    assert k == 8
    assert 1000 < basis.info["rounding"]["measured on samples"] < 1050  # of 3,000
    assert "measured beside float32" in basis["before:out"].rank_report["variance"]["rule"]


@pytest.mark.parametrize("dtype", HALVES)
def test_a_direction_below_its_rounding_is_not(dtype):
    x = (random(3000, 8, seed=1) @ with_weak_direction(8, 0.02 * torch.finfo(dtype).eps)).to(dtype)
    assert kept(Planted(linear(torch.eye(8), dtype)), x)[0] == 7


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("method", ["lib", "pca"])
@pytest.mark.parametrize("n", [200, 5000])
@pytest.mark.parametrize(
    "between", [nn.Identity(), nn.Sequential(nn.Tanh(), nn.LayerNorm(3))], ids=["plain", "nonlinear"]
)
def test_planted_rank_stays(dtype, method, n, between):
    """Rank 3 of 8, or 2 behind a norm: rounding in every coordinate makes no direction."""
    down, up = (linear(random(*shape, seed=2) / 2, dtype) for shape in ((16, 3), (3, 8)))
    x = random(n, 16, seed=3).to(dtype)
    k, _ = kept(Planted(nn.Sequential(down, between.to(dtype), up)), x, method)
    assert k == (3 if isinstance(between, nn.Identity) else 2)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("n", [300, 5000])
def test_rank_stays_where_the_input_was_rounded(dtype, n):
    """Five of eight directions of the site are the rounding of the model's own input, which float32 is given too."""
    x = (random(n, 3, seed=4) @ random(3, 16, seed=5)).to(dtype)
    mixed = linear(torch.linalg.qr(random(16, 16, seed=6))[0][:, :8], dtype)
    assert kept(Planted(mixed), x)[0] == 3


@pytest.mark.parametrize("dtype", HALVES)
def test_what_cancels_leaves_its_rounding(dtype):
    """Beside it the bound by the site's own size is far too small: it kept all 8."""
    made = Around(nn.Sequential(linear(random(16, 3, seed=2), dtype), linear(random(3, 8, seed=3), dtype)), 60.0)
    assert kept(Planted(made), random(4000, 16, seed=3).to(dtype))[0] == 3


@pytest.mark.parametrize("dtype", HALVES)
def test_rounding_that_lies_in_few_directions(dtype):
    """A wide hidden layer is constant but for its rounding, which one product brings into one direction of the site."""
    spread = linear(torch.ones(64, 1).double() @ random(1, 8, seed=5), dtype)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = linear(random(16, 3, seed=2), dtype), linear(random(3, 8, seed=3), dtype)
            self.wide, self.spread = linear(random(16, 64, seed=4), dtype), spread

        def forward(self, x):
            h = self.wide(x)
            return self.b(self.a(x)) + self.spread((h + 30) - h - 30)

    assert kept(Planted(Layer()), random(4000, 16, seed=3).to(dtype))[0] == 3


class Detour(nn.Module):
    """Most of what is read has gone out by three ways and come back, so that its rounding is left, and four numbers."""

    def __init__(self):
        super().__init__()
        self.write, self.out, self.read = (
            linear(random(*shape, seed=seed) / 4, torch.float32)
            for seed, shape in enumerate([(12, 12), (12, 64), (64, 5)])
        )

    def forward(self, x):
        there = self.out(self.write(x))
        one, two = (there[..., 4:] * factor for factor in (1.3, 0.7))
        return self.read(torch.cat([there[..., :4], one + two - 2 * there[..., 4:]], -1))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("readout", ["next", "output", "fisher"])
def test_rounding_of_derivatives_makes_no_direction(dtype, readout):
    x, model = random(600, 12, seed=9), Detour().to(dtype).eval()
    traced = libasis.trace(model, x[:7].to(dtype), ["write:in", "output"])
    basis = libasis.fit(traced, [x.to(dtype)], readout=readout, progress=False)
    assert basis["write:in"].k == 4


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("readout", ["next", "output", "fisher"])
def test_importances_below_the_bound_are_kept_as_the_float32_copy_keeps_them(dtype, readout):
    """The weakest importances are far below 64 eps^2 of the others', as those of trained models are."""
    model = nn.Sequential(
        linear(random(12, 12, seed=1) * torch.logspace(0, -2, 12)[:, None], dtype), nn.Tanh(),
        linear(random(12, 12, seed=2), dtype), nn.Tanh(), linear(random(12, 5, seed=3) / 4, dtype),
    ).eval()  # fmt: skip
    x = random(2000, 12, seed=4).to(dtype)
    found, precise = (
        libasis.fit(
            libasis.trace(m, y[:7], ["0:in", "2:in", "output"]),
            [y], readout=libasis.rules.Fisher(shrink=0) if readout == "fisher" else readout, progress=False,
        )
        for m, y in ((model, x), (copy.deepcopy(model).float(), x.float()))
    )  # fmt: skip
    assert [site.k for site in found] == [site.k for site in precise] == [12, 12, 5]
    for a, b in zip(found, precise, strict=True):
        torch.testing.assert_close(a.importances, b.importances, rtol=0.1, atol=0)


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_inside_a_float32_model(dtype):
    made = Cast(nn.Sequential(linear(random(16, 3, seed=2), dtype), linear(random(3, 8, seed=3), dtype)), dtype)
    x = random(4000, 16, seed=3)
    k, basis = kept(Planted(made), x)
    assert k == 3
    assert basis["before:out"].C.isfinite().all()
    traced = libasis.trace(Planted(made).eval(), x[:4], ["before:out", "output"], dtype="float32")
    assert "rounding" not in libasis.fit(traced, [x], progress=False).info  # computed in float32 throughout


@pytest.mark.parametrize("dtype", HALVES)
def test_however_the_data_are_split_and_sorted(dtype):
    """Later samples are a thousand times as large; only a part of the samples is looked at."""
    down, up = linear(random(16, 3, seed=2), dtype), linear(random(3, 8, seed=3), dtype)
    x = (random(9000, 16, seed=3) * torch.logspace(-2, 1, 9000)[:, None]).to(dtype)
    found = [kept(Planted(nn.Sequential(down, up)), x, batch=size) for size in (9000, 1000, 37)]
    assert [k for k, _ in found] == [3, 3, 3]
    for _, basis in found[1:]:
        torch.testing.assert_close(
            basis["before:out"].importances, found[0][1]["before:out"].importances, rtol=1e-2, atol=0
        )


def test_sections_that_cannot_run_in_float32_keep_the_bound():
    W = random(8, 8, seed=1).bfloat16()
    basis = libasis.fit(
        libasis.Chain([lambda z: z @ W, torch.tanh]), [random(500, 8, seed=2).bfloat16()], progress=False
    )
    assert "not measured" in basis.info["rounding"]
    assert "noise floor of the arithmetic" in basis["site1"].rank_report["variance"]["rule"]


def test_a_chain_of_modules_is_measured_too():
    weak = with_weak_direction(8, 2 * torch.finfo(torch.bfloat16).eps)
    chain = libasis.Chain([linear(weak, torch.bfloat16), torch.tanh])
    basis = libasis.fit(chain, [random(3000, 8, seed=1).bfloat16()], progress=False)
    assert basis["site1"].k == 8


def stack():
    """Two sections in bfloat16, and batches of them."""
    x = random(44, 6, seed=3).bfloat16()
    modules = [linear(random(6, 6, seed=seed), torch.bfloat16) for seed in (1, 2)]
    traced = libasis.Chain([nn.Sequential(modules[0], nn.Tanh()).eval(), modules[1]], ["input", "hidden", "output"])
    records = Records(traced, list(x.split(11)))
    return traced, records, list(records.stream())


def assert_laws(make, batches, same):
    assert_merges(make, batches, same)
    assert_resumes(make, batches, same)


def test_sums_of_activations_obey_the_laws():
    def same(found, truth):
        assert found["0"].n == pytest.approx(truth["0"].n)
        torch.testing.assert_close(found["1"].own, truth["1"].own, rtol=1e-9, atol=1e-15)
        torch.testing.assert_close(found["1"].given, truth["1"].given, rtol=1e-9, atol=1e-15)

    traced, _, batches = stack()
    assert_laws(lambda: Rounding(Beside(traced), 0.3, {0: (6.0, 0.1)}, {0: 6, 1: 6}), batches, same)


def test_sums_of_derivatives_obey_the_laws():
    def same(found, truth):
        for a, b in zip(found, truth, strict=True):
            torch.testing.assert_close((a.half, a.precise), (b.half, b.precise), rtol=1e-9, atol=1e-15)

    traced, records, batches = stack()
    span, C = Span.of(batches[0], traced, 0, 2, records.positions[2]), random(6, 4, seed=5)
    assert_laws(lambda: SpanRounding(Beside(traced), 0.5, span, C), batches, same)
    assert_laws(lambda: LabelRounding(Beside(traced), 0.5, libasis.rules.Fisher(), [6, 6], 2**20), batches, same)


def test_the_rounding_of_derivatives_is_that_of_brute_force():
    """Of one number that is read, whose derivative is the same but for its sign whatever is drawn."""
    traced, records, batches = stack()
    span, C = Span.of(batches[0], traced, 0, 2, records.positions[2]), random(6, 1, seed=5)
    whole = SpanRounding(Beside(traced), 1.0, span, C)
    for batch in batches:
        whole.add(batch)
    found = whole.finish()[0]
    for dtype, value in ((torch.bfloat16, found.half), (torch.float32, found.precise)):
        truth = torch.zeros(6, 6).double()
        chain = copy.deepcopy(nn.Sequential(*traced.functions)).to(dtype)
        for x in torch.cat([record.activations[0] for record in batches]):
            g = torch.func.grad(lambda z, f=chain, d=dtype: (f(z) @ C.to(d)).sum())(x[0].to(dtype)).double()
            truth += torch.outer(g, g) / 44
        torch.testing.assert_close(value, truth, rtol=1e-3, atol=1e-6)


def both_fits(half, x, readout, first="a:in"):
    """The first site of a model in half precision, and of its float32 copy."""
    found = []
    for model, inputs in ((half, x), (copy.deepcopy(half).float(), x.float())):
        traced = libasis.trace(model, inputs[:3], [first, "output"])
        found.append(libasis.fit(traced, [inputs], readout=readout, progress=False)[first])
    return found


class Scaled(nn.Module):
    def __init__(self, by):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.by = nn.Linear(16, 16), nn.Linear(16, 6), by

    def forward(self, x):
        return self.b(self.a(x)) * self.by


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("readout", ["fisher", libasis.rules.Fisher(shrink=0)])
def test_directions_that_rounding_tilts_towards_important_ones_are_not_kept(dtype, readout):
    """Six classes, small logits: 5 directions, and derivatives nearly the same for all samples, rounded alike."""
    x = random(1500, 16, seed=1).to(dtype)
    for by in (1.0, 0.1, 0.001):
        half, precise = both_fits(Scaled(by).to(dtype).eval(), x, readout)
        assert half.k == precise.k == 5
        torch.testing.assert_close(half.importances, precise.importances, rtol=0.03, atol=0)


class Rare(nn.Module):
    """A few samples have derivatives 1,000 times as large; 4 directions matter."""

    def __init__(self, above):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c, self.above = nn.Linear(12, 4), nn.Linear(4, 12), nn.Linear(12, 5), above

    def forward(self, x):
        h = torch.tanh(self.b(self.a(x)))
        return self.c(torch.where(h[..., :1] > self.above, h * 1000, h))


@pytest.mark.parametrize("dtype", HALVES)
def test_rare_samples_with_large_derivatives_make_no_directions(dtype):
    x = random(20000, 12, seed=9).float()
    model = Rare(0.0)
    above = torch.tanh(model.b(model.a(x)))[:, 0].quantile(0.9995).item()
    half, precise = both_fits(Rare(above).to(dtype).eval(), x.to(dtype), "next")
    assert half.k == precise.k == 4


@pytest.mark.parametrize("dtype", HALVES)
def test_rounding_has_no_say_in_the_shrinkage(dtype):
    """A trained classifier, right nearly always: what its head does not read is all rounding."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 5))
    x = random(1500, 16, seed=5).float()
    y = (x @ random(16, 5, seed=6).float()).argmax(1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    half, precise = both_fits(model.to(dtype).eval(), x.to(dtype), "fisher", "4:in")
    assert half.k == precise.k == 4
    torch.testing.assert_close(half.importances, precise.importances, rtol=0.05, atol=0)
