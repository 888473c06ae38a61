"""Models that return a number for each position, [batch, position]: what a mask leaves out never counts."""

import pytest
import torch
from torch import nn

import libasis
from libasis.errors import BatchError

POSITIONS, SAMPLES = 5, 40
WAYS = {
    "squeeze": lambda y: y.squeeze(-1),
    "select": lambda y: y[..., 0],
    "view": lambda y: y.view(len(y), -1),
    "flatten": lambda y: y.flatten(1),
    "split": lambda y: torch.cat([y, -y], -1).split(1, -1)[0].squeeze(-1).contiguous(),
}
LATER = {"sigmoid": lambda y: y.squeeze(-1).sigmoid(), "sum": lambda y: torch.cat([y, 2 * y], -1).sum(-1)}


class Scored(nn.Module):
    """Positions that see each other, and one number at each."""

    def __init__(self, last=lambda y: y):
        super().__init__()
        torch.manual_seed(0)
        self.up, self.across, self.mid = nn.Linear(4, 6), nn.Linear(POSITIONS, POSITIONS), nn.Identity()
        self.head, self.last = nn.Linear(6, 1), last

    def forward(self, x):
        return self.last(self.head(torch.tanh(self.across(self.mid(torch.tanh(self.up(x))).mT).mT)))


@pytest.fixture(scope="module")
def data():
    """Inputs that are loud where the mask, their first number, is 0."""
    torch.manual_seed(1)
    x = torch.randn(SAMPLES, POSITIONS, 4, dtype=torch.float64)
    counted = torch.arange(POSITIONS) < torch.randint(2, POSITIONS + 1, (SAMPLES, 1))
    x[~counted] *= 9
    x[..., 0] = counted.double()
    return x, counted


def mask(inputs):
    return inputs[0][..., 0] > 0.5


def cut(last, sites=("mid", "output"), counted=mask, x=None):
    x = torch.randn(3, POSITIONS, 4, dtype=torch.float64) if x is None else x
    return libasis.trace(Scored(last).double().eval(), x, list(sites), mask=counted)


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "libasis"]


def measured(traced, data, targets):
    """All that is measured, as numbers."""
    basis = libasis.fit(traced, [data], progress=False)
    graph = libasis.interactions(traced, basis, [data], progress=False)
    nodes = [
        libasis.ablate_nodes(traced, basis, [(data, targets)], metric, schedule=[0, 2], sites=["mid"], progress=False)
        for metric in ("mse", "output_mse")
    ]
    means = [site.mean for site in basis.sites]
    scores = [torch.tensor([n.base_score, *n.curves["mid"].scores, n.samples]) for n in nodes]
    return [*means, *(site.importances for site in basis.sites), *graph.edges, *scores]


@pytest.fixture(scope="module")
def expected(data):
    """Of the model that returns [batch, position, 1]."""
    targets = torch.randn(SAMPLES, POSITIONS, dtype=torch.float64)
    return targets, measured(cut(lambda y: y), data[0], targets[..., None])


@pytest.mark.parametrize("way", WAYS)
def test_it_is_measured_like_a_model_with_a_last_dimension(data, expected, way):
    (x, counted), (targets, expected) = data, expected
    found = measured(cut(WAYS[way]), x, targets)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    outputs = Scored(WAYS[way]).double().eval()(x).detach()
    assert outputs.shape == (SAMPLES, POSITIONS)
    torch.testing.assert_close(found[1], outputs[counted].mean()[None])
    torch.testing.assert_close(found[-2][0], ((outputs - targets)[counted] ** 2).mean().float())
    assert int(found[-2][-1]) == int(counted.sum()) < counted.numel()


@pytest.mark.parametrize("last", [*WAYS.values(), *LATER.values()])
def test_where_it_is_scored_alone_the_mask_counts_too(data, last):
    x, counted = data
    traced = cut(last, ["up:in", "mid"])
    basis = libasis.fit(traced, [x], progress=False)
    outputs, targets = Scored(last).double().eval()(x).detach(), torch.zeros(SAMPLES, POSITIONS)
    found = libasis.ablate_nodes(traced, basis, [(x, targets)], "mse", schedule=[1], sites=["up:in"], progress=False)
    assert found.base_score == pytest.approx(float((outputs[counted] ** 2).mean()))
    with pytest.raises(BatchError, match=r"one number for each position of the mask.*traced.to\(mask=None\)"):
        libasis.ablate_nodes(traced, basis, [x], "kl", progress=False)
    classes = torch.arange(SAMPLES) % POSITIONS  # a class for each sample: the positions are the classes
    found = libasis.ablate_nodes(traced, basis, [(x, classes)], schedule=[1], sites=["up:in"], progress=False)
    assert found.base_score == pytest.approx(float((outputs.argmax(-1) == classes).double().mean()))


def test_without_a_mask_the_positions_are_outputs_as_before(data):
    x, _ = data
    plain, masked = cut(WAYS["squeeze"], counted=None), cut(WAYS["squeeze"])
    assert [site.features for site in plain.sites] == [6, POSITIONS]
    assert [site.features for site in masked.sites] == [6, 1]
    assert plain.record(x).activations[-1].shape == (SAMPLES, 1, POSITIONS)
    for there, back in ((plain.to(mask=mask), plain), (masked, masked.to(mask=None))):
        assert [site.features for site in there.sites] == [6, 1]
        assert there.record(x).activations[-1].shape == (SAMPLES, POSITIONS, 1)
        assert [site.features for site in back.sites] == [6, POSITIONS]
        assert back.record(x).activations[-1].shape == (SAMPLES, 1, POSITIONS)
        assert torch.equal(there.record(x).output, back.record(x).output)


@pytest.mark.parametrize("last", LATER.values())
def test_where_the_mask_has_no_part_it_is_told_once(caplog, last):
    traced = cut(last)
    assert said(caplog) == [
        "The mask has no part at the last site 'output', which is read as one position of 5 features; where it has a "
        "number for each position, let the model return [batch, 5, 1]."
    ]
    caplog.clear()
    traced.to(mask=None)
    cut(last, counted=None)
    assert not said(caplog)


@pytest.mark.parametrize("late", [False, True])
def test_a_chain_tells_it_at_its_first_batch(data, caplog, late):
    model, (x, _) = Scored(WAYS["squeeze"]).double().eval(), data
    sections = [lambda x: torch.tanh(model.up(x)), lambda x: model.head(x).squeeze(-1)]
    traced = libasis.Chain(sections, mask=None if late else mask)
    traced = traced.to(mask=mask) if late else traced
    for _ in range(2):
        traced.record(x)
    (told,) = said(caplog)
    assert "'output', which is read as one position of 5 features" in told


@pytest.mark.parametrize("pool", ["mean", "last", "weighed", "turned"])
def test_as_many_classes_as_positions_are_no_positions(data, caplog, pool):
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.up, self.w = nn.Linear(4, POSITIONS), nn.Parameter(torch.randn(POSITIONS))

        def forward(self, x):
            y = torch.tanh(self.up(x))
            ways = {
                "mean": lambda: y.mean(1),
                "last": lambda: y[:, -1],
                "weighed": lambda: torch.einsum("btd,t->bd", y, self.w),
                "turned": lambda: y.mT @ self.w,
            }
            return ways[pool]()

    x, _ = data
    traced = libasis.trace(Pooled().double().eval(), x, ["up:in", "up", "output"], mask=mask)
    assert [site.features for site in traced.sites] == [4, POSITIONS, POSITIONS]
    assert traced.record(x).counted[-1] is None
    targets = torch.zeros(SAMPLES, POSITIONS)
    basis = libasis.fit(traced, [x], "pca", progress=False)
    nodes = libasis.ablate_nodes(traced, basis, [(x, targets)], "mse", schedule=[1], sites=["up"], progress=False)
    assert nodes.base_score == pytest.approx(float(traced.record(x).output.square().mean()))
    assert not said(caplog)
