"""Rules as values: names, choices with options, one rule alone, a rule of the user's own."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import libasis
from cut.cutting import randn
from importance.measuring import chosen, span_of
from libasis.errors import OptionError
from libasis.importance import parse, rules
from libasis.measure import Records
from measure.laws import assert_merges, assert_resumes

X = randn(40, 3, seed=1)


@dataclass(frozen=True)
class Forward:
    """M' by forward mode, a pass for each input feature; for one position."""

    name = "forward mode"

    def matches(self, span):
        return None if span.positions == span.longest == 1 else "has several positions"

    def cost(self, span, columns):
        return rules.Cost(passes=span.traced.sites[span.source].features)

    def start(self, span, readout, memory, weigh):
        def term(record):
            x = record.activations[span.source]
            run = lambda z: record.forward(z, span.source, span.target) @ readout.to(x)  # noqa: E731
            units = torch.eye(x.shape[-1], dtype=x.dtype).unbind()
            columns = [torch.func.jvp(run, (x,), (unit.expand_as(x).clone(),))[1] for unit in units]
            J = torch.stack(columns).flatten(1).double()
            return J @ J.T

        return rules.BatchTotal(self.name, span, term)


@pytest.fixture(scope="module")
def traced():
    torch.manual_seed(0)
    layers = nn.Linear(3, 5), nn.Softmax(-1), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 6)
    return libasis.trace(nn.Sequential(*layers).double().eval(), X[:2], ["input", "2", "output"])


def softmax(*batches, dim=-1):
    return Records(libasis.trace(nn.Softmax(dim).eval(), batches[0][:2], ["input", "output"]), list(batches))


def fit(traced, **options):
    return libasis.fit(traced, [X[:13], X[13:]], progress=False, **options)


def same(found, truth):
    for mine, true in zip(found, truth, strict=True):
        torch.testing.assert_close(mine.importances, true.importances, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(mine.C, true.C, rtol=1e-7, atol=1e-9)


NAMED = {
    "auto": rules.Auto(seed=7),
    "probes": rules.Probes(seed=7),
    "closed_form": rules.ClosedForm(),
    "exact": rules.Exact(),
    "sketch": rules.Sketch(seed=7),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_name_is_short_for_a_rule_with_the_seed_of_the_fit(name):
    named, value = parse(name, 7), parse(NAMED[name], 0)
    assert named == value
    assert (named.name, named.rules, named.most) == (name, value.rules, value.most)


@pytest.mark.parametrize("name", ["auto", "exact", "sketch"])
def test_a_fit_takes_either(traced, name):
    named, valued = fit(traced, moments=name, seed=7), fit(traced, moments=NAMED[name], seed=7)
    assert all(torch.equal(a.C, b.C) for a, b in zip(named, valued, strict=True))
    assert named.info == valued.info
    assert named.info["seed"] == 7


def test_values_show_their_options():
    assert repr(rules.Sketch(0.05, 3)) == "Sketch(relative_error=0.05, seed=3)"
    assert rules.Auto(0.05) == rules.Auto(relative_error=0.05, seed=0) != rules.Probes(0.05)


def test_a_rule_of_your_own(traced):
    basis = fit(traced, moments=Forward())
    same(basis, fit(traced, moments="exact"))
    assert [(r["rule"], r["not"]) for r in basis.info["rules"]] == [("forward mode", {})] * 2
    records = Records(traced, [X[:13], X[13:20], X[20:]])
    span, readout = span_of(records), randn(4, 5)

    def close(found, truth):
        torch.testing.assert_close(found.value, truth.value, rtol=1e-12, atol=1e-14)

    for law in (assert_merges, assert_resumes):
        law(lambda: Forward().start(span, readout, 2**30, None), list(records.stream()), close)


def test_a_rule_of_your_own_before_all_others(traced):
    (first, last) = fit(traced, moments=rules.Auto(own=(Forward(),))).info["rules"]
    assert first["rule"] == last["rule"] == Forward.name
    rule, passed = chosen(span_of(softmax(randn(5, 4, 3), dim=1)), rules.Auto(own=(Forward(),)))
    assert rule == rules.Exact()
    assert next(iter(passed.items())) == (Forward.name, "has several positions")


def test_a_rule_that_costs_too_much_is_passed_over_and_says_how_much():
    records = softmax(X)
    choice = rules.Auto(most=rules.Cost(passes=2), own=(Forward(),))
    rule, passed = chosen(span_of(records), choice, columns=3)
    assert rule == rules.Sketch()
    assert passed[Forward.name] == "would take 3 backward passes per batch"
    assert chosen(span_of(records), Forward())[0] == Forward()  # alone it is taken whatever it costs
    dear = rules.Cost(products=2.2e9, of="its key and query terms")
    assert dear.beyond(rules.AFFORDABLE) == (
        "would take 2200 million multiplications per position for its key and query terms"
    )
    assert rules.Cost(2.2e9).beyond(rules.AFFORDABLE) == "would take 2200 million multiplications per position"
    assert rules.Cost(1e9, 512).beyond(rules.AFFORDABLE) is None


@pytest.mark.parametrize("rule", [Forward(), "closed_form", rules.ClosedForm()])
def test_a_rule_that_does_not_hold_is_refused_with_its_reason(rule):
    records = softmax(randn(5, 4, 3), dim=1)
    name = rule if isinstance(rule, str) else rule.name
    with pytest.raises(OptionError, match=f'moments is "{name}", but the section at \'input\' .*; use "auto".'):
        libasis.fit(records.traced, records, moments=rule, progress=False)


class Half:
    """Lacks what sums up."""

    name = "half"
    matches = cost = lambda *_: None  # noqa: E731


@pytest.mark.parametrize("value", ["guess", 3, None, Half(), rules.Auto, Forward, rules.Exact])
def test_what_is_no_rule_is_told(traced, value):
    with pytest.raises(OptionError, match=r"moments is .*'auto'.*Auto\(relative_error=0.05\).*matches, cost and start"):
        fit(traced, moments=value)


def test_directions_take_rules_too(traced):
    decoder = {"2": torch.eye(4, dtype=torch.float64)}
    options = {"traced": traced, "batches": [X], "progress": False}
    same(
        libasis.Basis.from_directions(decoder, moments=Forward(), **options),
        libasis.Basis.from_directions(decoder, moments="exact", **options),
    )


class PostNorm(nn.Module):
    """A block with its norms behind the sums, as BERT has them."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)
        self.n1, self.n2 = nn.LayerNorm(8), nn.LayerNorm(8)

    def forward(self, x):
        x = self.n1(x + self.o((self.q(x) @ self.k(x).mT).softmax(-1) @ self.v(x)))
        return self.n2(x + self.down(torch.relu(self.up(x))))


def two_blocks(sites):
    torch.manual_seed(0)
    x = randn(4, 5, 8, seed=2)
    return libasis.trace(nn.Sequential(PostNorm(), PostNorm()).double().eval(), x, sites), x


DEAR = rules.Auto(most=rules.Cost(products=10, passes=5))


@pytest.mark.parametrize(
    ("ends", "better", "rule"),
    [
        (["0.n2:out", "1.n1:out"], "1.n1:in", "closed form, attention"),
        (["0.n2:out", "1.n2:out"], "1.n1:in", "closed form, attention"),
        (["1.n1:out", "1.n2:out"], "1.n2:in", "closed form, pointwise"),
    ],
)
def test_a_better_cut_is_named_and_is_one(ends, better, rule):
    traced, x = two_blocks(ends)
    (fact,) = libasis.fit(traced, [x], moments=DEAR, progress=False).info["rules"]
    assert fact["rule"].startswith("sketch")
    reason = fact["not"]["closed form, by position"]
    assert reason.endswith(f"; up to {better!r} it has one ({rule}), so cut there")
    traced, x = two_blocks([ends[0], better, ends[1]])
    assert libasis.fit(traced, [x], moments=DEAR, progress=False).info["rules"][0]["rule"] == rule


def test_no_better_cut_is_named_where_there_is_none():
    x = randn(4, 5, 8, seed=2)
    model = nn.Sequential(nn.Linear(8, 8), nn.Conv1d(5, 5, 3, padding=1), nn.Tanh(), nn.Softmax(1)).double().eval()
    traced = libasis.trace(model, x, ["3:in", "output"])
    (fact,) = libasis.fit(traced, [x], moments=DEAR, progress=False).info["rules"]
    assert not any("cut there" in reason for reason in fact["not"].values())
