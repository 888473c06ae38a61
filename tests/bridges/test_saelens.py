"""Dictionaries are those of SAELens: held against formulas written down here, and against the package where it is."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import libasis
from libasis import bridges
from libasis.errors import SiteError, StoreError

D, K = 6, 10
KINDS = ("standard", "topk", "jumprelu", "gated")
NORMS = ("none", "layer_norm", "constant_norm_rescale")


def weights_of(kind, seed=0):
    draw = torch.Generator().manual_seed(seed)
    r = lambda *shape: torch.randn(*shape, generator=draw)  # noqa: E731
    more = {
        "standard": {"b_enc": r(K)},
        "topk": {"b_enc": r(K)},
        "jumprelu": {"b_enc": r(K), "threshold": r(K).abs()},
        "gated": {"b_gate": r(K), "b_mag": r(K), "r_mag": 0.3 * r(K)},
    }[kind]
    return {"W_enc": r(D, K), "W_dec": r(K, D), "b_dec": r(D), **more}


def write(folder, kind="standard", *, weights=None, **settings):
    """A folder as SAELens 6 writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {"k": 3, "rescale_acts_by_decoder_norm": False} if kind == "topk" else {}
    base = {"d_in": D, "d_sae": K, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True}
    base |= {"normalize_activations": "none", "reshape_activations": "none", "architecture": kind}
    base |= {"metadata": {"sae_lens_version": "6.54.12", "hook_name": "blocks.0.hook_resid_pre"}}
    (folder / "cfg.json").write_text(json.dumps({**base, **own, **settings}))
    save_file(weights_of(kind) if weights is None else weights, folder / "sae_weights.safetensors")
    return folder


def by_hand(kind, w, x):
    """Latents of one vector, number by number."""
    taken, found = (x - w["b_dec"]).tolist(), []
    sums = [sum(t * float(w["W_enc"][a, j]) for a, t in enumerate(taken)) for j in range(K)]
    pre = [s + float(w["b_enc"][j]) if "b_enc" in w else s for j, s in enumerate(sums)]
    least = sorted(pre)[-3]
    for j, s in enumerate(pre):
        if kind == "gated":
            size = s * float(w["r_mag"][j].exp()) + float(w["b_mag"][j])
            found.append(max(size, 0.0) if s + float(w["b_gate"][j]) > 0 else 0.0)
        elif kind == "jumprelu":
            found.append(max(s, 0.0) if s > float(w["threshold"][j]) else 0.0)
        else:
            found.append(max(s, 0.0) if kind == "standard" or s >= least else 0.0)
    return torch.tensor(found)


@pytest.mark.parametrize("kind", KINDS)
def test_latents_are_those_of_the_formula(kind, tmp_path):
    own, w = bridges.from_saelens(write(tmp_path, kind)), weights_of(kind)
    x = torch.randn(20, D)
    z = own.encode(x)
    torch.testing.assert_close(z, torch.stack([by_hand(kind, w, one) for one in x]))
    assert 0 < (z == 0).float().mean() < 1
    torch.testing.assert_close(own.decode(z), z @ w["W_dec"] + w["b_dec"])
    torch.testing.assert_close(own(x), x)
    assert repr(own) == f"Autoencoder({kind}, 10 latents of 6 coordinates)"


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subtracts", [True, False])
def test_latents_are_those_of_the_package(kind, norm, subtracts, tmp_path):
    sae_lens = pytest.importorskip("sae_lens", reason="SAELens is not installed: pip install sae-lens")
    more = {"rescale_acts_by_decoder_norm": subtracts} if kind == "topk" else {}
    folder = write(tmp_path, kind, normalize_activations=norm, apply_b_dec_to_input=subtracts, **more)
    theirs, own = sae_lens.SAE.load_from_disk(folder), bridges.from_saelens(folder)
    x = 3 * torch.randn(4, 5, D) + 1
    z = own.encode(x)
    torch.testing.assert_close(z, theirs.encode(x))
    errors = []
    own.error.register_forward_hook(lambda module, given, error: errors.append(error))
    torch.testing.assert_close(own(x), x)
    torch.testing.assert_close(x - errors[0], theirs(x))


def test_files_of_before_6_and_other_dtypes(tmp_path):
    w = weights_of("topk")
    old = {"d_in": D, "d_sae": K, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}, "architecture": None}
    old |= {"hook_point": "blocks.1.hook_resid_pre", "hook_point_head_index": None, "normalize_activations": False}
    folder = write(tmp_path / "old", weights={name: one.bfloat16() for name, one in w.items()})
    (folder / "cfg.json").write_text(json.dumps(old))
    own = bridges.from_saelens(folder)
    assert own.settings["metadata"]["hook_name"] == "blocks.1.hook_resid_pre"
    x = torch.randn(9, D)
    truth = torch.stack([by_hand("topk", {n: one.bfloat16().float() for n, one in w.items()}, v) for v in x])
    torch.testing.assert_close(own.encode(x.bfloat16()), own.encode(x.bfloat16().float()))
    torch.testing.assert_close(own.encode(x), truth)
    assert own(x.bfloat16()).dtype == torch.bfloat16


def test_heads_are_one_activation(tmp_path):
    own = bridges.from_saelens(write(tmp_path, reshape_activations="hook_z"))
    heads = torch.randn(2, 4, 3, 2)
    assert own.encode(heads).shape == (2, 4, K)
    torch.testing.assert_close(own(heads), heads)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "transcoder"}, "architecture is 'transcoder'"),
        ({"normalize_activations": "expected_average_only_in"}, "numbers that are not in these files"),
        ({"activation_fn": "tanh-relu"}, "activation_fn is 'tanh-relu'"),
        ({"metadata": {"hook_head_index": 3}}, "names one head"),
        ({"architecture": "topk", "k": 11}, "k is '11'; a topk dictionary has a whole number from 1 to 10"),
        ({"architecture": "gated"}, "b_gate is missing"),
        ({"metadata": None}, "metadata is 'None', but it is a mapping"),
        ({"architecture": ["standard"]}, "architecture is .*standard.*; for dictionaries here it is one of"),
        ({"architecture": "topk", "k": True}, "k is 'True'; a topk dictionary has a whole number"),
        ({"apply_b_dec_to_input": "false"}, r"apply_b_dec_to_input is 'false'; .* one of \[True, False\]"),
        ({"apply_b_dec_to_input": None}, "apply_b_dec_to_input is 'None'"),
        ({"rescale_acts_by_decoder_norm": "no"}, "rescale_acts_by_decoder_norm is 'no'"),
        ({"reshape_activations": "heads"}, "reshape_activations is 'heads'; .*'hook_z'"),
        ({"d_in": 5}, r"d_in is '5', but the weights say 6: W_enc is \[6, 10\]"),
        ({"d_sae": 99}, "d_sae is '99', but the weights say 10"),
    ],
)
def test_what_is_not_known_is_refused_in_a_sentence(changes, words, tmp_path):
    with pytest.raises(StoreError, match=words) as error:
        bridges.from_saelens(write(tmp_path, **changes))
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("kind", [torch.complex64, torch.int64])
def test_weights_are_floating_point_numbers(kind, tmp_path):
    weights = {**weights_of("standard"), "W_enc": torch.ones(D, K, dtype=kind)}
    told = f"W_enc is of {str(kind)[6:]}; in a standard dictionary it is floating-point numbers of the shape"
    with pytest.raises(StoreError, match=told):
        bridges.from_saelens(write(tmp_path, weights=weights))
    with pytest.raises(libasis.LibasisError, match=told):
        bridges.Autoencoder(weights)


def test_missing_and_empty_encoders_and_latents_of_another_width(tmp_path):
    rest = {name: one for name, one in weights_of("standard").items() if name != "W_enc"}
    for i, change in enumerate(({}, {"W_enc": torch.zeros(0, K)}, {"W_enc": torch.zeros(1, D, K)})):
        with pytest.raises(StoreError, match=r"W_enc .*floating-point numbers of the shape \[d, k\]"):
            bridges.from_saelens(write(tmp_path / str(i), weights={**rest, **change}))
    own = bridges.Autoencoder(weights_of("standard"))
    for one, width in ((own, K), (own.only([1, 2]), 2)):
        with pytest.raises(
            libasis.LibasisError, match=rf"latents of the shape \[2, 5\], but .* has \[\.\.\., {width}\]"
        ):
            one.decode(torch.zeros(2, 5))


@pytest.mark.parametrize("name", ["W_enc", "W_dec", "b_dec", "b_enc"])
def test_weights_that_are_wrong_are_named(name, tmp_path):
    for i, change in enumerate(({}, {name: torch.zeros(3)}, {name: weights_of("standard")[name] / 0})):
        rest = {key: one for key, one in weights_of("standard").items() if key != name}
        with pytest.raises(StoreError, match=name):
            bridges.from_saelens(write(tmp_path / str(i), weights={**rest, **change}))


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(StoreError, match="cfg.json"):
        bridges.from_saelens(tmp_path)
    folder = write(tmp_path / "one")
    (folder / "sae_weights.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(StoreError, match="is damaged"):
        bridges.from_saelens(folder)
    (write(folder) / "cfg.json").write_text("[1]")
    with pytest.raises(StoreError, match="mapping"):
        bridges.from_saelens(folder)


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, D), nn.ReLU(), nn.Linear(D, D), nn.ReLU(), nn.Linear(D, 3)).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_a_spliced_model_computes_the_same_and_is_cut_at_its_latents(kind, tmp_path):
    """Edges between latents: what a later encoder makes of an earlier latent's direction, times how much of it."""
    model, own = network(), bridges.from_saelens(write(tmp_path, kind))
    before = {name: one.clone() for name, one in model.state_dict().items()}
    copied, sites = bridges.spliced(model, {"0": own, "4:in": own})
    x = torch.randn(50, 4)
    torch.testing.assert_close(copied(x), model(x))
    assert sites["0"] == ["0.dictionary.latents", "0.dictionary.error"]
    traced = libasis.trace(copied, x, ["input", *sites.values(), "output"])
    basis = libasis.fit(traced, [x], method="neuron", progress=False)
    assert [site.k for site in basis] == [4, K + D, K + D, 3]
    h = model[:4](x)
    torch.testing.assert_close(basis[2].mean[:K], own.encode(h).double().mean(0), rtol=1e-5, atol=1e-6)
    graph = libasis.interactions(traced, basis, [x], progress=False)

    def later(z, error):
        return own.encode(model[3](model[2](model[1](own.decode(z) + error))))

    z = own.encode(model[0](x))
    slopes = torch.stack([torch.func.jacrev(later)(a, b) for a, b in zip(z, model[0](x) - own.decode(z), strict=True)])
    truth = (slopes * (z - z.mean(0))[:, None]).double().square().mean(0)
    torch.testing.assert_close(graph.edges[1][:K, :K], truth, rtol=1e-4, atol=1e-7)
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    assert copied[4].module.weight.data_ptr() == model[4].weight.data_ptr()


def test_modules_that_share_and_remember(tmp_path):
    """One module in two places, dictionaries within each other, results kept from a forward, buffers written to."""

    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(D, D)
            self.also = nn.ModuleList([self.inner])
            self.register_buffer("calls", torch.zeros(1))
            self.last = {}

        def forward(self, x):
            self.calls += 1
            self.last["y"] = self.also[0](x)
            return self.last["y"].tanh(), "more"

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.keeps = Keeps()

        def forward(self, x):
            return self.keeps(x)[0]

    model, own = Model().eval(), bridges.from_saelens(write(tmp_path, "gated"))
    x = torch.randn(20, D)
    y = model(x)
    copied, sites = bridges.spliced(model, {"keeps": own, "keeps.inner:in": own, "keeps.also.0": own})
    torch.testing.assert_close(copied(x), y)
    assert model.keeps.calls == 1
    assert model.keeps.last["y"].requires_grad
    assert len({name for pair in sites.values() for name in pair}) == 6
    modules = dict(copied.named_modules())
    seen = []
    for latents, _ in sites.values():
        modules[latents].register_forward_hook(lambda module, given, z: seen.append(z))
    copied(x)
    torch.testing.assert_close(seen[0], own.encode(x))
    torch.testing.assert_close(seen[1], own.encode(model.keeps.inner(x)))
    torch.testing.assert_close(seen[2], own.encode(y))


def test_latents_that_are_not_shown_are_part_of_the_error(tmp_path):
    model, own = network(), bridges.from_saelens(write(tmp_path, "topk"))
    few = own.only([7, 2])
    x = torch.randn(30, 4)
    torch.testing.assert_close(few.encode(model[0](x)), own.encode(model[0](x))[:, [7, 2]])
    copied, sites = bridges.spliced(model, {"0:out": few})
    torch.testing.assert_close(copied(x), model(x))
    traced = libasis.trace(copied, x, [sites["0:out"], "output"])
    basis = libasis.fit(traced, [x], method="neuron", progress=False)
    off = libasis.Intervention(basis[0].name, features=[1], to="set", value=-basis[0].mean[1].item())
    got = libasis.intervene(traced, basis, [x], [off], metric=lambda out, _: out[:, 0], progress=False)
    z = own.encode(model[0](x))
    truth = model[1:](model[0](x) - z[:, 2:3] * own.W_dec[2])[:, 0]
    torch.testing.assert_close(got.scores[0].float(), truth, rtol=1e-4, atol=1e-5)
    for wrong in ([], [1, 1], [10], [-1]):
        with pytest.raises(libasis.LibasisError, match="from 0 to 9"):
            own.only(wrong)


def test_directions_of_a_dictionary_make_a_linear_basis(tmp_path):
    model, own = network(), bridges.from_saelens(write(tmp_path))
    x = torch.randn(60, 4)
    traced = libasis.trace(model, x, ["input", "0", "output"])
    basis = libasis.Basis.from_directions(
        {"0": own.W_dec.T}, {"0": own.W_enc.T}, traced=traced, batches=[x], progress=False
    )
    assert [site.k for site in basis] == [4, K, 3]


def test_a_site_without_a_module_is_refused(tmp_path):
    own = bridges.from_saelens(write(tmp_path))
    for site in ("7", "input", "0:around", ""):
        with pytest.raises(SiteError, match="no module"):
            bridges.spliced(network(), {site: own})


def test_what_does_not_fit_is_told_in_a_sentence(tmp_path):
    own = bridges.from_saelens(write(tmp_path))
    copied, _ = bridges.spliced(nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval(), {"0": own})
    for wrong in (lambda: own.encode(torch.zeros(2, 5)), lambda: libasis.trace(copied, torch.zeros(2, 4), ["0", "1"])):
        with pytest.raises(libasis.LibasisError, match=r"coordinates, but Autoencoder\(standard, 10 latents of 6"):
            wrong()
    with pytest.raises(libasis.LibasisError, match="Autoencoder takes a mapping"):
        bridges.Autoencoder(3)
    compiled = torch.compile(network())
    copied, sites = bridges.spliced(compiled, {"0": own})
    assert sites["0"][0] == "0.dictionary.latents"
