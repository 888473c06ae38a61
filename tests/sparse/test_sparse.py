"""Sparse LIB: what a rotation keeps, and that it needs fewer interactions where there are fewer to be found."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import chains
import libasis
from libasis.basis import fit_basis
from libasis.errors import BatchError, OptionError
from libasis.measure import Records
from libasis.sparse.judge import ByAblation, carriers
from libasis.sparse.objective import Objective, orthogonal, strengths
from libasis.sparse.responses import Response, drawn, sample, to_fit, to_judge
from libasis.sparse.rotate import leading, turned

BLOCKS, HIDDEN, SAMPLES = 3, 9, 300


def orthogonal_matrix(size, seed):
    return orthogonal(chains.random(size, size, seed=seed))


def planted(seed=0, hidden=HIDDEN):
    """Sections whose features are groups of coordinates that never meet, hidden by random changes of coordinates."""
    block = torch.block_diag(*(chains.random(hidden // BLOCKS, hidden // BLOCKS, seed=seed + b) for b in range(BLOCKS)))
    second = torch.block_diag(*(chains.random(hidden // BLOCKS, hidden // BLOCKS, seed=seed + 9 + b) for b in range(3)))
    A, B = change_of_coordinates(seed + 5, hidden), change_of_coordinates(seed + 6, hidden)
    sections = [
        lambda x: torch.tanh(torch.linalg.solve(A, x.unsqueeze(-1))[..., 0] @ block.T) @ B.T,
        lambda x: torch.tanh(torch.linalg.solve(B, x.unsqueeze(-1))[..., 0] @ second.T),
    ]
    return sections, chains.random(SAMPLES, 1, hidden, seed=seed + 3) @ A.T


def change_of_coordinates(seed=5, hidden=HIDDEN):
    return torch.eye(hidden, dtype=chains.F64) + chains.random(hidden, hidden, scale=0.2, seed=seed)


def fit(sections, batches, **options):
    batches = batches if isinstance(batches, list) else [batches]
    return libasis.fit(chains.chain(sections), batches, sparse=True, progress=False, **options)


@pytest.fixture(scope="module")
def pair():
    sections, x = planted()
    return sections, x, libasis.fit(chains.chain(sections), [x], progress=False), fit(sections, x)


def test_the_span_the_covariance_and_the_importance_are_kept(pair):
    _, _, lib, sparse = pair
    assert sparse.method == "sparse"
    for old, new in zip(lib, sparse, strict=True):
        assert new.k == old.k
        torch.testing.assert_close(new.C_pinv @ new.C, torch.eye(new.k, dtype=chains.F64), rtol=0, atol=1e-9)
        torch.testing.assert_close(new.C @ new.C_pinv, old.C @ old.C_pinv, rtol=0, atol=1e-9)
        torch.testing.assert_close(new.importances.sum(), old.importances.sum(), rtol=1e-10, atol=0)
        if new is not sparse.sites[-1]:
            assert (new.importances.diff() <= 0).all()
    assert any((new.C - old.C).abs().max() > 1e-3 for old, new in zip(lib, sparse, strict=True))


def test_features_are_uncorrelated_with_their_importance_for_variance(pair):
    sections, x, _, sparse = pair
    z = sparse.sites[1].encode(sections[0](x)).flatten(0, 1)
    covariance = z.T @ z / len(z)
    torch.testing.assert_close(covariance, sparse.sites[1].importances.diag(), rtol=0, atol=1e-9)
    torch.testing.assert_close(sparse.sites[1].variances, sparse.sites[1].importances)


def test_the_last_site_stays(pair):
    _, _, lib, sparse = pair
    torch.testing.assert_close(sparse.sites[-1].C, lib.sites[-1].C, rtol=0, atol=0)


def test_fewer_interactions_carry_the_strength_on_new_samples(pair):
    sections, _, lib, sparse = pair
    traced, new = chains.chain(sections), [chains.random(SAMPLES, 1, HIDDEN, seed=41) @ change_of_coordinates().T]
    before, after = (libasis.interactions(traced, b, new, progress=False).edges for b in (lib, sparse))
    for l in range(2):
        assert carriers(after[l], [1e-2]) < 0.8 * carriers(before[l], [1e-2])


def test_planted_groups_come_apart(pair):
    """Near-equal importances let LIB mix groups that never meet; the rotation undoes that, up to sampling."""
    sections, x, lib, sparse = pair
    for l, seed in enumerate((5, 6)):
        A = change_of_coordinates(seed)
        assert purity(lib[l], A).min() < 0.9
        assert purity(sparse[l], A).min() > 0.99
    graph = libasis.interactions(chains.chain(sections), sparse, [x], progress=False)
    groups = libasis.communities(graph)
    assert groups.count == BLOCKS
    for l, seed in enumerate((5, 6)):
        truth = shares(sparse[l], change_of_coordinates(seed)).argmax(1).tolist()
        found = [groups.modules[f"{sparse[l].name}:{i}"] for i in range(sparse[l].k)]
        assert len(set(zip(truth, found, strict=True))) == BLOCKS  # one to one


def shares(site, A):
    """Of each feature's variance, the part in each group of the coordinates before the change A."""
    parts = (A.T @ site.C).T * (site.C_pinv @ torch.linalg.inv(A.T))
    return parts.reshape(site.k, BLOCKS, -1).sum(2)


def purity(site, A):
    return shares(site, A).max(1).values


def test_is_the_same_however_the_data_are_split(pair):
    sections, x, _, sparse = pair
    again = fit(sections, list(x.split(110)))
    for a, b in zip(sparse, again, strict=True):
        alike = torch.nn.functional.cosine_similarity(a.C, b.C, dim=0)
        assert float(alike.min()) > 1 - 1e-5  # as far as the search converges, which starts from other roundings
        torch.testing.assert_close(a.importances, b.importances, rtol=1e-3, atol=0)


def test_is_the_same_for_a_seed():
    sections, x = [torch.tanh, lambda z: torch.tanh(z) ** 2], chains.data("attention")[..., :2]
    one, two, other = (fit(sections, x, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a.C, b.C) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.sites[0].C, other.sites[0].C)


def test_does_not_depend_on_the_coordinates(pair):
    sections, x, _, sparse = pair
    A = torch.eye(HIDDEN, dtype=chains.F64) + chains.random(HIDDEN, HIDDEN, scale=0.1, seed=77)
    moved = [lambda z: sections[0](z) @ A.T, lambda z: sections[1](torch.linalg.solve(A, z.unsqueeze(-1))[..., 0])]
    other = fit(moved, x)
    for old, new in zip(sparse, other, strict=True):
        torch.testing.assert_close(old.importances, new.importances, rtol=1e-3, atol=1e-6)


def test_the_strengths_are_those_of_the_interactions(pair):
    """Matrix by matrix, on the samples that they were fitted to; rotated features are sorted by importance."""
    sections, x, lib, _ = pair
    traced = chains.chain(sections)
    records = Records.of(traced, [x], progress=False)
    sizes = [site.k for site in lib.sites[:-1]]
    fitted, _ = sample(records, lib.sites, sizes, seed=0, memory=2**30)
    which = torch.cat([record.numbers[to_fit(chances[:, 0], 300, SAMPLES)] for record, chances in drawn(records, 0)])
    R = [orthogonal_matrix(size, seed=size) for size in sizes]
    found = strengths(fitted, [s.importances for s in lib.sites[:-1]], [*R, None])
    edges = libasis.interactions(traced, turned(lib, [*R, None]), [x[which]], progress=False).edges
    order = [(r.square().T @ site.importances).argsort(descending=True) for r, site in zip(R, lib.sites, strict=False)]
    order.append(torch.arange(lib.sites[-1].k))
    assert len(which) == fitted[0].rows > 80
    for l, truth in enumerate(edges):
        torch.testing.assert_close(found[l][order[l + 1]][:, order[l]], truth, rtol=1e-8, atol=1e-12)


def test_forward_and_reverse_give_the_same_responses():
    """Few input features are pushed forward, many are reached from the outputs: the same derivatives."""
    sections, x = chains.SECTIONS["attention"](), chains.data("attention")
    traced = chains.chain(sections)
    lib = libasis.fit(traced, [x], progress=False)
    records = Records.of(traced, [x], progress=False)
    few, _ = sample(records, lib.sites, [1, 1], seed=0, memory=2**30)
    every, _ = sample(records, lib.sites, [lib[0].k, lib[1].k], seed=0, memory=1)
    for l, outputs in enumerate((1, lib[2].k)):
        a, b = (r.J * r.y[:, None] for r in (few[l], every[l]))
        torch.testing.assert_close(a[:, :outputs, :, 0].sum(2), b[:, :outputs, :, 0].sum(2), rtol=1e-9, atol=1e-12)


def test_an_affine_section_needs_no_samples():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double().eval()
    x = torch.randn(60, 4, dtype=chains.F64)
    traced = libasis.trace(model, x, ["1:in", "1:out", "output"])
    basis = libasis.fit(traced, [x], sparse=True, progress=False)
    rows = basis.info["sparse"]["samples_fitted"]
    assert rows["1:in"] > 5
    assert rows["1:out"] == 0


def test_is_judged_by_ablation_where_there_are_classes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    x = torch.randn(300, 6)
    batches = [(x, model(x).argmax(-1))]
    traced = libasis.trace(model, x, ["1:in", "3:in", "output"])
    state = {k: v.clone() for k, v in model.state_dict().items()}
    found = libasis.fit(traced, batches, sparse=True, progress=False).info["sparse"]
    assert found["judged_by"]["samples"] > 100
    assert all(found["interactions"][s] <= found["interactions_lib"][s] for s in ("1:in", "3:in"))
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_positions_not_counted_are_never_looked_at():
    x = torch.cat([chains.data("attention"), chains.data("attention") + 0.1])[..., :2]
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    mask[:, -1] = False
    loud = x.clone()
    loud[:, -1] = 1e3
    traced = chains.chain([torch.tanh, lambda z: torch.tanh(z) ** 2]).to(mask=lambda _: mask)
    found = [libasis.fit(traced, [batch], sparse=True, progress=False) for batch in (x, loud)]
    assert found[0].info["sparse"]["rotated"] == {"s0": 2, "s1": 2}
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a.C, b.C, rtol=1e-9, atol=1e-9)


def test_samples_to_fit_and_to_judge_never_meet():
    chance = torch.linspace(0, 0.999, 1000)
    for wanted in (10, 300, 5000):
        fitted, judged = to_fit(chance, wanted, 1000), to_judge(chance, wanted, 1000)
        assert len(fitted)
        assert len(judged)
        assert not set(fitted.tolist()) & set(judged.tolist())


def classifier():
    """A model with classes, and a loader that gives another order in every pass."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3)).eval()
    x = torch.randn(300, 3)
    data = TensorDataset(x, model(x).argmax(-1))
    loader = DataLoader(data, 32, shuffle=True, generator=torch.Generator().manual_seed(1))
    return libasis.trace(model, x, ["1:in", "3:in", "output"]), x, loader


@pytest.mark.parametrize("memory", [1000, 2**30])
def test_the_judge_never_sees_a_sample_that_was_fitted(memory):
    """Where the activations do not fit into memory the data are drawn again, in another order each time."""
    traced, x, loader = classifier()
    records = Records.of(traced, loader, memory, progress=False)
    basis = fit_basis(records)
    assert records.lasting == (memory > 1000)
    judged = ByAblation(records, basis, seed=0, memory=2**20).samples
    seen = torch.cat([record.batch.args[0] for record in judged.stream()])
    fitted = []
    for record, chances in drawn(records, 0):
        fitted.append(record.batch.args[0][to_fit(chances[:, 0], 300, 300)])
    both = torch.cat([seen, *fitted])
    assert 90 < len(torch.cat(fitted)) < 110
    assert len(seen) > 190
    assert len(both.unique(dim=0)) == len(both)
    assert len(torch.cat([both, x]).unique(dim=0)) == len(x)


def test_a_shuffled_loader_may_be_beyond_memory():
    traced, _, loader = classifier()
    found = libasis.fit(traced, loader, sparse=True, progress=False, memory=1000).info["sparse"]
    assert all(found["interactions"][s] <= found["interactions_lib"][s] for s in ("1:in", "3:in"))
    assert found["judged_by"]["samples"] > 190


def test_samples_that_change_between_passes_are_refused():
    traced, x, _ = classifier()
    noise = torch.Generator().manual_seed(3)

    class Augmented:
        def __iter__(self):
            for part in x.split(32):
                yield part + 0.01 * torch.randn(part.shape, generator=noise), torch.zeros(len(part)).long()

    with pytest.raises(BatchError, match="The data changed between two passes"):
        libasis.fit(traced, Augmented(), sparse=True, progress=False, memory=1000)
    libasis.fit(traced, Augmented(), sparse=True, progress=False)  # read once, and kept


def test_minimising_lowers_the_objective_and_stays_orthogonal():
    J, y = chains.random(50, 4, 1, 5, seed=1), chains.random(50, 1, 5, seed=2)
    objective = Objective([Response(J, y)], [torch.ones(5, dtype=chains.F64)])
    start = [torch.eye(5, dtype=chains.F64), None]
    found, value = objective.minimise(start, [1.0])
    assert value < float(objective.value(start, [1.0])) - 1e-4
    torch.testing.assert_close(found[0].T @ found[0], torch.eye(5, dtype=chains.F64), rtol=0, atol=1e-12)


def test_carriers_counts_the_strongest():
    E = torch.tensor([[90.0, 9.0], [0.9, 0.1]])
    assert carriers(E, [0.2, 0.05, 0.005, 0.0005]).tolist() == [1, 2, 3, 4]


def test_leading_leaves_out_the_tail():
    importances = torch.tensor([1.0, 0.5, 1e-5, 1e-6])
    eye = torch.eye(4)
    assert leading(libasis.SiteBasis("x", torch.zeros(4), eye, eye, importances, importances)) == 2


def test_only_lib_can_be_rotated():
    sections, x = planted()
    with pytest.raises(OptionError, match="sparse=True rotates the features of method=\"lib\", but method is 'pca'"):
        libasis.fit(chains.chain(sections), [x], "pca", sparse=True)


def test_too_few_samples():
    sections, x = planted()
    with pytest.raises(BatchError, match="too few"):
        libasis.fit(chains.chain(sections), [x[:2]], sparse=True, progress=False)


@pytest.mark.parametrize("wide", [True, False])
def test_targets_that_do_not_number_the_outputs_are_no_classes(wide):
    """A binary classifier of one logit is rotated too, by the strength of its interactions."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1)).eval()
    x = chains.random(80, 4).float()
    y = (x[:, :1] > 0).long() if wide else (x[:, 0] > 0).long()
    traced = libasis.trace(model, x, ["0:in", "2:in", "output"])
    assert libasis.fit(traced, [(x, y)], sparse=True, progress=False).method == "sparse"
