"""The laws of the basis."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import chains
import libasis
from libasis import reference
from libasis.errors import ActivationError, OptionError


def fit(sections, x, method="lib", mask=None, **options):
    options.setdefault("truncation", "absolute:1e-9")
    traced = chains.chain(sections).to(mask=mask)
    return libasis.fit(traced, x if isinstance(x, list) else [x], method, progress=False, **options)


@pytest.mark.parametrize("name", chains.SECTIONS)
@pytest.mark.parametrize("sizes", [(40,), (7, 20, 13), (1, 39)])
def test_equals_the_dense_reference(name, sizes):
    sections, x = chains.SECTIONS[name](), chains.data(name)
    found = fit(sections, chains.split(x, *sizes))
    for mine, truth in zip(found, reference.lib(sections, x), strict=True):
        torch.testing.assert_close(mine.mean, truth["mean"], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(mine.importances, truth["importances"], rtol=1e-9, atol=1e-12)
        sign = (mine.C * truth["C"]).sum(0).sign()
        torch.testing.assert_close(mine.C * sign, truth["C"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("memory", [1, 10_000, 2**30])
def test_does_not_depend_on_the_memory_bound(memory):
    sections, x = chains.SECTIONS["attention"](), chains.data("attention")
    found, truth = fit(sections, x, memory=memory), fit(sections, x)
    torch.testing.assert_close(found.sites[0].importances, truth.sites[0].importances, rtol=1e-12, atol=0)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_batch_split_and_order_do_not_matter(cuts, shuffle):
    sections, x = chains.SECTIONS["attention"](), chains.data("attention")
    order = list(range(len(x)))
    shuffle.shuffle(order)
    pieces = [p for p in x[order].tensor_split(sorted({c for c in cuts if c < 40})) if len(p)]
    for mine, truth in zip(fit(sections, pieces), fit(sections, x), strict=True):
        torch.testing.assert_close(mine.importances, truth.importances, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(mine.C, truth.C, rtol=1e-7, atol=1e-8)


@given(st.integers(0, 1000), st.sampled_from(["mlp", "attention"]), st.sampled_from(["lib", "global"]))
def test_invariance_under_reparametrisation(seed, name, method):
    """f -> A f + a at a site, with the sections adjusted, changes neither importances nor features nor edges."""
    sections, x = chains.SECTIONS[name](), chains.data(name)
    A = torch.eye(6, dtype=chains.F64) + chains.random(6, 6, scale=0.3, seed=seed)
    shift, inverse = chains.random(6, seed=seed + 1), torch.linalg.inv(A)
    moved = [lambda z: sections[0](z) @ A.T + shift, lambda z: sections[1]((z - shift) @ inverse.T)]
    graphs = []
    for pair in (sections, moved):
        traced = chains.chain(pair)
        basis = libasis.fit(traced, [x], method, truncation="absolute:1e-9", progress=False)
        graphs.append((libasis.interactions(traced, basis, [x], progress=False), traced.record(x).activations[1]))
    (one, f), (two, g) = graphs
    for a, b in zip(one.basis.sites[:2], two.basis.sites[:2], strict=True):
        torch.testing.assert_close(b.importances, a.importances, rtol=1e-7, atol=1e-10)
    features, moved_features = one.basis.sites[1].encode(f), two.basis.sites[1].encode(g)
    torch.testing.assert_close(moved_features.abs(), features.abs(), rtol=1e-5, atol=1e-6)
    for a, b in zip(one.edges, two.edges, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", ["lib", "global"])
def test_linear_models_are_known_in_closed_form(method):
    """In a linear model the importances at every site sum to the output's variance, and edges are W^2 Lambda."""
    model, x = chains.Linear3().double().eval(), chains.random(200, 5)
    traced = libasis.trace(model, x, ["input", "layers.0", "layers.1", "output"])
    basis = libasis.fit(traced, [x], method, progress=False)
    total = model(x).detach().var(0, correction=0).sum()
    for site in basis.sites[:-1]:
        assert site.k == 3  # the output has three dimensions: nothing else matters
        torch.testing.assert_close(site.importances.sum(), total, rtol=1e-9, atol=0)
    graph = libasis.interactions(traced, basis, [x], progress=False)
    for l, (edges, layer) in enumerate(zip(graph.edges, model.layers, strict=True)):
        W = basis.sites[l].C_pinv @ layer.weight.detach().T @ basis.sites[l + 1].C
        expected = W.T**2 * basis.sites[l].variances
        torch.testing.assert_close(edges, expected, rtol=1e-8, atol=1e-10)


def test_features_are_uncorrelated_with_their_importance_for_variance():
    sections, x = chains.SECTIONS["mlp"](), chains.data("mlp")
    basis, record = fit(sections, x), chains.chain(sections).record(x)
    features = basis.sites[0].encode(record.vectors(0))
    covariance = features.T @ features / len(features)
    torch.testing.assert_close(covariance, basis.sites[0].importances.diag(), rtol=1e-8, atol=1e-8)
    assert features.mean(0).abs().max() < 1e-9


@pytest.mark.parametrize("method", ["lib", "pca", "neuron", "global"])
@pytest.mark.parametrize("rotate_final", [False, True])
def test_encode_and_decode_are_inverse_on_what_is_kept(method, rotate_final):
    sections, x = chains.SECTIONS["mlp"](), chains.data("mlp")
    basis = fit(sections, x, method, rotate_final=rotate_final)
    for site in basis:
        torch.testing.assert_close(site.C_pinv @ site.C, torch.eye(site.k, dtype=chains.F64), rtol=0, atol=1e-9)
        z = chains.random(4, site.k)
        torch.testing.assert_close(site.encode(site.decode(z)), z, rtol=0, atol=1e-9)


def test_the_baselines_are_what_they_say():
    sections, x = chains.SECTIONS["mlp"](), chains.data("mlp")
    flat = x.flatten(0, 1)
    pca, neuron = fit(sections, x, "pca").sites[0], fit(sections, x, "neuron").sites[0]
    covariance = torch.cov(flat.T, correction=0)
    torch.testing.assert_close(pca.C @ pca.importances.diag() @ pca.C.T, covariance, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(pca.C.T @ pca.C, torch.eye(6, dtype=chains.F64), rtol=0, atol=1e-10)
    assert torch.equal(neuron.C, torch.eye(6, dtype=chains.F64))
    torch.testing.assert_close(neuron.importances, covariance.diagonal(), rtol=1e-10, atol=0)


def test_directions_ignored_downstream_are_dropped():
    W = chains.random(3, 6)
    W[:, 2] = 0
    x = chains.random(50, 6)
    basis = libasis.fit(chains.chain([lambda z: z @ W.T]), [x], progress=False)
    site = basis.sites[0]
    assert site.k == 3
    assert site.C[2].abs().max() < 1e-9
    report = site.rank_report["importance"]
    assert report["kept"] == 3
    assert report["last_kept"] > report["threshold"] >= report["first_dropped"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_automatic_rank_finds_the_true_rank_in_noise(dtype):
    """Rank 4 in 12 dimensions, far from the origin, computed in either precision."""
    real = getattr(torch, dtype)
    x = chains.random(300, 4).to(real)
    lift, W = chains.random(12, 4, seed=3).to(real), chains.random(5, 12, seed=4).to(real)
    sections = [lambda z: z @ lift.T + 10.0, lambda z: torch.tanh(0.05 * z @ W.T)]
    basis = libasis.fit(chains.chain(sections), [x[:100], x[100:]], "pca", progress=False)
    assert [site.k for site in basis] == [4, 4, 5]


def test_masked_positions_do_not_count():
    sections, x = chains.SECTIONS["mlp"](), chains.data("mlp")
    padded = torch.cat([x, 1e3 * torch.ones_like(x[:, :1])], 1)
    mask = torch.tensor([True, True, True, False]).expand(len(x), -1)
    truth = fit(sections, x)
    found = fit(sections, padded, mask=lambda inputs: mask)
    for mine, site in zip(found, truth, strict=True):
        torch.testing.assert_close(mine.importances, site.importances, rtol=1e-9, atol=1e-12)


def test_one_feature_per_sign_rule():
    sections, x = chains.SECTIONS["mlp"](), chains.data("mlp")
    for site in fit(sections, x).sites[:-1]:
        spread = (site.variances @ site.C_pinv.square()).sqrt()  # of each coordinate
        largest = (site.C_pinv / spread).abs().argmax(1, keepdim=True)
        assert (site.C_pinv.gather(1, largest) > 0).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "ica"}, "method is 'ica'"),
        ({"truncation": "relative"}, "truncation is 'relative'"),
        ({"truncation": "absolute:-1"}, "truncation is"),
        ({"moments": "guess"}, "moments is 'guess'"),
    ],
)
def test_bad_options_are_one_clear_sentence(options, words):
    with pytest.raises(OptionError, match=words):
        fit(chains.SECTIONS["mlp"](), chains.data("mlp"), **options)


def test_a_constant_site_is_refused():
    with pytest.raises(ActivationError, match="does not vary"):
        fit([lambda z: z * 0 + 1, lambda z: z], chains.data("mlp"))


def test_results_state_how_they_were_made():
    basis = fit(chains.SECTIONS["mlp"](), chains.data("mlp"), seed=7)
    info = basis.info
    assert info["seed"] == 7
    assert [rule["rule"] for rule in info["rules"]] == ["exact", "exact"]
    assert info["vectors"] == {"s0": 120, "s1": 120, "output": 120}
    assert info["versions"]["torch"] == torch.__version__
    assert len(info["traced"]["fingerprint"]) == 64


def test_whole_numbers_are_encoded_and_decoded_as_numbers():
    sections, x = chains.SECTIONS["attention"](), chains.data("attention")
    site = fit(sections, x)[0]
    whole = torch.arange(2 * site.d).reshape(2, site.d)
    assert torch.equal(site.encode(whole), site.encode(whole.double()))
    assert torch.equal(site.decode(whole[:, : site.k]), site.decode(whole[:, : site.k].double()))
