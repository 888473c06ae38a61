"""Operations that torch cannot batch, or knows in one mode only: the numbers are those of the dense reference."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import libasis
from libasis import reference
from libasis.errors import SiteError

F64 = torch.float64


@torch.library.custom_op("libasis_tests::tanh", mutates_args=())
def reverse_only(x: torch.Tensor) -> torch.Tensor:
    return x.tanh()


@reverse_only.register_fake
def _(x):
    return torch.empty_like(x)


reverse_only.register_autograd(
    lambda ctx, grad: grad * (1 - ctx.saved_tensors[0].tanh() ** 2),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
)


class OldFunction(torch.autograd.Function):
    """Without setup_context, which torch.func asks for."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, grad):
        return grad * (1 - ctx.saved_tensors[0].tanh() ** 2)


class ForwardOnly(torch.autograd.Function):
    """No backward at all."""

    @staticmethod
    def forward(x):
        return x.tanh()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def jvp(ctx, tangent):
        return tangent * (1 - ctx.saved_tensors[0].tanh() ** 2)


class Model(nn.Module):
    """[batch, t, 4] -> [batch, t', 3] through a middle that is given, from 5 features to 5."""

    def __init__(self, middle, inner=None):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.out, self.inner = nn.Linear(4, 5), nn.Linear(5, 3), inner
        self.centres = nn.Parameter(torch.randn(5, 5))
        self.middle = middle
        self.to(F64).eval()

    def forward(self, x):
        return self.out(self.middle(self, self.a(x)))


def sampled(m, h):
    """Bilinear sampling of [t, 5] as a picture, which has no forward mode."""
    grid = F.affine_grid(torch.tensor([[[0.9, 0.1, 0.0], [0.0, 0.8, 0.1]]], dtype=h.dtype).repeat(len(h), 1, 1),
                         (len(h), 1, *h.shape[1:]), align_corners=False)  # fmt: skip
    return F.grid_sample(h[:, None], grid, align_corners=False)[:, 0]


MIDDLES = {
    "LSTM": (lambda m, h: m.inner(h)[0], lambda: nn.LSTM(5, 5, batch_first=True)),
    "GRU": (lambda m, h: m.inner(h)[0], lambda: nn.GRU(5, 5, batch_first=True)),
    "RNN of two layers": (lambda m, h: m.inner(h)[0], lambda: nn.RNN(5, 5, 2, batch_first=True)),
    "cdist": (lambda m, h: torch.cdist(h, m.centres), None),
    "cdist, p=1": (lambda m, h: torch.cdist(h, m.centres, p=1.0), None),
    "RReLU": (lambda m, h: m.inner(h), nn.RReLU),
    "grid_sample": (sampled, None),
    "an operation of one's own": (lambda m, h: reverse_only(h), None),
}
CHAINED = {
    **MIDDLES,
    "a function of the old form": (lambda m, h: OldFunction.apply(h), None),
    "a function with forward mode only": (lambda m, h: ForwardOnly.apply(h), None),
}


def data():
    return torch.randn(7, 3, 4, dtype=F64, generator=torch.Generator().manual_seed(1))


def plain(kind):
    """The middle in operations that the reference can differentiate."""
    middle, inner = CHAINED[kind]
    if kind == "cdist":
        return lambda m, h: (h[:, :, None] - m.centres).square().sum(-1).sqrt()
    if kind in ("LSTM", "GRU", "RNN of two layers"):
        return middle
    return middle if inner or "cdist" in kind or kind == "grid_sample" else lambda m, h: h.tanh()


def assert_like_the_reference(traced, model, kind):
    x, middle = data(), plain(kind)
    function = lambda h: model.out(middle(model, h[None])[0])  # noqa: E731
    points = model.a(x).detach()
    jacobians = [torch.autograd.functional.jacobian(function, h) for h in points]  # by plain autograd: no torch.func
    M = sum(torch.einsum("tosd,tose->de", J, J) for J in jacobians) / (7 * 3)
    centred = points.flatten(0, 1) - points.flatten(0, 1).mean(0)
    covariance = centred.T @ centred / len(centred)
    for moments in ("exact", "auto", libasis.rules.Sketch(relative_error=1e-6)):
        basis = libasis.fit(traced, [x[:4], x[4:]], moments=moments)
        torch.testing.assert_close(basis[1].importances.sum(), (covariance @ M).trace(), rtol=1e-7, atol=1e-9)
    weights = reference.pulled_importance(lambda x: x @ model.a.weight.T, x, basis[1].C)
    flat = x.flatten(0, 1) - x.flatten(0, 1).mean(0)
    torch.testing.assert_close(basis[0].importances.sum(), (flat.T @ flat / len(flat) @ weights).trace())
    true = _edges(jacobians, points, basis)
    for options in ({"method": "gradient"}, {"method": "integrated", "n_steps": 1, "baseline": "mean"}):
        found = libasis.interactions(traced, basis, [x[:4], x[4:]], **options).edges[1]
        assert torch.isfinite(found).all()
        if options["method"] == "gradient":
            torch.testing.assert_close(found, true, rtol=1e-7, atol=1e-10)


def _edges(jacobians, points, basis):
    """``E[j, i] = (1/n) sum (sum_s df_tj/df_si f_si)^2``, by plain autograd."""
    (source, target), total = basis.sites[1:], 0.0
    for J, h in zip(jacobians, points, strict=True):
        amounts = (h - source.mean) @ source.C
        effects = torch.einsum("tosd,oj,id,si->tji", J, target.C, source.C_pinv, amounts)
        total = total + effects.square().sum(0)
    return total / (len(points) * points.shape[1])


@pytest.mark.parametrize("kind", MIDDLES)
def test_in_a_traced_model(kind):
    middle, inner = MIDDLES[kind]
    model = Model(middle, inner and inner())
    assert_like_the_reference(libasis.trace(model, data(), ["input", "a", "output"]), model, kind)


@pytest.mark.parametrize("kind", CHAINED)
def test_in_a_chain(kind):
    middle, inner = CHAINED[kind]
    model = Model(middle, inner and inner())
    chain = libasis.Chain([model.a, lambda h: model.out(middle(model, h))])
    assert_like_the_reference(chain, model, kind)


def test_single_precision_recurrence():
    """Its fused kernel has no batching rule, and says so in other words than others."""
    model = Model(*[MIDDLES["LSTM"][0], nn.LSTM(5, 5, batch_first=True)]).float()
    exact = Model(*[MIDDLES["LSTM"][0], nn.LSTM(5, 5, batch_first=True)])
    exact.load_state_dict(model.state_dict())
    single = libasis.fit(libasis.trace(model, data().float(), ["input", "a", "output"]), [data().float()])
    double = libasis.fit(libasis.trace(exact, data(), ["input", "a", "output"]), [data()])
    torch.testing.assert_close(single[0].importances, double[0].importances, rtol=1e-4, atol=1e-6)


def test_what_has_no_derivative_names_the_operation():
    def numpy(h):
        return torch.from_numpy(h.numpy() * 2)

    chain = libasis.Chain([lambda x: x @ torch.eye(4, dtype=F64), numpy])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(SiteError, match="has no derivative.*write it in operations that torch can differentiate"):
            libasis.fit(chain, [data()])


@torch.library.custom_op("libasis_tests::none", mutates_args=())
def no_derivative(x: torch.Tensor) -> torch.Tensor:
    return x.tanh()


@no_derivative.register_fake
def _(x):
    return torch.empty_like(x)


LIBRARY = torch.library.Library("libasis_tests_c", "DEF")
LIBRARY.define("none(Tensor x) -> Tensor")
LIBRARY.impl("none", torch.tanh, "CPU")
LIBRARY.impl("none", torch.empty_like, "Meta")


@pytest.mark.parametrize("operation", [no_derivative, lambda h: torch.ops.libasis_tests_c.none(h)])
def test_an_operation_of_ones_own_without_a_derivative_is_not_left_out(operation):
    """Round it there is another path, so that nothing would look wrong."""
    model = Model(lambda m, h: m.inner(h), Whole(operation))
    with pytest.raises(SiteError, match="libasis_tests.*none.* in module 'inner' has no derivative.*register"):
        libasis.trace(model, data(), ["input", "a", "output"])
    assert libasis.trace(model, data(), ["out:in", "output"])


class Whole(nn.Module):
    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def forward(self, h):
        return h + self.operation(h)


@pytest.mark.parametrize("moments", ["auto", "exact"])
@pytest.mark.parametrize("name", ["heaviside", "zeta"])
def test_a_unit_without_a_derivative_is_told(name, moments):
    middles = {
        "heaviside": lambda m, h: torch.heaviside(h, torch.zeros(1, dtype=F64)) * h,
        "zeta": lambda m, h: torch.special.zeta(h.abs() + 2, h.abs() + 1),
    }
    model = Model(middles[name])
    traced = libasis.trace(model, data(), ["a:in", "a:out", "output"])
    with pytest.raises(SiteError, match=f"has no derivative at .*{name}"):
        libasis.fit(traced, [data()], moments=moments)


@pytest.mark.parametrize("coarse", [torch.float32, torch.bfloat16])
def test_what_computes_inside_in_a_coarser_dtype_has_a_derivative(coarse):
    model = Model(lambda m, h: h * h.to(coarse).softmax(-1).to(h) + h)
    traced = libasis.trace(model, data(), ["a:in", "a:out", "output"])
    exact = libasis.trace(Model(lambda m, h: h * h.softmax(-1) + h), data(), ["a:in", "a:out", "output"])
    found, true = (libasis.fit(cut, [data()], moments="exact")[1].importances for cut in (traced, exact))
    torch.testing.assert_close(found, true, rtol=100 * torch.finfo(coarse).eps, atol=0)
