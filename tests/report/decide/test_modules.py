import pytest
import torch

from libasis import Communities
from libasis.report.decide.modules import LEAST, MOST, modules_of, path_through
from report.synthetic import make_graph


def communities(graph, count, modular=True):
    ids = [f"{site.name}:{i}" for site in graph.basis.sites for i in range(site.k)]
    return Communities({key: n % count for n, key in enumerate(ids)}, [1.0] * count, 1.0, modular)


def chain():
    """Feature 1 of each site leads to feature 0 of the next, and nothing else is strong."""
    edges = [torch.full((3, 3), 0.1).double() for _ in range(2)]
    for e in edges:
        e[0, 1] = 5.0
    edges[1][2, 0] = 7.0
    return make_graph((3, 3, 3), ("a", "b", "output"), edges=edges)


def test_the_path_takes_the_strongest_interaction_at_every_step():
    assert path_through(chain(), "b:0") == ("a:1", "b:0", "output:2")
    assert path_through(chain(), "a:1") == ("a:1", "b:0", "output:2")


def test_the_path_ends_where_no_interaction_leads_on():
    graph = chain()
    graph.edges[1].zero_()
    assert path_through(graph, "a:1") == ("a:1", "b:0")


def test_the_path_of_sparse_edges_is_that_of_the_same_dense_ones():
    graph = chain()
    sparse = make_graph((3, 3, 3), ("a", "b", "output"), edges=list(graph.edges))
    object.__setattr__(sparse, "edges", tuple(e.to_sparse() for e in graph.edges))
    object.__setattr__(sparse, "signed", tuple(e.to_sparse() for e in graph.signed))
    assert path_through(sparse, "b:0") == path_through(graph, "b:0")
    assert modules_of(sparse, None, "b:0").links == modules_of(graph, None, "b:0").links


@pytest.mark.parametrize("count", [1, 5, 40])
def test_at_most_twelve_modules_and_all_on_the_path(lib, count):
    modules = modules_of(lib, communities(lib, count), "unembed:in:3")
    assert modules.source == "communities"
    assert modules.count == min(count, MOST)
    assert modules.total == count
    drawn = {f"{modules.sites[s.column]}:{i}" for s in modules.spots for i in s.members}
    assert set(modules.path) <= drawn


def test_without_modules_features_are_drawn_site_by_site(lib):
    modules = modules_of(lib, None, "unembed:in:50")
    assert modules.source == "features"
    assert modules.count == 12
    assert [sum(s.column == c for s in modules.spots) for c in range(4)] == [3] * 4
    assert set(modules.path) <= set(modules.leaders)


def test_groups_that_chance_gives_are_not_drawn(lib):
    assert modules_of(lib, communities(lib, 5, modular=False)).source == "features"


def test_the_users_modules_come_before_the_suggested_ones(lib):
    named = lib.with_labels({"modules": {"unembed:in:0": "memory", "blocks.0.ln2:in:0": "memory"}, "labels": {}})
    modules = modules_of(named, communities(lib, 5))
    assert (modules.source, modules.names, modules.total) == ("user", ("memory",), 1)
    assert [s.members for s in modules.spots] == [(0,), (0,)]


def test_shares_of_a_partition_add_up_to_all(lib):
    modules = modules_of(lib, communities(lib, 4))
    for column in range(4):
        assert sum(s.share for s in modules.spots if s.column == column) == pytest.approx(1)
    ends = {(s.row, s.column): n for n, s in enumerate(modules.spots)}
    mask = [(torch.arange(k) + offset) % 4 for k, offset in ((65, 0), (30, 65))]
    for link in modules.links:
        source, target = modules.spots[link.source], modules.spots[link.target]
        assert target.column == source.column + 1
        assert link.share >= LEAST or link.on_path
        if source.column == 0:
            e = lib.edges[0]
            left = mask[0] == int(modules.names[source.row])
            right = mask[1] == int(modules.names[target.row])
            assert link.share == pytest.approx(float(e[right][:, left].sum() / e.sum()))
    assert ends


def test_many_sites_show_the_last_twelve():
    names = tuple(f"block.{k}:in" for k in range(30))
    modules = modules_of(make_graph((4,) * 30, names))
    assert modules.sites == names[-12:]
    assert modules.total_sites == 30
    assert modules.count == 12


def test_strengths_and_importances_of_zero():
    graph = make_graph((2, 2), ("a", "b"), edges=[torch.zeros(2, 2).double()], importances=[torch.zeros(2)] * 2)
    modules = modules_of(graph)
    assert (modules.links, modules.path) == ((), ("a:0",))
