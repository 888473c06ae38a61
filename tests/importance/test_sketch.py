"""The sketch is unbiased, knows its error, stops where asked, and is the exact rule once all probes are used."""

import logging

import pytest
import torch
from torch import nn

import libasis
from anatomy.test_anatomy import NOT, D, Last, T
from chains import chain, data, pooled_sections
from cut.cutting import randn, refused
from importance.measuring import chosen, moment_by, span_of
from libasis.basis.statistics import SiteStatistics
from libasis.basis.whiten import whiten
from libasis.errors import OptionError
from libasis.importance import rules
from libasis.importance.estimate import ErrorBar, Halves
from libasis.importance.probes import ProbeFamily
from libasis.importance.rules import AFFORDABLE, Exact, Sketch
from libasis.measure import Records, measure
from libasis.numerics import Truncation, eigh_descending

N = 64  # samples
SECTIONS = {
    "softmax": lambda m, x: m.o((3 * m.q(x)).softmax(-1)),
    "max-pool": NOT["max-pool"],
    "soft-capped attention": NOT["soft-capped attention"],
    "orthogonal": lambda m, x: x @ torch.linalg.qr(m.p.weight).Q,
}


class Setting:
    """A section with its data, readout and weighing, and what the exact rule says."""

    def __init__(self, traced, batches, columns: int | None = 9, memory=2**30):
        self.records = Records(traced, batches, memory)
        d = traced.sites[1].features
        self.readout = torch.eye(d, dtype=torch.float64) if columns is None else randn(d, columns, seed=9)
        stats = measure(self.records, SiteStatistics(traced), "statistics")
        self.span = span_of(self.records)
        white = whiten("site", stats[0], Truncation.parse("auto"), self.records.first().activations[0].dtype)
        self.weigh = white.decode.T
        self.exact = self.moment(Exact())
        self.importances = self.spectrum(self.exact)
        self.leading = self.importances.cumsum(0) - self.importances < 0.99 * self.importances.sum()

    @classmethod
    def of(cls, name, mask=None, split=N, **more):
        torch.manual_seed(3)
        model = Last(SECTIONS[name]).double().eval()
        x = randn(N, T, D) * 0.7 ** torch.arange(D)
        if name == "orthogonal":
            flat = x.reshape(-1, D)
            x = torch.linalg.qr(flat - flat.mean(0)).Q.reshape(x.shape)
        traced = libasis.trace(model, x, ["site", "output"], mask=mask)
        return cls(traced, list(x.split(split)), **more)

    def moment(self, rule, memory=2**30):
        return moment_by(rule, self.records, self.readout, memory, self.weigh, self.span)

    def sketch(self, seed=0, relative_error=0.9, **more):
        return self.moment(Sketch(relative_error, seed), **more)

    def spectrum(self, moment):
        return eigh_descending(self.weigh.T @ moment.value @ self.weigh)[0]


@pytest.fixture(scope="module")
def setting():
    made = {}
    return lambda name: made[name] if name in made else made.setdefault(name, Setting.of(name))


def padding(x):
    """On the left: what is read by positions that count."""
    return torch.arange(T) >= torch.arange(len(x[0]))[:, None] % T


def assert_same(found, expected, tolerance=1e-12):
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize("outputs", [1, 3, 8, 30])
def test_probes_are_an_orthogonal_family_in_any_order(outputs):
    draws = -(-outputs // 4)
    y, samples = torch.zeros(5, 1, outputs, dtype=torch.float64), torch.arange(5)
    probes = ProbeFamily(y, samples, draws, draws, (0, 0))
    numbers = torch.arange(4 * draws)
    found = probes(numbers)[:, :, 0]
    eye = torch.eye(outputs, dtype=torch.float64).expand(5, -1, -1)
    assert_same(torch.einsum("pia,pib->iab", found, found), 2 * draws * eye)
    pair = probes(numbers[:2])[:, :, 0]
    assert_same(pair.square().sum(0), torch.ones(5, outputs))
    early = ProbeFamily(y, samples, draws, 1, (0, 0))
    assert torch.equal(early(numbers[:4]), probes(numbers[:4]))
    other = ProbeFamily(y[:3], torch.tensor([4, 0, 2]), draws, draws, (0, 0))
    assert torch.equal(other(numbers)[:, :, 0], found[:, [4, 0, 2]])  # a sample's number decides


def test_samples_share_groups_by_their_numbers_whatever_the_batches():
    x = randn(50, 3, 4)
    numbers = torch.randperm(90, generator=torch.Generator().manual_seed(0))[:50]
    expected = torch.zeros(2, 8, 4, 4, dtype=torch.float64)
    found = [Halves(4, memory=1) for _ in range(2)]
    for half, draw in ((0, 0), (1, 3)):
        for vectors, number in zip(x, numbers.tolist(), strict=True):
            expected[half, (number + draw) % 8] += vectors.T @ vectors
        for halves, sizes in zip(found, ([50], [3, 40, 7]), strict=True):
            for part, mine in zip(x.split(sizes), numbers.split(sizes), strict=True):
                halves.add(part, part, halves.seats(mine), half, draw)
    for halves in found:
        assert_same(halves.groups, expected)


def test_probes_differ_between_samples_seeds_and_sections():
    y = torch.zeros(2, 3, 30)
    keys = (0, 0), (1, 0), (0, 1), (1, 1)
    samples = torch.arange(2), torch.arange(2, 4)
    found = torch.cat([ProbeFamily(y, some, 30, 1, key)(torch.arange(4)) for key in keys for some in samples], 1)
    vectors = found.flatten(2)[0]  # one of each sample
    overlap = vectors @ vectors.T / 45 - torch.eye(16)
    assert float(overlap.abs().max()) < 0.5
    assert 0.05 < float(overlap.square().mean().sqrt()) < 0.15


@pytest.mark.parametrize("name", ["softmax", "max-pool", "soft-capped attention"])
def test_unbiased(setting, name):
    case = setting(name)
    moments = [case.sketch(seed) for seed in range(150)]
    assert {m.facts["probes"] for m in moments} == {4}
    found = torch.stack([m.value for m in moments])
    off = (found.mean(0) - case.exact.value) / (found.std(0) / len(found) ** 0.5)
    assert float(off.abs().max()) < 4


@pytest.mark.parametrize(
    ("name", "mask"),
    [("softmax", None), ("softmax", padding), ("max-pool", None), ("soft-capped attention", padding)],
)
def test_all_probes_are_the_exact_rule(name, mask):
    case = Setting.of(name, mask, split=17)
    found = case.sketch(relative_error=1e-9)
    assert (found.rule, found.stderr, found.n) == ("sketch, all probes", None, case.exact.n)
    assert found.facts["relative_error"] == 0
    assert found.facts["exact_passes"] <= found.facts["probes"] < found.facts["exact_passes"] + 4
    assert_same(found.value, case.exact.value)


def test_positions_that_a_section_sums_up():
    x = data("pooled", d=5)
    traced = chain(pooled_sections())
    records = Records(traced, [x[:15], x[15:, :2]], 2**30)  # of several lengths
    span, readout = span_of(records, 1, 2), randn(4, 6)
    exact, found = (moment_by(rule, records, readout, span=span) for rule in (Exact(), Sketch(relative_error=1e-9)))
    assert_same(found.value, exact.value)


@pytest.mark.parametrize(
    ("name", "mask"),
    [("softmax", None), ("max-pool", None), ("soft-capped attention", padding), ("orthogonal", None)],
)
@pytest.mark.parametrize("target", [0.9, 0.03])
def test_the_error_bars_hold(name, mask, target):
    case = Setting.of(name, mask)
    inside, scaled = [], []
    for seed in range(50):
        found = case.sketch(seed, target)
        off = (case.spectrum(found) / case.importances - 1)[case.leading].abs()
        inside.append(off <= 2 * torch.tensor(found.facts["importance_stderr"])[: len(off)])
        scaled.append((float(case.spectrum(found).sum() / case.importances.sum()) - 1) / found.stderr)
    assert torch.stack(inside).double().mean() >= 0.9
    assert 0.75 < torch.tensor(scaled).square().mean().sqrt() < 1.3  # that of the sum, neither too narrow nor too wide


def test_an_error_bar_shrinks_with_what_is_left():
    importances, differences = torch.tensor([4.0, 2.0, 0.0]), torch.tensor([[0.3, 0.2, 0.0], [-0.3, -0.2, 0.0]])
    whole, part = (ErrorBar(importances, differences, torch.tensor([0.1, 0.0, 0.0]), left) for left in (1.0, 0.25))
    assert_same(whole.relative, torch.tensor([(1.5 * 0.18 + 0.01) ** 0.5 / 4, 0.12**0.5 / 2]), 1e-6)
    assert_same(part.relative, torch.tensor([(1.5 * 0.18 / 4 + 0.01 / 16) ** 0.5 / 4, 0.12**0.5 / 4]), 1e-6)
    assert whole.largest == float(whole.relative.max())
    assert whole.total_stderr == pytest.approx((1.5 * 0.5) ** 0.5 / 6)
    assert part.total_stderr == pytest.approx(whole.total_stderr / 2)
    small = ErrorBar(torch.tensor([999.0, 0.9]), torch.tensor([[1.0, 0.9]]), torch.zeros(2), 1.0)
    assert small.largest == pytest.approx(3**0.5 / 999)


@pytest.mark.parametrize("falloff", [1.0, 0.9, 0.8])
def test_an_error_bar_from_few_groups_is_wider(falloff):
    size = falloff ** torch.arange(32)
    differences = torch.randn(32, 5000, generator=torch.Generator().manual_seed(0)) * size[:, None]
    off = torch.randn(5000, generator=torch.Generator().manual_seed(1)) * size.norm()
    bar = ErrorBar(torch.ones(5000), differences, torch.zeros(5000), 1.0)
    assert 0.9 < float((off / bar.relative).square().mean().sqrt()) < 1.1
    assert ((off / bar.relative).abs() <= 2).double().mean() > 0.92


def test_equal_importances_spread_and_the_error_bar_knows():
    case = Setting.of("orthogonal", columns=None)
    assert case.importances[0] < 1.001 * case.importances[-1]
    top = []
    for seed in range(40):
        found = case.sketch(seed)
        top.append((float(case.spectrum(found)[0] / case.importances[0]) - 1, found.facts["importance_stderr"][0]))
    gains = torch.tensor(top)
    assert gains[:, 0].min() > 0  # the largest of noisy equals is always too large
    assert (gains[:, 0] <= 2 * gains[:, 1]).double().mean() >= 0.9


def test_it_stops_at_the_requested_error():
    case = Setting.of("softmax", columns=40)
    probes = []
    for target in (0.2, 0.03, 0.015):
        found = case.sketch(relative_error=target)
        assert found.rule == "sketch"
        assert 0 < found.stderr <= found.facts["relative_error"] <= target
        off = (case.spectrum(found) / case.importances - 1)[case.leading].abs()
        assert float(off.max()) <= 3 * target
        probes.append(found.facts["probes"])
    assert probes[0] < probes[1] < probes[2] < found.facts["exact_passes"]


def test_the_seed_decides_and_nothing_else():
    whole = Setting.of("soft-capped attention")
    parts = Setting.of("soft-capped attention", split=7, memory=1)
    before = torch.get_rng_state()
    first, again = (whole.sketch(5, 0.05) for _ in range(2))
    split = parts.sketch(5, 0.05, memory=10**5)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.value, again.value)
    assert first.facts == again.facts
    assert_same(split.value, first.value)
    assert split.facts["probes"] == first.facts["probes"]
    assert_same(*(torch.tensor(m.facts["importance_stderr"]) for m in (split, first)), tolerance=1e-6)
    assert float((whole.sketch(6, 0.05).value - first.value).abs().max()) > 1e-4 * float(first.value.abs().max())
    assert whole.sketch(2**70 - 1).facts["seed"] == 2**70 - 1


def test_few_samples_are_not_believed_too_early(setting):
    case = Setting.of("softmax")
    traced = case.span.traced
    alone = Setting(traced, [case.records.batches[0][:1]])
    alone.weigh = None
    found = alone.sketch()
    assert found.facts["probes"] >= 4 * min(32, found.facts["exact_passes"] // 4)


def test_auto_takes_it_where_the_exact_rule_is_long(caplog):
    front = nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 5)
    model = nn.Sequential(*front, nn.Linear(5, 6), nn.Softmax(1), nn.Linear(6, 20)).double().eval()
    x = randn(60, 27, 4)
    traced = libasis.trace(model, x, ["input", "2", "output"])
    with caplog.at_level(logging.INFO, "libasis"):
        basis = libasis.fit(traced, [x], moments=rules.Auto(relative_error=0.02))
    exact = libasis.fit(traced, [x], moments="exact")
    before, rule = basis.info["rules"]
    assert rule["rule"] == "sketch"
    assert rule["not"]["exact"] == "would take 540 backward passes per batch"
    assert "by rule sketch" in caplog.text
    assert "not exact: the section would take 540 backward passes per batch" in caplog.text
    assert 0 < rule["stderr"] <= rule["relative_error"] <= 0.02
    assert (rule["seed"], rule["exact_passes"]) == (0, 540)
    assert (before["rule"], before["stderr"]) == ("closed form, pointwise", None)
    assert before["accumulated_error"] == rule["accumulated_error"] == rule["relative_error"]
    for found, true in zip(basis.sites, exact.sites, strict=True):
        assert float((found.importances / true.importances - 1).abs().max()) < 0.06
    assert [r["accumulated_error"] for r in exact.info["rules"]] == [None, None]
    span = span_of(Records(traced, [x[:, :1]]), 1, 2)
    assert chosen(span, columns=AFFORDABLE.passes)[0].name == "exact"
    assert chosen(span, columns=AFFORDABLE.passes + 1)[0].name == "sketch"
    with pytest.raises(OptionError, match='"closed_form".*"auto"'):
        chosen(span, "closed_form", columns=AFFORDABLE.passes + 1)


def test_on_request_it_is_taken_and_stays_unbiased_through_the_recursion():
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6), nn.Softmax(-1), nn.Linear(6, 8)).double().eval()
    x = randn(40, 3, 4)
    traced = libasis.trace(model, x, ["input", "2", "output"])
    exact = libasis.fit(traced, [x], moments="exact").sites[0]
    found, inside = [], []
    for seed in range(100):
        basis = libasis.fit(traced, [x], moments=Sketch(relative_error=0.9, seed=seed), progress=False)
        first, second = basis.info["rules"]
        assert (first["rule"], first["not"]) == (second["rule"], second["not"]) == ("sketch", {})
        error = first["accumulated_error"]
        assert error == pytest.approx((first["relative_error"] ** 2 + second["relative_error"] ** 2) ** 0.5)
        found.append(basis.sites[0].C @ basis.sites[0].C.T)
        inside.append(abs(float(basis.sites[0].importances[0] / exact.importances[0]) - 1) <= 2 * error)
    found = torch.stack(found)
    off = (found.mean(0) - exact.C @ exact.C.T) / (found.std(0) / len(found) ** 0.5)
    assert float(off.abs().max()) < 4
    assert sum(inside) >= 90


@pytest.mark.parametrize("value", [0, 1, -0.01, float("nan"), float("inf"), True, "1%", None])
def test_a_bad_relative_error_is_one_sentence(value):
    with refused(OptionError, "relative_error is ", "between 0 and 1") as error:
        rules.Auto(relative_error=value)
    assert str(error.value).endswith("one percent.")
