"""A user's own directions: the same edges and ablations as any basis, and LIB confined to their span."""

import pytest
import torch

import chains
import libasis
from chains import F64, random
from libasis import Basis, reference
from libasis.ablation.masked_section import MaskedSection
from libasis.ablation.ranking import Ranking
from libasis.errors import OptionError


def close(a, b, **k):
    torch.testing.assert_close(a, b, **{"rtol": 1e-8, "atol": 1e-10, **k})


class Setting:
    def __init__(self, name):
        self.sections, self.x = chains.SECTIONS[name](), chains.data(name)
        self.traced, self.batches = chains.chain(self.sections), [self.x[:25], self.x[25:]]

    def basis(self, decoder, encoder=None):
        return Basis.from_directions(decoder, encoder, traced=self.traced, batches=self.batches, progress=False)

    def fit(self, *args, **options):
        return libasis.fit(self.traced, self.batches, *args, progress=False, **options)

    def graph(self, basis):
        return libasis.interactions(self.traced, basis, self.batches, progress=False)


@pytest.fixture(scope="module", params=["mlp", "attention", "pooled"])
def setting(request):
    return Setting(request.param)


@pytest.mark.parametrize("method", ["lib", "pca", "neuron"])
def test_directions_of_a_basis_give_that_basis(setting, method):
    truth = setting.fit(method)
    sites = truth.sites[:-1]
    found = setting.basis({s.name: s.C_pinv.T for s in sites}, {s.name: s.C.T for s in sites})
    for a, b in zip(found, truth, strict=True):
        close(a.C, b.C)
        close(a.variances, b.variances)
        if method == "lib":
            close(a.importances, b.importances)
    one, two = setting.graph(found), setting.graph(truth)
    for a, b in zip([*one.edges, *one.signed], [*two.edges, *two.signed], strict=True):
        close(a, b)


def test_without_encoder_it_is_the_inverse(setting):
    truth = setting.fit("pca")
    found = setting.basis({s.name: s.C_pinv.T for s in truth.sites[:-1]})
    for a, b in zip(found.sites[:-1], truth.sites[:-1], strict=True):
        close(a.C, b.C)
        assert a.rank_report["directions"]["encoder"] == "pseudo-inverse of the decoder"
        assert a.rank_report["directions"]["reconstruction_error"] < 1e-12


def overcomplete(setting):
    d0, d1 = (x.shape[-1] for x in setting.traced.record(setting.x).activations[:2])
    return {"s0": random(d0, d0 + 3, seed=30), "s1": random(d1, d1 + 2, seed=31)}


def test_overcomplete_directions_against_a_dense_computation(setting):
    decoder = overcomplete(setting)
    basis = setting.basis(decoder)
    graph = setting.graph(basis)
    points = reference.activations(setting.sections, setting.x)
    for l, name in enumerate(("s0", "s1")):
        D, E = decoder[name], torch.linalg.inv(decoder[name] @ decoder[name].T)
        E = decoder[name].T @ E  # the dual of least norm
        flat = points[l].flatten(0, 1)
        variances = ((flat - flat.mean(0)) @ E.T).var(0, correction=0)
        close(basis[l].C, E.T)
        close(basis[l].variances, variances)
        M = reference.pulled_importance(setting.sections[l], points[l], basis[l + 1].C)
        close(basis[l].importances, variances * (D.T @ M @ D).diagonal())
        report = basis[l].rank_report["directions"]
        assert report["reconstruction_error"] == pytest.approx(0, abs=1e-12)
        expected = (E @ D - torch.eye(D.shape[1], dtype=F64)).abs().max()
        assert report["encode_of_decode_error"] == pytest.approx(float(expected))
        assert expected > 0.1
        plain = [{"mean": s.mean, "C": s.C, "C_pinv": s.C_pinv} for s in basis]
        close(graph.edges[l], reference.edges(setting.sections[l], points[l], plain[l], plain[l + 1]))


def test_ablations_of_overcomplete_directions_against_a_dense_computation(setting):
    basis = setting.basis(overcomplete(setting))
    record = setting.traced.record(setting.x)
    plain = [{"mean": s.mean, "C": s.C, "C_pinv": s.C_pinv} for s in basis]
    generator = torch.Generator().manual_seed(0)
    for l in (0, 1):
        mask = torch.rand(basis[l + 1].k, basis[l].k, generator=generator) < 0.5
        section = MaskedSection(l, basis[l], basis[l + 1], Ranking(mask.double()), 2**20)
        (y,) = section.run(record, [int(mask.sum())])
        truth = reference.masked(setting.sections[l], record.activations[l], plain[l], plain[l + 1], mask)
        close(y.reshape(truth.shape), truth)


def test_few_directions_leave_something_outside(setting):
    D = random(setting.traced.record(setting.x).activations[0].shape[-1], 2, seed=5)
    basis = setting.basis({"s0": D})
    site, flat = basis[0], setting.x.flatten(0, 1)
    centred = flat - flat.mean(0)
    again = site.decode(site.encode(flat)) - flat.mean(0)
    error = float((centred - again).square().sum() / centred.square().sum())
    assert site.rank_report["directions"]["reconstruction_error"] == pytest.approx(error)
    assert 0.05 < error < 1
    assert basis[1].C.equal(torch.eye(basis[1].d, dtype=F64))  # not named: its own coordinates
    assert basis.method == "directions"


def test_a_saved_basis_and_its_ablation(setting, tmp_path):
    basis = setting.basis(overcomplete(setting))
    back = libasis.load(setting.graph(basis).save(tmp_path / "graph"))
    close(back.basis[0].C, basis[0].C)
    pairs = [(x, torch.zeros(len(x))) for x in setting.batches]
    score = lambda outputs, _: outputs.flatten(1).sum(1)  # noqa: E731
    nodes = libasis.ablate_nodes(setting.traced, back, pairs, score, schedule=[basis[0].k], progress=False)
    assert nodes.curves["s0"][basis[0].k] == pytest.approx(nodes.base_score)  # the dual reconstructs everything


def test_lib_within_everything_is_lib(setting):
    truth = setting.fit()
    d = truth[0].d
    found = setting.fit(within={"s0": random(d, d + 2, seed=1)})
    close(found[0].importances, truth[0].importances, rtol=1e-6)
    close(found[0].C.abs(), truth[0].C.abs(), rtol=1e-5, atol=1e-7)


def test_lib_within_a_span_depends_on_the_span_alone(setting):
    d = setting.fit()[0].d
    D = random(d, 3, seed=1)
    one, two = (setting.fit(within={"s0": W}) for W in (D, D @ random(3, 5, seed=2)))
    assert one[0].k == 3
    close(one[0].C, two[0].C, rtol=1e-6)
    for matrix in (one[0].C, one[0].C_pinv.T):  # nothing outside is read or written
        close(D @ torch.linalg.pinv(D) @ matrix, matrix)
    close(one[0].C_pinv @ one[0].C, torch.eye(3, dtype=F64))


def test_lib_within_a_span_against_a_dense_computation(setting):
    """The same as LIB of the projected activation with the derivative at the activation as it is."""
    D = random(setting.fit()[0].d, 3, seed=1)
    found = setting.fit(within={"s0": D})
    points = reference.activations(setting.sections, setting.x)
    M = reference.pulled_importance(setting.sections[0], points[0], found[1].C)
    P = D @ torch.linalg.pinv(D)
    G = torch.cov(points[0].flatten(0, 1).T, correction=0)
    values = torch.linalg.eigvals(P @ G @ P @ M).real.sort(descending=True).values[:3]
    close(found[0].importances, values, rtol=1e-6)
    features = found[0].encode(points[0]).flatten(0, 1)
    close(torch.cov(features.T, correction=0), found[0].importances.diag(), rtol=1e-6, atol=1e-8)


def test_lib_within_a_basis():
    setting = Setting("mlp")
    leading = setting.fit("pca")
    assert [s.k for s in setting.fit(within=leading)] == [s.k for s in setting.fit()]
    assert setting.fit(within={"s1": random(6, 2)}).info["within"] == {"s1": 2}


@pytest.mark.parametrize(
    ("decoder", "encoder", "words"),
    [
        ({"s9": torch.eye(6)}, None, "['s9'], but the model was cut at"),
        ({"s0": torch.eye(5)}, None, "[5, 5], but must be [6, k]"),
        ({"s0": torch.ones(6)}, None, "[6], but must be"),
        ({"s0": torch.ones(6, 0)}, None, "[6, 0], but must be"),
        ({"s0": torch.eye(6) * torch.nan}, None, "not finite"),
        ({"s0": torch.eye(6) + 0j}, None, "real numbers"),
        ({"s0": torch.eye(6)[:, :3] * torch.tensor([1.0, 0, 1])}, None, "zero directions at [1]"),
        ({"s0": "x"}, None, "takes a mapping from texts to Tensor"),
        ({"s0": torch.ones(6, 4)}, {"s0": torch.ones(6, 4)}, "must be [4, 6]"),
        ({}, {"s0": torch.eye(6)}, "no decoder"),
    ],
)
def test_wrong_directions_are_told(decoder, encoder, words):
    with pytest.raises(OptionError) as caught:
        Setting("mlp").basis(decoder, encoder)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"within": torch.eye(6)}, "type Tensor"),
        ({"within": {"output": torch.eye(5)}}, "can be confined"),
        ({"within": {"s0": torch.eye(5)}}, "must be"),
        ({"within": {"s0": torch.eye(6)}, "method": "neuron"}, "another method"),
    ],
)
def test_wrong_spans_are_told(options, words):
    with pytest.raises(OptionError, match=words):
        Setting("mlp").fit(**options)
