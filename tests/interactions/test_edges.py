"""The laws of edges."""

import pytest
import torch

import chains
import libasis
from ablation.setting import Setting
from libasis import reference
from libasis.errors import OptionError
from libasis.interactions.edge_sums import EdgeSums
from libasis.interactions.edges import measured_sections, plan_of
from libasis.interactions.effects import Effects, Path
from libasis.measure import Records
from measure.laws import assert_merges, assert_resumes


def graph(sections, x, **options):
    traced = chains.chain(sections)
    basis = libasis.fit(traced, [x], truncation="absolute:1e-9", progress=False)
    return libasis.interactions(traced, basis, [x], progress=False, **options)


@pytest.mark.parametrize("name", chains.SECTIONS)
def test_equal_the_dense_reference(name):
    sections, x = chains.SECTIONS[name](), chains.data(name)
    found = graph(sections, x)
    sites = reference.activations(sections, x)
    for l, section in enumerate(sections):
        source, target = (vars(found.basis.sites[i]) for i in (l, l + 1))
        truth = reference.edges(section, sites[l], source, target)
        torch.testing.assert_close(found.edges[l], truth, rtol=1e-9, atol=1e-12)


def test_forward_and_reverse_mode_agree():
    """A wide site before a narrow one is done in reverse mode; the same edges come out of forward mode."""
    W = chains.random(2, 9)
    sections, x = [lambda z: torch.tanh(z @ W.T).mean(-2, keepdim=True)], chains.random(30, 3, 9)
    traced = chains.chain(sections)
    basis = libasis.fit(traced, [x], "neuron", progress=False)
    found = libasis.interactions(traced, basis, [x[:20], x[20:]], progress=False)
    truth = reference.edges(sections[0], x, vars(basis.sites[0]), vars(basis.sites[1]))
    torch.testing.assert_close(found.edges[0], truth, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("baseline", ["mean", "zero"])
@pytest.mark.parametrize("name", ["mlp", "attention"])
def test_integrated_gradients_are_complete(name, baseline):
    """Summed over input features, attributions give the change of each output feature from the baseline."""
    sections, x = chains.SECTIONS[name]()[:1], chains.data(name)
    traced = chains.chain(sections)
    basis = libasis.fit(traced, [x], "pca", truncation="absolute:1e-12", progress=False)
    source, target = basis.sites
    assert source.k == source.d
    record = traced.record(x)
    effects = Effects(record, 0, source, target, Path.parse("integrated", 160, baseline))
    total = sum(effect.sum(0) for _, effect in effects.forward(2)).view(len(x), -1, target.k)
    origin = source.mean if baseline == "mean" else torch.zeros_like(source.mean)
    expected = target.encode(sections[0](x)) - target.encode(sections[0](origin.expand_as(x)))
    torch.testing.assert_close(total, expected, rtol=1e-8, atol=1e-8)


def test_integrated_equals_gradient_where_the_section_is_linear():
    W, x = chains.random(4, 6), chains.data("mlp")
    one, two = graph([lambda z: z @ W.T], x), graph([lambda z: z @ W.T], x, method="integrated", n_steps=3)
    torch.testing.assert_close(one.edges[0], two.edges[0], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("memory", [1, 20_000])
def test_do_not_depend_on_the_memory_bound(memory):
    sections, x = chains.SECTIONS["attention"](), chains.data("attention")
    for a, b in zip(graph(sections, x, memory=memory).edges, graph(sections, x).edges, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


def test_signed_edges_tell_the_direction():
    x = chains.random(100, 2).abs() + 1
    sections = [lambda z: torch.stack([z[..., 0] - 2 * z[..., 1]], -1)]
    traced = chains.chain(sections)
    found = libasis.interactions(
        traced,
        libasis.fit(traced, [x], "neuron", progress=False),
        [x],
        method="integrated",
        baseline="zero",
        progress=False,
    )
    expected = torch.tensor([[x[:, 0].mean(), -2 * x[:, 1].mean()]], dtype=chains.F64)
    torch.testing.assert_close(found.signed[0], expected, rtol=1e-9, atol=0)
    assert (found.edges[0] >= found.signed[0].square() - 1e-9).all()


def test_the_constant_has_no_edge():
    """A shift of the section changes no edge."""
    sections, x = chains.SECTIONS["mlp"](), chains.data("mlp")
    shifted = [sections[0], lambda z: sections[1](z) + 5.0]
    for a, b in zip(graph(sections, x).edges, graph(shifted, x).edges, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_masked_positions_do_not_count():
    sections, x = chains.SECTIONS["mlp"](), chains.data("mlp")
    traced = chains.chain(sections)
    basis = libasis.fit(traced, [x], progress=False)
    truth = libasis.interactions(traced, basis, [x], progress=False)
    padded = torch.cat([x, 9 * torch.ones_like(x[:, :1])], 1)
    mask = torch.tensor([True, True, True, False]).expand(len(x), -1)
    found = libasis.interactions(traced.to(mask=lambda inputs: mask), basis, [padded], progress=False)
    for a, b in zip(found.edges, truth.edges, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    "options", [{"method": "shapley"}, {"method": "integrated", "n_steps": 0}, {"baseline": "max"}]
)
def test_bad_options_are_refused(options):
    with pytest.raises(OptionError):
        graph(chains.SECTIONS["mlp"](), chains.data("mlp"), **options)


def test_a_basis_of_other_sites_is_refused():
    x = chains.data("mlp")
    basis = libasis.fit(chains.chain(chains.SECTIONS["mlp"]()), [x], progress=False)
    other = libasis.Chain(chains.SECTIONS["mlp"](), ["a", "b", "c"])
    with pytest.raises(OptionError, match="fit it on this cut"):
        libasis.interactions(other, basis, [x], progress=False)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("name", ["pointwise", "causal", "affine", "attention", "pooled"])
def test_sums_merge_and_resume(name, parts):
    """In closed form, of affine sections, and in forward and reverse mode, with positions that don't count."""
    setting = Setting(name)
    traced = setting.traced.to(mask=lambda inputs: inputs[0][..., 0] > -1)
    records = list(traced.stream(setting.x.split(11)))

    def make():
        return EdgeSums(setting.basis, 0, slice(1, 4), Path.parse("integrated", 2, "mean"), 2**20, parts)

    def close(found, whole):
        assert len(found) == len(whole) == parts
        for one, two in zip(found, whole, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)

    assert_merges(make, records, close)
    assert_resumes(make, records, close)


def test_parts_are_those_of_their_batches():
    """Batch i is in part i modulo their number; each part is what its batches alone give."""
    setting, batches = Setting("causal"), list(Setting("causal").x.split(9))
    path = Path.parse("gradient", 1, "mean")
    for top_k, memory in [(None, 2**20), (None, 1), (2, 1)]:
        plan = plan_of(setting.basis, top_k, memory, 2)
        assert len(plan) == (1 if memory > 1 else sum(site.k for site in setting.basis.sites[1:]))
        records = Records.of(setting.traced, batches, progress=False)
        found = list(measured_sections(records, setting.basis, path, plan, top_k=top_k, memory=memory, parts=2))
        for p in (0, 1):
            alone = libasis.interactions(setting.traced, setting.basis, batches[p::2], top_k=top_k, progress=False)
            for section, edges in zip(found, alone.edges, strict=True):
                torch.testing.assert_close(section.parts[p].matrices()[0], edges, rtol=1e-10, atol=1e-14)
