import dataclasses
import json
import time

import numpy as np
import pytest
import torch

from libasis.errors import OptionError
from libasis.report.layout import arrange
from libasis.report.ordering import Links, crossings_of, inversions, order, untangle
from report.synthetic import make_edge_ablation, make_graph


def by_hand(columns, links):
    """Crossings counted pair by pair."""
    count = 0
    for k, section in enumerate(links):
        left, right = columns[k], columns[k + 1]
        ends = [(left.index(i), right.index(j)) for i, j, _ in section]
        count += sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for n, a in enumerate(ends) for b in ends[:n])
    return count


def test_nodes_do_not_overlap(lib):
    layout = arrange(lib)
    places = {}
    for node in layout.nodes:
        places.setdefault(node.x, []).append(node.y)
    for ys in places.values():
        ys.sort()
        assert all(b - a >= 1 - 1e-9 for a, b in zip(ys, ys[1:], strict=False))
        assert ys[0] >= 0
        assert ys[-1] <= layout.rows


def test_planted_chains_are_untangled():
    permutation = torch.randperm(12, generator=torch.Generator().manual_seed(1)).tolist()
    links = [[(i, permutation[i], 1.0) for i in range(12)], [(permutation[i], i, 1.0) for i in range(12)]]
    columns = [list(range(12))] * 3
    before = by_hand(columns, links)
    orders, crossings = order(columns, links)
    assert before > 20
    assert crossings == by_hand(orders, links) == 0


def test_order_never_crosses_more_than_the_input(lib):
    assert arrange(lib).crossings < arrange(lib, sweeps=0).crossings


@pytest.mark.parametrize("seed", range(6))
def test_crossings_are_those_counted_pair_by_pair(seed):
    generator = torch.Generator().manual_seed(seed)
    columns = [list(range(9)), list(range(7)), list(range(8))]
    links = [
        [(i, j, 0.5) for j, i in (torch.rand(b, a, generator=generator) < 0.3).nonzero().tolist()]
        for a, b in ((9, 7), (7, 8))
    ]
    orders, crossings = order(columns, links)
    assert crossings == by_hand(orders, links) <= by_hand(columns, links)
    assert [sorted(c) for c in orders] == columns


def test_keeps_the_most_important_features_and_the_strongest_edges(lib):
    layout = arrange(lib, max_features=10, max_edges=7)
    for column in layout.columns:
        shown = sorted(n.index for n in layout.nodes if n.column == column.x)
        assert shown == list(range(10))
    for at, strength in enumerate(lib.edges):
        expected = strength[:10, :10].flatten().topk(7).values.tolist()
        assert [e.strength for e in layout.edges if e.section == at] == expected


def test_counts_say_what_is_hidden(lib):
    layout = arrange(lib)
    assert [(c.shown, c.total) for c in layout.columns] == [(30, 65), (30, 30), (30, 51), (30, 114)]
    assert [(s.shown, s.total, s.needed) for s in layout.sections] == [
        (60, 1950, None),
        (60, 1530, None),
        (60, 5814, None),
    ]
    for at, section in enumerate(layout.sections):
        drawn = sum(e.strength for e in layout.edges if e.section == at)
        assert section.share == pytest.approx(drawn / float(lib.edges[at].sum()))


def test_masks_draw_exactly_the_needed_edges(lib):
    masks = make_edge_ablation(lib, (40, 25, 30), (40, 25, 30)).masks
    layout = arrange(lib, masks=masks, max_features=None)
    for at, mask in enumerate(masks.values()):
        drawn = {(e.target, e.source) for e in layout.edges if e.section == at}
        assert drawn == {tuple(pair) for pair in mask.nonzero().tolist()}
        assert layout.sections[at].needed == layout.sections[at].shown == int(mask.sum())
    assert all(node.linked for node in layout.nodes)


def test_a_limit_on_features_hides_needed_edges_and_says_so(lib):
    masks = make_edge_ablation(lib, (133, 82, 633), (133, 82, 633)).masks
    section = arrange(lib, masks=masks, max_features=30).sections[2]
    assert section.needed == 633
    assert 0 < section.shown < 633


def test_a_section_without_a_mask_beside_one_with_it(lib):
    masks = make_edge_ablation(lib, (5, 82, 633), (5, 82, 633)).masks
    layout = arrange(lib, masks={lib.sites[0]: masks[lib.sites[0]]})
    assert [s.needed for s in layout.sections] == [5, None, None]
    assert [s.shown for s in layout.sections] == [5, 60, 60]


def test_an_empty_mask_still_shows_features(lib):
    masks = {name: torch.zeros_like(e, dtype=torch.bool) for name, e in zip(lib.sites, lib.edges, strict=False)}
    layout = arrange(lib, masks=masks)
    assert not layout.edges
    assert [c.shown for c in layout.columns] == [30, 30, 30, 30]


@pytest.mark.parametrize(
    ("masks", "part"),
    [
        ({"nowhere": torch.ones(2, 2)}, "nowhere"),
        ({"output": torch.ones(2, 2)}, "output"),
        ({"unembed:in": torch.ones(2, 2)}, "shape"),
    ],
)
def test_masks_of_another_graph_are_refused(lib, masks, part):
    with pytest.raises(OptionError, match=part):
        arrange(lib, masks=masks)


def test_negative_limits_are_refused(lib):
    with pytest.raises(OptionError, match="max_edges is -1"):
        arrange(lib, max_edges=-1)


def test_same_graph_same_layout(lib):
    assert arrange(lib) == arrange(lib)
    json.dumps(dataclasses.asdict(arrange(lib)))


def test_the_graph_is_not_changed(lib):
    before = [e.clone() for e in lib.edges]
    arrange(lib, max_features=3, max_edges=2)
    assert all(torch.equal(a, b) for a, b in zip(before, lib.edges, strict=True))


def test_zero_strength_edges_are_not_drawn():
    graph = make_graph((4, 3), ("a", "output"), edges=[torch.zeros(3, 4).double()])
    layout = arrange(graph)
    assert not layout.edges
    assert layout.sections[0].share == 0
    assert not any(node.linked for node in layout.nodes)


def test_a_feature_without_edges_is_placed_and_marked():
    strength = torch.tensor([[1.0, 0.0], [2.0, 0.0]]).double()
    nodes = arrange(make_graph((2, 2), ("a", "output"), edges=[strength])).nodes
    assert {n.id: n.linked for n in nodes} == {"a:0": True, "a:1": False, "output:0": True, "output:1": True}


def test_one_site_and_empty_sites():
    assert arrange(make_graph((5,), ("only",))).columns[0].shown == 5
    assert arrange(make_graph((0, 3), ("a", "b"))).sections[0].total == 0
    assert arrange(make_graph((4, 3), ("a", "b")), max_features=0).rows == 0


def test_equal_strengths_are_kept_by_index():
    layout = arrange(make_graph((3, 2), ("a", "b"), edges=[torch.ones(2, 3).double()]), max_edges=4)
    assert sorted((e.target, e.source) for e in layout.edges) == [(0, 0), (0, 1), (0, 2), (1, 0)]


def test_unsorted_importances_pick_the_largest():
    graph = make_graph((4, 2), ("a", "b"), importances=[torch.tensor([1.0, 9.0, 4.0, 9.0]), None])
    assert sorted(n.index for n in arrange(graph, max_features=2).nodes if n.column == 0) == [1, 3]


def test_thousands_of_features():
    layout = arrange(make_graph((3000, 2000, 1000), ("conv1:in", "conv2:in", "output")))
    assert [(c.shown, c.total) for c in layout.columns] == [(30, 3000), (30, 2000), (30, 1000)]
    assert layout.sections[0].total == 6_000_000


def test_inversions_are_those_counted_pair_by_pair():
    values = np.random.default_rng(0).integers(0, 13, 60)
    assert inversions(values) == sum(a > b for k, b in enumerate(values) for a in values[:k])
    assert inversions(values[:0]) == inversions(np.zeros(5, np.int64)) == 0


def test_thousands_of_edges_are_ordered_in_a_moment():
    """Weighted sweeps over 5,000 edges: the time is that of one core, with room for a slow machine."""
    random = np.random.default_rng(0)
    links = [Links(random.integers(0, 120, 1250), random.integers(0, 120, 1250), random.random(1250)) for _ in range(4)]
    start = time.process_time()
    places, crossings = untangle([120] * 5, links)
    assert time.process_time() - start < 1.0
    assert crossings == crossings_of(places, links) < crossings_of([np.arange(120)] * 5, links)


def test_only_the_edges_judged_decide():
    """One strong edge among many feeble ones: the order in which it crosses nothing drawn is kept."""
    left, right = np.arange(4), np.array([3, 2, 1, 0])
    heavy = Links(left[:2], right[:2], np.ones(2))
    links = [Links(left, right, np.array([1, 1, 1e-3, 1e-3]))]
    places, crossings = untangle([4, 4], links, judged=[heavy])
    assert crossings == crossings_of(places, [heavy]) == 0
