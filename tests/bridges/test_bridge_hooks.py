"""An intervention does the same as a hook of torch, TransformerLens and nnsight as it does in `libasis.intervene`."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import libasis
from libasis import Intervention, bridges
from libasis.errors import OptionError, SiteError

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(3))
KINDS = [
    {"features": [0, 2]},
    {"features": [1], "to": "zero"},
    {"features": [1, 3], "to": "set", "value": [0.5, -2.0]},
    {"features": 2, "to": "shift", "value": 1.5},
    {"features": [0, 1], "to": "keep_only"},
    {"features": [0, 1], "to": "keep_only", "value": "zero"},
    {"directions": [[1.0, 0, 0, 2, 0, 0], [0, 1, 0, 0, 0, 0]], "to": "mean"},
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)).eval().double()


@pytest.fixture(scope="module")
def fitted(model):
    traced = libasis.trace(model, X.double(), ["input", "2:in", "2:out", "output"])
    return traced, libasis.fit(traced, [X.double()], method="pca", progress=False)


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("site", ["2:in", "2:out"])
def test_hooks_of_torch_do_what_intervene_does(model, fitted, options, site):
    traced, basis = fitted
    asked, x = Intervention(site, **options), X.double()
    result = libasis.intervene(traced, basis, [x], [asked], metric=lambda out, _: out[:, 0], progress=False)
    edit = bridges.edit(basis, asked)
    layer = model[2]
    hooks = {"2:in": lambda: layer.register_forward_pre_hook(edit.before)}
    handle = hooks.get(site, lambda: layer.register_forward_hook(edit.after))()
    try:
        hooked = model(x)[:, 0]
    finally:
        handle.remove()
    torch.testing.assert_close(hooked, result.scores[0].to(hooked))
    assert not torch.allclose(hooked, model(x)[:, 0])
    assert repr(edit) == f"Edit({asked.label})"


def test_a_shift_of_directions_is_in_standard_deviations(fitted):
    """For features that are uncorrelated on the data, as those of PCA are, the two agree."""
    traced, basis = fitted
    directions = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    x = torch.zeros(1, 6, dtype=torch.float64)
    edit = bridges.edit(basis, Intervention("2:out", directions=directions, to="shift", value=2.0))
    h = traced.model[:3](X.double())
    amounts = torch.linalg.lstsq(directions.double().T, (edit(x) - x).T).solution.flatten() / 2
    reading = torch.linalg.pinv(torch.cov(h.T, correction=0)) @ directions.double().T
    reading = reading @ torch.linalg.inv(directions.double() @ reading)
    deviations = ((h - h.mean(0)) @ reading).std(0, correction=0)
    torch.testing.assert_close(amounts, deviations, rtol=1e-6, atol=0)


def test_positions_dtypes_tuples_and_derivatives(fitted):
    _, basis = fitted
    edit = bridges.edit(basis, Intervention("2:out", features=[0]))
    x = torch.randn(2, 5, 6, dtype=torch.bfloat16)
    assert edit(x).dtype == torch.bfloat16
    out = edit.after(nn.Identity(), (), (x, "cache"))
    assert out[1] == "cache"
    z = basis["2:out"].encode(edit(torch.randn(2, 5, 6).double()))
    torch.testing.assert_close(z[..., 0], torch.zeros(2, 5).double(), atol=1e-9, rtol=0)
    y = torch.randn(3, 6, requires_grad=True)
    edit(y).sum().backward()
    assert y.grad is not None


def test_what_a_hook_cannot_know_is_refused(fitted):
    _, basis = fitted
    for options in ({"to": "resample"}, {"to": "swap", "donors": [1]}, {"to": "set", "value": "q0.9"}):
        with pytest.raises(OptionError, match="needs other samples"):
            bridges.edit(basis, Intervention("2:in", features=[0], **options))
    with pytest.raises(OptionError, match="has 6, from 0 to 5"):
        bridges.edit(basis, Intervention("2:in", features=[6]))
    edit = bridges.edit(basis, Intervention("2:in", features=[0]))
    with pytest.raises(OptionError, match=r"shape \[2, 5\], but at '2:in' it is a tensor \[\.\.\., 6\]"):
        edit(torch.zeros(2, 5))
    with pytest.raises(OptionError, match="type tuple"):
        edit((torch.zeros(2, 6),))


class Block(nn.Module):
    """A norm as transformers writes it: what it converts to its own dtype is the stream itself."""

    def __init__(self):
        super().__init__()
        self.norm, self.mix, self.late, self.fc = nn.LayerNorm(6), nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 6)

    def forward(self, *, x):
        x = x + self.mix(self.norm(x.to(torch.float64)))
        return x + torch.relu(self.fc(self.late(x)))


class Stream(nn.Module):
    def __init__(self):
        super().__init__()
        self.model, self.b, self.out = nn.Linear(4, 6), Block(), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.b(x=self.model(x)))


@pytest.mark.parametrize(
    ("site", "where"), [("b.norm:in", "b:in"), ("b.late:in", ""), ("b:in", "b:in"), ("b.late:out", "b.late:out")]
)
def test_an_edit_says_where_a_hook_changes_the_tensor_for_all_that_read_it(site, where, tmp_path):
    torch.manual_seed(0)
    model, x = Stream().eval().double(), X.double()
    around = "hold" if site == "b.late:out" else "refuse"
    traced = libasis.trace(
        model, x, ["input", site, "output"] if around == "refuse" else [site, "output"], around=around
    )
    fitted = libasis.fit(traced, [x], method="pca", progress=False)
    basis = libasis.Basis.load(fitted.save(tmp_path / "basis"))
    asked, y = Intervention(site, features=[0, 1]), model(x)
    edit = bridges.edit(basis, asked)
    others = "" if where == site else f"; others read the tensor too: {f'hook at {where}' if where else 'no hook'}"
    assert (edit.hook_at, repr(edit).startswith(f"Edit({asked.label}{others}")) == (where, True)
    truth = libasis.intervene(traced, basis, [x], asked, metric="output_mse", progress=False).rows()[0]["value"]
    for name in {site, where} - {""}:
        path, end = name.split(":")
        module = model.get_submodule(path)
        if end == "in":
            handle = module.register_forward_pre_hook(edit.before, with_kwargs=True)
        else:
            handle = module.register_forward_hook(edit.after)
        changed = (model(x) - y).square().mean().item()
        handle.remove()
        assert (changed == pytest.approx(truth, rel=1e-6)) == (name == where)


Named = namedtuple("Named", "count y")


@dataclass
class Output(OrderedDict):
    """As transformers' outputs: a mapping with attributes."""

    y: torch.Tensor

    def __post_init__(self):
        self["y"] = self.y

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(key, value)


@dataclass
class Plain:
    y: torch.Tensor
    count: int = 3


WRAPS = {
    "mapping with attributes": (lambda y: Output(y=y), lambda out: out.y),
    "named": (lambda y: Named(torch.arange(2), y), lambda out: out.y),
    "dataclass": (Plain, lambda out: out.y),
    "dict": (lambda y: {"none": None, "y": y}, lambda out: out["y"]),
    "nested": (lambda y: [1, (y,)], lambda out: out[1][0]),
}


class Odd(nn.Module):
    """Called by keyword, with whole numbers first; returns what it is told to."""

    def __init__(self, wrap):
        super().__init__()
        self.fc, self.wrap = nn.Linear(4, 6), wrap

    def forward(self, *, ids, x):
        return self.wrap(self.fc(x))


class Around(nn.Module):
    def __init__(self, kind):
        super().__init__()
        wrap, self.read = WRAPS[kind]
        self.odd, self.out = Odd(wrap), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.read(self.odd(ids=torch.arange(2), x=x)))


@pytest.mark.parametrize("kind", WRAPS)
def test_modules_that_are_called_by_keyword_and_return_anything(kind):
    torch.manual_seed(0)
    model, x = Around(kind).eval(), X
    traced = libasis.trace(model, x, ["odd:in", "odd:out", "output"], dtype="float64")
    basis, y = libasis.fit(traced, [x], method="pca", progress=False), model(x)
    for site in ("odd:in", "odd:out"):
        asked = Intervention(site, features=[0])
        edit = bridges.edit(basis, asked)
        truth = libasis.intervene(traced, basis, [x], asked, metric="output_mse", progress=False)
        if site == "odd:in":
            handle = model.odd.register_forward_pre_hook(edit.before, with_kwargs=True)
        else:
            handle = model.odd.register_forward_hook(edit.after)
        changed = (model(x) - y).square().mean()
        handle.remove()
        assert changed.item() == pytest.approx(truth.rows()[0]["value"], rel=1e-4)
    draw = lambda *shape: torch.randn(*shape)  # noqa: E731
    owns = {
        site: bridges.Autoencoder({"W_enc": draw(d, 5), "W_dec": draw(5, d), "b_enc": draw(5), "b_dec": draw(d)})
        for site, d in (("odd:in", 4), ("odd", 6))
    }
    copied, sites = bridges.spliced(model, owns)
    torch.testing.assert_close(copied(x), y, rtol=1e-4, atol=1e-5)
    cut = libasis.trace(copied, x, [*sites.values(), "output"])
    assert [site.features for site in cut.sites] == [9, 11, 3]


def test_a_module_without_a_tensor_to_change_is_told_in_a_sentence(fitted):
    edit = bridges.edit(fitted[1], Intervention("2:in", features=[0]))
    with pytest.raises(OptionError, match=r"Odd was given no tensor .* by position; if it is .*with_kwargs"):
        edit.before(Odd(None), ())
    with pytest.raises(OptionError, match="Odd returned no tensor of floating-point numbers"):
        edit.after(Odd(None), (), {"count": 3})
    with pytest.raises(OptionError, match=r"shape \[2, 6\] and the dtype torch.int64, but at '2:in'"):
        edit(torch.ones(2, 6, dtype=torch.int64))
    own = bridges.Autoencoder(
        {"W_enc": torch.ones(4, 5), "W_dec": torch.ones(5, 4), "b_enc": torch.ones(5), "b_dec": torch.ones(4)}
    )
    copied, _ = bridges.spliced(nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 2)).eval(), {"0:in": own})
    for run in (copied, lambda ids: libasis.trace(copied, ids, ["0", "output"])):
        with pytest.raises(SiteError, match="No dictionary can stand at '0:in': the module is given no tensor"):
            run(torch.arange(6)[:, None])


SHAPE = {"n_layers": 2, "d_model": 8, "n_ctx": 5, "d_head": 4, "n_heads": 2, "d_vocab": 11, "act_fn": "gelu", "seed": 0}


@pytest.mark.parametrize("old", [False, True])
def test_a_model_of_transformer_lens(old):
    """It is traced as it is, at its hook points; its caches hold what the basis encodes; hooks are edits."""
    lens = pytest.importorskip("transformer_lens", reason="not installed: pip install transformer-lens")
    if old:
        module = pytest.importorskip("transformer_lens.HookedTransformer", reason="transformer-lens from 4 on has none")
        model = module.HookedTransformer(lens.HookedTransformerConfig(**SHAPE, normalization_type="LNPre")).eval()
        first, site = "blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre"
    else:
        from transformer_lens.model_bridge import TransformerBridge

        model, first, site = TransformerBridge.boot_native(SHAPE).eval(), "blocks.0.hook_in", "blocks.1.hook_in"
    x = torch.randint(0, 11, (6, 5))
    traced = libasis.trace(model, x, [first, site, "output"])
    basis = libasis.fit(traced, [x], progress=False)
    _, cache = model.run_with_cache(x)
    z = basis[site].encode(cache[site])
    assert z.double().flatten(0, 1).mean(0).abs().max() < 1e-5
    for asked in (Intervention(site, features=[0]), Intervention(site, features=[0, 1, 2], to="keep_only")):
        hooked = model.run_with_hooks(x, fwd_hooks=[(site, bridges.edit(basis, asked))])
        metric = lambda out, _: out[:, -1, 3]  # noqa: E731
        result = libasis.intervene(traced, basis, [x], [asked], metric=metric, progress=False)
        torch.testing.assert_close(hooked[:, -1, 3].double(), result.scores[0].double(), rtol=1e-4, atol=1e-5)
    r = torch.randn
    own = bridges.Autoencoder({"W_enc": r(8, 12), "W_dec": r(12, 8), "b_dec": r(8), "b_enc": r(12)})
    copied, sites = bridges.spliced(model, {site: own, "blocks.0.mlp": own})
    torch.testing.assert_close(copied(x), model(x), rtol=1e-4, atol=1e-4)
    latents = libasis.fit(libasis.trace(copied, x, [sites[site], "output"]), [x], method="neuron", progress=False)
    torch.testing.assert_close(latents[0].mean[:12].float(), own.encode(cache[site]).flatten(0, 1).mean(0))
    inside = libasis.trace(copied, x, [sites["blocks.0.mlp"], "output"], around="hold")
    assert inside.sites[0].features == 20


def test_a_model_of_nnsight(model, fitted):
    nnsight = pytest.importorskip("nnsight", reason="not installed: pip install nnsight")
    _, basis = fitted
    edit = bridges.edit(basis, Intervention("2:out", features=[0]))
    inside, x = nnsight.NNsight(model), X.double()
    with inside.trace(x):
        before = inside[2].output.save()
        inside[2].output = edit(inside[2].output)
        out = inside.output.save()
    torch.testing.assert_close(before, model[:3](x))
    torch.testing.assert_close(out, model[3:](edit(model[:3](x))))
    traced = libasis.trace(model, x, ["input", "2:out", "output"])
    assert torch.equal(libasis.fit(traced, [x], method="pca", progress=False)["2:out"].C, basis["2:out"].C)
