"""The readout by Fisher information: against its expectation by brute force, and its laws."""

import pytest
import torch
from torch import nn

import libasis
from libasis import rules
from libasis.errors import OptionError
from libasis.importance import FisherSums
from libasis.measure import Records
from measure.laws import assert_merges, assert_resumes


class Mixed(nn.Module):
    """Positions that see each other, and logits at each of them."""

    def __init__(self, d=4, classes=3):
        super().__init__()
        self.inner, self.across, self.out = nn.Linear(d, 5), nn.Linear(3, 3), nn.Linear(5, classes)

    def forward(self, x):
        return self.out(torch.tanh(self.across(torch.tanh(self.inner(x)).mT).mT))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Mixed().double().eval()


@pytest.fixture(scope="module")
def data():
    torch.manual_seed(1)
    return torch.randn(40, 3, 4, dtype=torch.float64)


def expected(function, x):
    """sum_{t,s} J_ts^T F_t J_ts over samples, by Jacobians; ``function`` from [position, d] to logits."""
    total = 0
    for sample in x:
        p = function(sample).softmax(-1).detach()
        J = torch.autograd.functional.jacobian(function, sample)  # [t, class, s, d]
        F = torch.diag_embed(p) - p[:, :, None] * p[:, None]
        total = total + torch.einsum("tcsd,tce,tesf->df", J, F, J)
    return total / (len(x) * x.shape[1])


def importances(basis, function, x):
    """Eigenvalues of the covariance times M'."""
    flat = x.flatten(0, 1)
    centred = flat - flat.mean(0)
    return torch.linalg.eigvals(centred.T @ centred / len(flat) @ expected(function, x)).real.sort(descending=True)[0]


def test_it_estimates_the_fisher_information_at_every_site(model, data):
    traced = libasis.trace(model, data, ["input", "out:in", "output"])
    readout = rules.Fisher(draws=300, shrink=0)
    basis = libasis.fit(traced, [data[:13], data[13:]], readout=readout)
    inside = torch.tanh(model.across(torch.tanh(model.inner(data)).mT).mT).detach()
    for site, function, x in ((basis[0], lambda z: model(z[None])[0], data), (basis[1], model.out, inside)):
        true = importances(basis, function, x)
        fact = next(f for f in basis.info["rules"] if f["site"] == site.name)
        assert fact["rule"] == "fisher"
        assert float((site.importances.sum() - true.sum()).abs() / true.sum()) < 4 * fact["stderr"] < 0.1
        assert torch.allclose(site.importances[:2], true[: site.k][:2], rtol=5 * fact["relative_error"])
    assert basis.info["readout"] == "fisher"


def test_batches_and_memory_do_not_matter(model, data):
    traced = libasis.trace(model, data[:4], ["input", "out:in", "output"])
    one = libasis.fit(traced, [data], readout="fisher", seed=3)
    many = libasis.fit(traced, list(data.split(7)), readout="fisher", seed=3, memory=2**20)
    other = libasis.fit(traced, [data], readout="fisher", seed=4)
    for a, b, c in zip(one, many, other, strict=True):
        assert torch.allclose(a.importances, b.importances, rtol=1e-9)
        assert a.name == "output" or not torch.allclose(a.importances, c.importances, rtol=1e-6)


def test_the_error_bar_is_that_of_the_labels(model, data):
    """Over many seeds the importances' sum spreads as each fit says."""
    traced = libasis.trace(model, data, ["out:in", "output"])
    fits = [libasis.fit(traced, [data], readout=rules.Fisher(draws=2, shrink=0, seed=s)) for s in range(60)]
    sums = torch.stack([basis[0].importances.sum() for basis in fits])
    told = torch.tensor([basis.info["rules"][0]["stderr"] for basis in fits]).square().mean().sqrt()
    assert float(sums.std() / sums.mean()) == pytest.approx(float(told), rel=0.35)


def test_shrinkage_is_more_where_there_are_fewer_samples():
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 4)).double().eval()
    traced = libasis.trace(model, torch.zeros(2, 12).double(), ["input", "output"])
    data = torch.randn(3000, 12, dtype=torch.float64)
    found = [libasis.fit(traced, [data[:n]], readout="fisher").info["rules"][0]["shrink"] for n in (16, 3000)]
    assert found[0] > found[1]
    half = libasis.fit(traced, [data[:50]], readout=rules.Fisher(shrink=0.5))
    none = libasis.fit(traced, [data[:50]], readout=rules.Fisher(shrink=0))
    assert half[0].importances[0] < none[0].importances[0]


def test_uncounted_positions_have_no_part(model, data):
    mask = torch.ones(40, 3)
    mask[:, 0] = 0
    masked = libasis.trace(model, data, ["out:in", "output"], mask=lambda inputs: mask[: len(inputs[0])])
    free = libasis.trace(model, data, ["out:in", "output"])
    found = libasis.fit(masked, [data], readout=rules.Fisher(draws=400, shrink=0))
    inside = torch.tanh(model.across(torch.tanh(model.inner(data)).mT).mT).detach()[:, 1:]
    true = importances(found, model.out, inside)
    assert torch.allclose(found[0].importances.sum(), true.sum(), rtol=0.1)
    assert found[0].importances.sum() != libasis.fit(free, [data], readout="fisher")[0].importances.sum()


def test_output_is_global(model, data):
    traced = libasis.trace(model, data, ["input", "out:in", "output"])
    one, two = libasis.fit(traced, [data], readout="output"), libasis.fit(traced, [data], method="global")
    assert torch.equal(one[0].importances, two[0].importances)
    assert one.info["readout"] == two.info["readout"] == "output"


@pytest.mark.parametrize(
    ("method", "readout", "told"),
    [
        ("lib", "Fisher", "readout is 'Fisher'"),
        ("pca", "fisher", "looks at nothing downstream"),
        ("global", "fisher", 'is readout="output"'),
    ],
)
def test_options_that_do_not_go_together(model, data, method, readout, told):
    traced = libasis.trace(model, data, ["out:in", "output"])
    with pytest.raises(OptionError, match=told):
        libasis.fit(traced, [data], method, readout=readout)


@pytest.mark.parametrize("moments", ["exact", "sketch", rules.Sketch(relative_error=0.1), rules.Auto()])
def test_a_rule_beside_it_is_refused_before_the_data_are_read(model, data, moments):
    class Unread:
        def __iter__(self):
            pytest.fail("the data were read before the options were checked")

    traced = libasis.trace(model, data, ["inner:in", "output"])
    for readout in ("fisher", rules.Fisher(draws=2)):
        with pytest.raises(
            OptionError, match="readout is .*a rule of its own.*but moments is .*; leave one of them out"
        ):
            libasis.fit(traced, Unread(), readout=readout, moments=moments)


@pytest.mark.parametrize("options", [{"draws": 3}, {"draws": 0}, {"shrink": 1}, {"shrink": "some"}, {"seed": -1}])
def test_options_of_the_readout(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        rules.Fisher(**options)


def test_it_needs_classes():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).eval()
    x = torch.randn(8, 3)
    with pytest.raises(OptionError, match=r"\[8, 1\]"):
        libasis.fit(libasis.trace(model, x, ["input", "output"]), [x], readout="fisher")


def test_probabilities_are_what_labels_are_drawn_from(model, data):
    class Softmax(nn.Module):
        def __init__(self):
            super().__init__()
            self.plain = model

        def forward(self, x):
            return self.plain(x).softmax(-1)

    readout = rules.Fisher(draws=4, shrink=0)
    plain = libasis.fit(libasis.trace(model, data, ["out:in", "output"]), [data], readout=readout)
    given = libasis.fit(libasis.trace(Softmax().eval(), data, ["plain.out:in", "output"]), [data], readout=readout)
    assert torch.allclose(given[0].importances, plain[0].importances, rtol=1e-9)


def test_a_model_of_numbers_has_no_labels(model, data):
    targets = torch.randn(40, 3, 3, dtype=torch.float64)
    traced = libasis.trace(model, data, ["out:in", "output"])
    with pytest.raises(OptionError, match="draws labels of classes.*no probabilities; use readout"):
        libasis.fit(traced, [(data, targets)], readout="fisher")
    libasis.fit(traced, [(data, targets.softmax(-1))], readout="fisher")  # soft labels


def test_a_part_that_is_resumed_or_merged_knows_how_much_was_rounded():
    """The shrinkage takes no part of less than rounding for real, also where no batch was read since a state."""

    def same(found, truth):
        for a, b in zip(found, truth, strict=True):
            assert a.facts["shrink"] == b.facts["shrink"]
            torch.testing.assert_close(a.value, b.value, rtol=1e-9, atol=1e-15)

    narrow = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 3)).eval()
    x = torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
    traced = libasis.trace(narrow, x[:3], ["input", "output"])
    records = list(Records(traced, list(x.split(20)), progress=False).stream())

    def make():
        return FisherSums(rules.Fisher(), [torch.eye(8).double()], 2**20, torch.finfo(torch.float32).eps)

    assert_merges(make, records, same)
    assert_resumes(make, records, same)
