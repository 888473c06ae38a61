"""The laws of edge ablation. Curves are compared with the dense reference, one output feature at a time."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import chains
import libasis
from ablation.setting import CASES, MODELS, Causal, Gated, Residual, Setting, Unread, squared_error
from interactions.allocations import peak
from libasis import reference
from libasis.ablation.masked_section import MaskedSection
from libasis.ablation.ranking import Ranking
from libasis.ablation.schedules import bisect_ablated, bisect_kept
from libasis.anatomy import Anatomy, read
from libasis.errors import BatchError, OptionError
from libasis.intervene import Scores, parse_metric
from measure.laws import assert_merges, assert_resumes

KINDS = {"affine", "norm", "pointwise", "attention", "read"}
FEW = (9,)  # samples, where the slow reference is at work


def graph_of(setting):
    return libasis.interactions(setting.traced, setting.basis, [setting.x], progress=False)


def with_edges(graph, make):
    """The graph with other strengths, to choose which edges are kept."""
    return replace(graph, edges=tuple(make(e) for e in graph.edges))


def shuffled(edges):
    return torch.rand(edges.shape, dtype=chains.F64, generator=torch.Generator().manual_seed(4))


def ablate(setting, graph, metric=squared_error, sizes=(40,), **options):
    batches = setting.batches(metric, sizes)
    return libasis.ablate_edges(setting.traced, graph, batches, metric, progress=False, **options)


def strongest(edges, count):
    """The mask of the strongest edges, ties by index."""
    order = sorted(range(edges.numel()), key=lambda e: (-float(edges.flatten()[e]), e))
    mask = torch.zeros(edges.numel(), dtype=torch.bool)
    mask[order[:count]] = True
    return mask.view(edges.shape)


def by_hand(setting, l, mask, samples=FEW[0]):
    """The output with only the masked edges of section l kept."""
    source, target = (vars(setting.basis.sites[i]) for i in (l, l + 1))
    with torch.no_grad():
        y = reference.masked(list(setting.sections)[l], setting.activation(l)[:samples], source, target, mask)
    return setting.rest(y, l + 1)


def test_the_cases_are_of_different_kinds():
    """Sections read off a graph are masked in their own ways, those of a plain callable in another: all are tried."""
    kinds = set()
    for name in CASES:
        setting = Setting(name)
        for anatomy in map(read, setting.traced.record(setting.x).contexts):
            known = isinstance(anatomy, Anatomy)
            assert known == (name in MODELS)
            kinds |= {kind for kind in KINDS if known and getattr(anatomy, kind)}
    assert kinds == KINDS


@pytest.mark.parametrize("memory", [1, 2**30])
@pytest.mark.parametrize("method", ["lib", "pca"])
@pytest.mark.parametrize("name", CASES)
def test_the_curve_is_that_of_the_dense_reference(name, method, memory):
    setting = Setting(name, method)
    graph = with_edges(graph_of(setting), shuffled)
    found = ablate(setting, graph, sizes=FEW, memory=memory)
    for l, (site, curve) in enumerate(found.curves.items()):
        assert curve.counts == list(range(found.edges_total[site] + 1))
        for count in curve.counts[::4]:
            output = by_hand(setting, l, strongest(graph.edges[l], count))
            assert curve[count] == pytest.approx(setting.error(output), rel=1e-9)


def counted(inputs):
    """The first position of half of the samples and the last of others do not count."""
    x = inputs[0]
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    mask[:, 0], mask[:, -1] = x[:, 0, 0] > 0, x[:, -1, 1] > -0.5
    return mask


def left_as_they_are(setting, l, mask, samples=FEW[0]):
    """The output with only the masked edges of section l kept at the positions that count, all else as it is."""
    source, target = setting.basis.sites[l : l + 2]
    where = counted([setting.x[:samples]])
    section, x = list(setting.sections)[l], setting.activation(l)[:samples]
    with torch.no_grad():
        whole = section(x)
        columns = []
        for j, row in enumerate(mask):
            kept = source.mean + ((x - source.mean) @ source.C * row) @ source.C_pinv
            y = section(torch.where(where[..., None], kept, x))
            columns.append((y - target.mean) @ target.C[:, j])
        y = target.mean + torch.stack(columns, -1) @ target.C_pinv
        y = torch.where(where[..., None], y, whole) if y.shape[:2] == where.shape else y
    return setting.rest(y, l + 1)


@pytest.mark.parametrize("memory", [1, 2**30])
@pytest.mark.parametrize("method", ["lib", "pca"])
@pytest.mark.parametrize("name", CASES)
def test_positions_that_do_not_count_stay_as_they_are(name, method, memory):
    """Against a dense loop; each kind of section that is read off a graph also against the same as a callable."""
    setting = Setting(name, method)
    masked = setting.traced.to(mask=counted)
    setting.basis = libasis.fit(masked, [setting.x], method, truncation="absolute:1e-12", progress=False)
    graph = with_edges(libasis.interactions(masked, setting.basis, [setting.x], progress=False), shuffled)
    batches = setting.batches(squared_error, FEW)
    found = libasis.ablate_edges(masked, graph, batches, squared_error, memory=memory, progress=False)
    for l, curve in enumerate(found.curves.values()):
        for count in curve.counts[::4]:
            output = left_as_they_are(setting, l, strongest(graph.edges[l], count))
            assert curve[count] == pytest.approx(setting.error(output), rel=1e-9)
    record = masked.record(setting.x[: FEW[0]])
    *first, last = record.contexts
    names = [site.name for site in setting.basis]
    chain = libasis.Chain([*first, lambda x: record.tail(last(x))], names, mask=counted)
    slow = libasis.ablate_edges(chain, graph, batches, squared_error, progress=False)
    for site, curve in found.curves.items():
        assert dict(slow.curves[site]) == pytest.approx(dict(curve), rel=1e-9)


@pytest.mark.parametrize("name", ["attention", "causal"])
def test_a_first_position_that_does_not_count_stays_as_it_is(name):
    """No edge kept: what is read at the first position, which all others see, is what it always was."""
    setting = Setting(name)
    masked = setting.traced.to(mask=lambda inputs: torch.arange(3).expand(len(inputs[0]), 3) > 0)
    graph = libasis.interactions(masked, setting.basis, [setting.x], progress=False)
    seen = []

    def look(outputs, _):
        seen.append(outputs)
        return torch.zeros(len(outputs))

    section = graph.sites[0]
    libasis.ablate_edges(masked, graph, [setting.x], look, sections=[section], progress=False)
    source, target = setting.basis.sites[:2]
    with torch.no_grad():
        x = torch.cat([setting.x[:, :1], source.mean.expand(40, 2, -1)], 1)
        y = list(setting.sections)[0](x)
        y[:, 0] = list(setting.sections)[0](setting.x)[:, 0]
    expected = setting.rest(target.decode(target.encode(y)), 1)
    assert any(torch.allclose(outputs, expected.view(outputs.shape), rtol=1e-10) for outputs in seen)


class Wide(nn.Module):
    """A gated MLP or attention of a norm, and an output."""

    def __init__(self, kind):
        super().__init__()
        self.first = Residual(nn.LayerNorm(16), Gated(16, 32) if kind == "mlp" else Causal(16))
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        return self.out(self.first(x))


@pytest.mark.parametrize("kind", ["mlp", "attention", "callable"])
def test_memory_bounds_what_is_kept_of_many_batches(kind):
    """Two dozen batches, of all of which several times the bound would be kept."""
    torch.manual_seed(0)
    model, batches = Wide(kind).double().eval(), list(torch.randn(384, 4, 16, dtype=chains.F64).split(16))
    traced = libasis.trace(model, batches[0], ["input", "out:in", "output"])
    basis = libasis.fit(traced, batches[:4], "pca", progress=False)
    graph = libasis.interactions(traced, basis, batches[:1], progress=False)
    if kind == "callable":
        traced = libasis.Chain([model.first, model.out], ["input", "out:in", "output"])
    kept = libasis.keep(traced, [(x, x[..., :3]) for x in batches])
    kept.facts()  # their activations are there before
    found, peaks = [], []
    for memory in (2**18, 2**30):
        peaks.append(
            peak(
                lambda: found.append(
                    libasis.ablate_edges(
                        traced,
                        graph,
                        kept,
                        squared_error,
                        sections=["input"],
                        search=[16, 64, 128, 200, 256],
                        max_drop=0.1,
                        stable=False,
                        memory=memory,  # noqa: B023
                        progress=False,
                    )
                )
            )
        )
    assert peaks[1] > 3 * 2**18
    assert peaks[0] < 2 * 2**18
    assert found[0].edges_required == found[1].edges_required
    assert len(found[0].curves["input"]) > 2  # passes of which each may go on with what one before it kept
    assert dict(found[0].curves["input"]) == pytest.approx(dict(found[1].curves["input"]), rel=1e-10)


@pytest.mark.parametrize("name", ["pointwise", "causal", "affine", "attention"])
def test_scores_of_a_pass_merge_and_resume(name):
    """Whatever a section keeps of the batches that it has seen."""
    setting = Setting(name)
    edges = shuffled(graph_of(setting).edges[0])
    records = list(setting.traced.to(mask=counted).stream(setting.batches(squared_error, (9, 9, 9, 13))))
    section = MaskedSection(0, *setting.basis.sites[:2], Ranking(edges), 2**20)

    def outputs(record):
        return (record.rest(1, y) for y in section.run(record, [3, 7, 20], lasting=True))

    def close(found, whole):
        assert found.means == pytest.approx(whole.means, rel=1e-12)
        torch.testing.assert_close(found.by_sample(), whole.by_sample(), rtol=1e-12, atol=1e-15)

    for law in (assert_merges, assert_resumes):
        law(lambda: Scores(parse_metric(squared_error), outputs, 3, per_sample=True), records, close)
    assert 0 < section.held <= 2**20


@pytest.mark.parametrize("name", CASES)
def test_with_all_edges_of_a_complete_basis_nothing_changes(name):
    setting = Setting(name)
    assert all(site.k == site.d for site in setting.basis.sites[:-1])
    graph = graph_of(setting)
    exact, close = ablate(setting, graph, "accuracy"), ablate(setting, graph)
    assert close.base_score == pytest.approx(setting.error(setting.output), rel=1e-12)
    for site, total in exact.edges_total.items():
        assert exact.curves[site][total] == exact.base_score
        assert close.curves[site][total] == pytest.approx(close.base_score, rel=1e-9)


def test_an_output_feature_without_edges_reads_the_image_of_the_mean():
    """All edges into output 0 are the weakest: as long as none is kept, that output says F(mean) for every sample."""
    setting, seen = Setting("mlp"), []

    def look(outputs, _):
        seen.append(outputs)
        return torch.zeros(len(outputs))

    graph = with_edges(graph_of(setting), lambda e: e + 1e6 * (torch.arange(len(e)) > 0)[:, None])
    found = ablate(setting, graph, look, sections=["s1"])
    at_mean = setting.rest(setting.basis.sites[1].mean, 1)
    silent = [o for o in seen if torch.allclose(o[..., 0], at_mean[0].expand_as(o[..., 0]), rtol=1e-10)]
    total, k = found.edges_total["s1"], setting.basis.sites[1].k
    assert len(seen) == 1 + total + 1  # the model itself, then each count once
    assert len(silent) == total - k + 1
    assert sum(torch.allclose(o, at_mean.expand_as(o), rtol=1e-10) for o in seen) == 1  # no edge at all


TIED = {
    "no two equal": shuffled,
    "all equal": torch.ones_like,
    "some equal": lambda e: (shuffled(e) * 4).floor(),
}


@pytest.mark.parametrize("strengths", TIED)
def test_exactly_as_many_edges_as_said_are_kept_and_ties_go_by_index(strengths):
    setting = Setting("mlp", "lib")
    graph = with_edges(graph_of(setting), TIED[strengths])
    full = ablate(setting, graph, sizes=FEW)
    for l, (site, total) in enumerate(full.edges_total.items()):
        allowed = full.curves[site][2 * total // 3] - full.base_score
        found = ablate(setting, graph, sizes=FEW, sections=[site], max_drop=allowed, stable=False)
        mask, required = found.masks[site], found.edges_required[site]
        assert 1 < required < total  # there is something to see
        assert mask.dtype == torch.bool
        assert mask.sum() == required
        assert torch.equal(mask, strongest(graph.edges[l], required))
        # the mask reported is the one whose score was measured
        assert found.curves[site][required] == pytest.approx(setting.error(by_hand(setting, l, mask)), rel=1e-9)


@pytest.mark.parametrize(("metric", "drops"), [("accuracy", (0.0, 0.05, 0.3)), (squared_error, (0.01, 0.2, 2.0))])
@pytest.mark.parametrize("name", ["attention", "affine"])
def test_what_is_required_keeps_the_score(name, metric, drops):
    setting = Setting(name, "lib")
    graph = graph_of(setting)
    results = [ablate(setting, graph, metric, max_drop=drop) for drop in drops]
    sign = 1 if metric == "accuracy" else -1
    for found, drop in zip(results, drops, strict=True):
        assert found.max_drop == drop
        for site, curve in found.curves.items():
            passing = {c for c in curve if sign * (found.base_score - curve[c]) <= drop + 1e-12}
            stable = found.edges_required_stable[site]
            assert found.edges_required[site] in passing
            assert set(range(stable, found.edges_total[site] + 1)) <= passing
            assert stable - 1 not in passing
    for site in results[0].curves:  # who may lose more needs no more
        counts = [found.edges_required_stable[site] for found in results]
        assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("search", ["bisect", "bisect-kept"])
def test_the_search_asks_what_it_says(search):
    """As published: from (d_in + 1)(d_out + 1) ablated edges, dropped directions and the constant included."""
    setting = Setting("mlp", "lib")
    graph = graph_of(setting)
    full = ablate(setting, graph, "accuracy", max_drop=0.02, search=search)
    short = ablate(setting, graph, "accuracy", max_drop=0.02, search=search, stable=False)
    assert full.info["search"] == search
    for l, (site, curve) in enumerate(full.curves.items()):
        total, (source, target) = full.edges_total[site], setting.basis.sites[l : l + 2]
        assert total == source.k * target.k < (source.d + 1) * (target.d + 1)
        asked = []

        def passes(count, curve=curve, asked=asked, total=total):
            asked.append(min(count, total))  # more than exist: all
            return full.base_score - curve[asked[-1]] <= 0.02 + 1e-12

        if search == "bisect":
            expected = min(bisect_ablated(passes, (source.d + 1) * (target.d + 1)), total)
        else:
            expected = bisect_kept(passes, total)
        assert full.edges_required[site] == short.edges_required[site] == expected
        assert set(short.curves[site]) == {*asked, expected}


def test_a_list_of_counts_is_all_that_is_asked():
    setting = Setting("mlp", "lib")
    graph = graph_of(setting)
    full, counts = ablate(setting, graph, "accuracy", max_drop=0.02), [*range(0, 37, 3), 7, 7]
    found = ablate(setting, graph, "accuracy", max_drop=0.02, search=counts)
    for site, total in found.edges_total.items():
        listed = sorted({min(count, total) for count in counts})
        passing = [c for c in listed if full.base_score - found.curves[site].get(c, -1.0) <= 0.02 + 1e-12]
        assert set(found.curves[site]) <= set(listed)
        assert all(full.curves[site].get(c, score) == score for c, score in found.curves[site].items())
        below = listed[: listed.index(found.edges_required[site])]
        assert found.edges_required[site] in passing
        assert not below or below[-1] in found.curves[site].keys() - passing  # it ends beside a count that fails
        stable = listed.index(found.edges_required_stable[site])
        assert passing[-len(listed[stable:]) :] == listed[stable:]
        assert not stable or listed[stable - 1] in found.curves[site].keys() - passing
    assert ablate(setting, graph, "accuracy", search=[0], stable=False).edges_required["s1"] is None
    assert found.info["search"] == sorted({*counts})


def test_counts_above_the_edges_of_a_section_are_named_and_all_of_them_are_kept(caplog):
    setting = Setting("mlp")
    graph = graph_of(setting)
    few = min(graph.edges, key=lambda edges: edges.numel()).numel()
    name = graph.sites[[edges.numel() for edges in graph.edges].index(few)]
    found = ablate(setting, graph, search=[0, few, few + 1], stable=False)
    assert set(found.curves[name]) <= {0, few}
    assert found.edges_required[name] == few
    (told,) = [record.getMessage() for record in caplog.records]
    assert f"{few + 1} at {name!r}, which has {few}" in told


def test_a_loss_of_exactly_max_drop_is_allowed():
    """Eight samples in ten without ablation, seven with any; 0.8 - 0.7 is a little more than 0.1 in floats."""
    setting = Setting("mlp")

    def metric(outputs, _):
        return torch.arange(10) < (8 if torch.allclose(outputs, setting.output[:10]) else 7)

    found = ablate(setting, graph_of(setting), metric, (10,), max_drop=0.1)
    assert found.edges_required == {"s0": 1, "s1": 1}
    assert found.edges_required_stable == {"s0": 0, "s1": 0}


def test_nothing_is_required_where_nothing_passes():
    found = ablate(Setting("mlp"), graph_of(Setting("mlp")), "accuracy", max_drop=-1.0)
    assert set(found.edges_required.values()) == set(found.edges_required_stable.values()) == {None}
    assert not any(mask.any() for mask in found.masks.values())


@pytest.mark.parametrize("metric", ["accuracy", squared_error])
@pytest.mark.parametrize("name", CASES)
def test_batches_do_not_matter(name, metric):
    setting = Setting(name, "lib")
    graph = graph_of(setting)
    one, other = (ablate(setting, graph, metric, sizes, max_drop=0.1) for sizes in ((40,), (1, 26, 13)))
    assert one.samples == other.samples
    assert one.edges_required == other.edges_required
    assert one.edges_required_stable == other.edges_required_stable
    for site, curve in one.curves.items():
        assert dict(other.curves[site]) == pytest.approx(dict(curve), rel=1e-10)


def test_sections_can_be_chosen_and_the_stable_count_left_out():
    setting = Setting("mlp")
    graph = graph_of(setting)
    found = ablate(setting, graph, sections=["s1"], stable=False, max_drop=0.5)
    both = ablate(setting, graph, max_drop=0.5)
    assert found.edges_required == {"s1": both.edges_required["s1"]}
    assert found.edges_required_stable == {"s1": None}
    assert len(found.curves["s1"]) < len(both.curves["s1"])
    assert found.rows() == [{"section": "s1", "edges_total": 30, **{k: getattr(found, k)["s1"] for k in REQUIRED}}]


REQUIRED = ("edges_required", "edges_required_stable")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"search": "binary"}, "search is 'binary'"),
        ({"search": []}, "use .* or a list of counts from 0"),
        ({"search": [3, -1]}, "use .* or a list of counts from 0"),
        ({"search": [3, 10**6]}, "search has 1000000, but no place here can have more than .. edges"),
        ({"metric": "f1"}, "metric is 'f1'"),
        ({"sections": ["s7"]}, r"sections names \['s7'\]"),
        ({"sections": ["output"]}, r"sections names \['output'\]"),
        ({"dtype": "float32"}, "no option 'dtype' any more: give dtype to libasis.trace"),
    ],
    ids=str,
)
def test_bad_options_are_told_before_the_data_are_read(options, told):
    setting = Setting("mlp")
    with pytest.raises(OptionError, match=told):
        libasis.ablate_edges(setting.traced, graph_of(setting), Unread(), progress=False, **options)


def test_a_graph_of_other_sites_is_refused_before_the_data_are_read():
    setting = Setting("mlp")
    other = libasis.Chain(setting.sections, ["a", "b", "c"])
    with pytest.raises(OptionError, match="fit it on this cut"):
        libasis.ablate_edges(other, graph_of(setting), Unread(), progress=False)


def test_missing_targets_are_told_at_the_first_batch():
    setting = Setting("mlp")

    class Batches(list):
        def __iter__(self):
            yield setting.x
            pytest.fail("the second batch was read")

    with pytest.raises(BatchError, match='"accuracy" needs targets'):
        libasis.ablate_edges(setting.traced, graph_of(setting), Batches(), progress=False)


@pytest.mark.parametrize("memory", [1, 2**30])
@pytest.mark.parametrize("name", CASES)
def test_of_kept_edges_only_they_are_candidates(name, memory):
    setting = Setting(name)
    graph = libasis.interactions(setting.traced, setting.basis, [setting.x], top_k=2, progress=False)
    found = ablate(setting, graph, sizes=FEW, memory=memory, max_drop=0.1)
    assert found.info["candidates"]["top_k"] == 2
    assert found.info["candidates"]["kept_share"] == dict(
        zip(graph.sites[:-1], graph.info["top_k"]["kept_share"], strict=True)
    )
    assert "never candidates" in found.info["candidates"]["note"]
    for l, (site, curve) in enumerate(found.curves.items()):
        total = found.edges_total[site]
        assert total == 2 * len(graph.edges[l])
        assert curve.counts == list(range(total + 1))
        strengths = torch.where(graph.edges[l].to_dense() > 0, graph.edges[l].to_dense(), -1.0)
        for count in {0, total // 2, total}:
            mask = strongest(strengths, count)
            assert curve[count] == pytest.approx(setting.error(by_hand(setting, l, mask)), rel=1e-9)
        mask = found.masks[site]
        assert mask.is_sparse
        assert torch.equal(mask.to_dense(), strongest(strengths, found.edges_required[site] or 0))


def test_all_edges_kept_as_sparse_are_all_edges():
    setting = Setting("causal", "lib")
    dense, sparse = (
        ablate(setting, libasis.interactions(setting.traced, setting.basis, [setting.x], progress=False, top_k=k))
        for k in (None, 100)
    )
    assert dense.info["candidates"] is None
    assert (dense.edges_required, dense.edges_total) == (sparse.edges_required, sparse.edges_total)
    for site, curve in dense.curves.items():
        assert dict(sparse.curves[site]) == pytest.approx(dict(curve), rel=1e-10)
        assert torch.equal(sparse.masks[site].to_dense(), dense.masks[site])
