"""What counts is the function that is computed, however it is spelled and whatever a training would see of it."""

import pytest
import torch
from torch import nn

import libasis
from cut.cutting import F64, assert_close, calls, randn, refused
from libasis import reference
from libasis.errors import ActivationError, BypassError, SiteError


def no_grad(t):
    with torch.no_grad():
        return t * 1


def switched_off(t):
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    t = t * 1
    torch.set_grad_enabled(before)
    return t


@torch.no_grad()
def decorated(t):
    return t * 1


class Stopped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, t):
        return t.clone()

    @staticmethod
    def backward(ctx, grad):
        return torch.zeros_like(grad)


SPELLINGS = {
    "plain": lambda t: t,
    "detach": lambda t: t.detach(),
    "torch.detach": lambda t: torch.detach(t),
    "detach_": lambda t: (t * 1).detach_(),
    "data": lambda t: t.data,
    "no_grad": no_grad,
    "set_grad_enabled": switched_off,
    "a decorator": decorated,
    "clone and detach": lambda t: t.clone().detach().requires_grad_(False),
    "an autograd.Function": lambda t: Stopped.apply(t),
}


def normalised(x, weight, stop):
    """[batch, t, d]: standardised over t, as forecasting models do, and put back."""
    mean, spread = stop(x.mean(-2, keepdim=True)), stop((x.var(-2, keepdim=True) + 1e-5).sqrt())
    return torch.tanh((x - mean) / spread @ weight) * spread + mean


@pytest.fixture(scope="module")
def data():
    return randn(20, 5, 4, seed=3) * torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=F64) + 1.0


@pytest.fixture(scope="module")
def truth(data):
    weight = randn(4, 4, seed=5)
    return reference.lib([lambda x: normalised(x, weight, lambda t: t)], data)[0]["importances"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_function_has_one_basis(spelling, data, truth):
    model = calls(lambda m, x: normalised(x, m.weight, SPELLINGS[spelling]), weight=nn.Parameter(randn(4, 4, seed=5)))
    traced = libasis.trace(model, data, ["input", "output"])
    assert_close(libasis.fit(traced, [data], moments="exact")[0].importances, truth, 1e-9)


@pytest.mark.parametrize("spelling", [name for name in SPELLINGS if "Function" not in name])
def test_in_a_chain_too(spelling, data, truth):
    weight = randn(4, 4, seed=5)
    traced = libasis.Chain([lambda x: normalised(x, weight, SPELLINGS[spelling])])
    assert_close(libasis.fit(traced, [data], moments="exact")[0].importances, truth, 1e-9)
    assert torch.is_grad_enabled()


STEPS = {
    "a straight-through estimator": lambda h: h + (h.round() - h).detach(),
    "a rounding": torch.round,
    "a sign": torch.sign,
    "a codebook": lambda h: h + (torch.eye(5, dtype=h.dtype)[h.argmax(-1)] - h).detach(),
}


@pytest.mark.parametrize("kind", STEPS)
def test_what_is_constant_between_its_jumps_has_no_basis(kind):
    model = calls(lambda m, x: m.o(STEPS[kind](m.a(x))), a=nn.Linear(4, 5), o=nn.Linear(5, 3))
    traced = libasis.trace(model, randn(9, 4), ["input", "o:in", "output"])
    with refused(
        ActivationError, "'input'", "derivative .* is zero", "constant between their jumps", "straight-through"
    ):
        libasis.fit(traced, [randn(9, 4)])


def test_a_site_behind_a_comparison_says_why_it_is_none():
    model = calls(lambda m, x: m.o((m.a(x) > 0).to(x.dtype)), a=nn.Linear(4, 5), o=nn.Linear(5, 3))
    with refused(SiteError, "'o:in'", "only through whole numbers or booleans"):
        libasis.trace(model, randn(9, 4), ["input", "o:in", "output"])
    rows = {row.name: row for row in libasis.find_sites(model, randn(9, 4))}
    assert "only through whole numbers or booleans" in rows["o:in"].reason


def rfft(m, h):
    return torch.fft.irfft(torch.fft.rfft(h, dim=1) * torch.view_as_complex(m.w)[:, None], n=h.shape[1], dim=1)


COMPLEX = {
    "rfft": rfft,
    "fft, its real part": lambda m, h: torch.fft.fft2(h).real,
    "view_as_real": lambda m, h: torch.view_as_real(torch.fft.fft(h))[..., 0],
    "view_as_complex": lambda m, h: torch.view_as_complex(torch.stack([h, -h], -1)).abs(),
    "stft": lambda m, h: torch.stft(
        h.flatten(1), 8, hop_length=4, center=False, window=torch.hann_window(8, dtype=h.dtype), return_complex=True
    ).abs().mean((1, 2))[:, None, None],
    "complex numbers in another branch": lambda m, h: h * torch.fft.fft(h, dim=1).imag.sum((1, 2), keepdim=True),
}  # fmt: skip


@pytest.mark.parametrize("kind", COMPLEX)
def test_complex_numbers_carry_values(kind):
    """Round a site they are a bypass; on the way they are differentiated like any others."""
    parts = {"a": nn.Linear(4, 5), "b": nn.Linear(5, 5), "o": nn.Linear(5, 3), "w": nn.Parameter(randn(4, 2))}
    x = randn(8, 6, 4)
    model = calls(lambda m, x: m.o(m.b(h := m.a(x)).tanh() + COMPLEX[kind](m, h)), **parts)
    with refused(BypassError, "'b:out'", "reaches 'output' without passing"):
        libasis.trace(model, x, ["input", "b:out", "output"])
    rows = {row.name: row for row in libasis.find_sites(model, x)}
    assert "bypassed" in rows["b:out"].reason
    traced = libasis.trace(model, x, ["input", "b:in", "output"])
    with torch.no_grad():
        functions = [lambda x: model.a(x), lambda h: model.o(model.b(h).tanh() + COMPLEX[kind](model, h[None])[0])]
        truth = reference.lib(functions, x)
    for site, true in zip(libasis.fit(traced, [x], moments="exact"), truth, strict=True):
        assert_close(site.importances, true["importances"], 1e-8)


def test_complex_numbers_are_as_exact_as_the_dtype_asked_for():
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh()).eval()
    whole = calls(lambda m, x: m.a(torch.fft.fft2(x).real), a=model).float()
    x = randn(8, 6, 4)
    traced = libasis.trace(whole, x.float(), ["input", "output"], dtype="float64")
    model.double()
    assert_close(traced.record(x).output, model(torch.fft.fft2(x).real).detach(), 1e-12)


def test_an_output_that_is_bypassed_says_so():
    def run(m, x):
        h = m.a(x)
        g = m.b(h)
        return {"logits": m.o(h + g), "branch": g, "stream": h}

    model = calls(run, a=nn.Linear(4, 5), b=nn.Linear(5, 5), o=nn.Linear(5, 3))
    rows = {row.name: row for row in libasis.find_sites(model, randn(6, 4))}
    assert rows["output"].ok
    assert rows["output.stream"].ok
    libasis.trace(model, randn(6, 4), ["output.stream", "output"])
    assert rows["output.branch"].reason.startswith("bypassed by")
    with pytest.raises(BypassError):
        libasis.trace(model, randn(6, 4), ["output.branch", "output"])
    libasis.trace(model, randn(6, 4), ["input", "output.branch"])  # as the last site, as the reason says


def into_zeros(h):
    out = torch.zeros_like(h)
    out[..., :2], out[..., 2:] = h[..., 2:], h[..., :2] * 2
    return out


def into_itself(h):
    h = h * 1
    h[..., :2] = h[..., 2:] * 2
    h[..., 3] = h[..., 0]
    h[..., ::3] += h[..., 1:2]
    h[:, 1:].mul_(2)
    return h


def itself(h):
    a, b = h[..., 2] + h[..., 3], torch.tensor([1.0] + [2.0] * (h.shape[-2] - 1), dtype=h.dtype)[:, None]
    return torch.stack([2 * a, 2 * h[..., 3], h[..., 2], 2 * a], -1) * b


IN_PLACE = {
    "into zeros": (into_zeros, lambda h: torch.cat([h[..., 2:], h[..., :2] * 2], -1)),
    "into itself": (into_itself, itself),
}


@pytest.mark.parametrize("kind", IN_PLACE)
def test_what_is_written_in_place_is_a_function_like_any_other(kind, data):
    written, pure = IN_PLACE[kind]
    torch.testing.assert_close(written(data), pure(data))
    truth = reference.lib([lambda x: torch.tanh(pure(x.tanh()))], data)[0]["importances"]
    traced = libasis.trace(calls(lambda m, x: torch.tanh(written(x.tanh()))), data, ["input", "output"])
    assert_close(libasis.fit(traced, [data], progress=False)[0].importances, truth)
