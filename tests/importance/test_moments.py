"""The closed forms are the exact rule, for every kind of section that has one."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import libasis
from anatomy.test_anatomy import MADE_OF, NOT, D, Last, T, example, turn
from cut.cutting import randn
from importance.measuring import chosen, moment_by, span_of
from libasis.errors import OptionError
from libasis.importance import PointwiseUnits, rules
from libasis.importance.attention import AttentionForm
from libasis.importance.attention.head_pairs import bands_of
from libasis.measure import Records
from libasis.numerics import Blocks

FORMS = MADE_OF
WITH_ATTENTION = [name for name, made in MADE_OF.items() if made[3]]


def traced_last(run, x, **options):
    return libasis.trace(Last(run).double().eval(), x, ["site", "output"], **options)


def both(run, batches, mask=None, memory=2**30, form="closed_form"):
    records = Records(traced_last(run, batches[0], mask=mask), batches)
    readout = randn(records.traced.sites[1].features, 5, seed=9)
    closed, exact = moment_by(form, records, readout, memory), moment_by("exact", records, readout)
    assert closed.rule != exact.rule == "exact"
    assert closed.n == exact.n
    return closed.value, exact.value


def assert_same(closed, exact, tolerance=1e-10, symmetric=True):
    assert float((closed - exact).abs().max()) <= tolerance * float(exact.abs().max())
    assert not symmetric or torch.allclose(closed, closed.T, rtol=0, atol=1e-12 * float(exact.abs().max()))


@pytest.mark.parametrize("name", FORMS)
def test_closed_is_exact(name):
    x = torch.cat([example(name), 2 * example(name) - 1])
    assert_same(*both(FORMS[name][0], [x, x[:2] + 0.5]))


@pytest.mark.parametrize("short", [0, 64])
@pytest.mark.parametrize("name", [name for name in WITH_ATTENTION if "rotary" not in name])
def test_attention_to_few_and_to_many_positions(name, short):
    x = torch.cat([example(name), 2 * example(name) - 1])
    mask = torch.rand(len(x), T, generator=torch.Generator().manual_seed(1)) > 0.3
    assert_same(*both(FORMS[name][0], [x], mask=lambda _: mask, form=AttentionForm(short=short)))


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", [name for name, made in MADE_OF.items() if made[3] and made[4] is None])
def test_queries_that_look_at_nothing_ahead_go_in_bands(name, rows):
    x, form = torch.cat([example(name), 2 * example(name) - 1]), AttentionForm(short=0, blocks=Blocks(rows=rows))
    assert_same(*both(FORMS[name][0], [x], form=form))
    records = Records(traced_last(FORMS[name][0], x), [x])
    totals, record = form.start(span_of(records), randn(D, 5), 2**30, None), records.first()
    found = [bands_of(some.look, rows) for some in totals.pieces(totals.of(record), record)]
    causal = {"attention", "fused attention", "attention beside, no norm", "side by side"}
    ahead = [slice(t, min(t + rows, T)) for t in range(0, T, rows)]
    if name in causal:
        assert all(bands.parts == [(t, t.stop) for t in ahead] for bands in found)
    elif "rotary" not in name:
        assert all(bands.parts == [(slice(0, T), T)] for bands in found)


LARGE = Blocks.on(torch.device("meta"))


@pytest.mark.parametrize("blocks", [LARGE, replace(LARGE, numbers=300, rows=2)], ids=["all at once", "in several"])
@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_pairs_of_heads_taken_together(name, blocks):
    x = torch.cat([example(name), 2 * example(name) - 1])
    mask = torch.rand(len(x), T, generator=torch.Generator().manual_seed(1)) > 0.3
    form = AttentionForm(short=0, blocks=blocks)
    assert_same(*both(FORMS[name][0], [x], mask=lambda _: mask, form=form))


@pytest.mark.parametrize("name", [name for name, made in MADE_OF.items() if made[2]])
def test_slopes_are_worked_out_in_blocks(name):
    x, seen = example(name), []
    anatomy = span_of(Records(traced_last(FORMS[name][0], x), [x])).anatomy

    def watched(branch):
        return replace(branch, activate=lambda *a: seen.append(a[0].shape[1]) or branch.activate(*a))

    units = PointwiseUnits(replace(anatomy, pointwise=tuple(map(watched, anatomy.pointwise))), randn(anatomy.d_out, 3))
    u, branches = randn(12, D), len(anatomy.pointwise)
    whole = units.slopes(u)
    assert seen == [12] * branches
    units.block = 24
    assert_same(units.slopes(u), whole, 1e-15, symmetric=False)
    assert len(seen) > 2 * branches
    assert max(seen[branches:]) < 12


@pytest.mark.parametrize("name", ["relu with skip", "gelu of the normed", "gated", "norm alone", *WITH_ATTENTION])
def test_padding_and_small_memory(name):
    x = example(name)
    mask = torch.tensor([[True] * T, [True, False, True, False], [False] * (T - 1) + [True]])
    assert_same(*both(FORMS[name][0], [x], mask=lambda _: mask, memory=1))


def test_an_affine_section_needs_only_its_matrix():
    x = example("affine")
    model = Last(lambda m, x: x + m.q(x)).double().eval()
    traced = libasis.trace(model, x, ["site", "output"])
    readout = randn(D, 3)
    found = moment_by("auto", Records(traced, [x]), readout)
    W = torch.eye(D, dtype=torch.float64) + model.q.weight.detach()
    assert_same(found.value, W.T @ readout @ readout.T @ W, 1e-14)


BY_POSITION = {
    "softmax", "two products", "a scale that differs by position", "two layers", "norm behind", "norm of a part",
    "with and without the norm", "two norms", "a branch by value", "soft-capped attention",
    "attention to a normed key", "positions shifted",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(NOT.keys() - BY_POSITION))
def test_everything_else_takes_the_exact_rule_and_says_why(name):
    x = example(name)
    span = span_of(Records(traced_last(NOT[name], x), [x]))
    rule, passed = chosen(span)
    assert rule == rules.Exact()
    assert list(passed) == [form.name for form in rules.ClosedForm().rules]
    assert all(passed.values())
    with pytest.raises(OptionError, match='"closed_form".*"auto"'):
        chosen(span, "closed_form")


@pytest.mark.parametrize("which", ["queries", "keys"])
def test_queries_or_keys_turned_alone(which):
    def run(m, x):
        q, k = (turn(part(x)) if which == name else part(x) for name, part in (("queries", m.q), ("keys", m.k)))
        return x + m.o((q @ k.transpose(-1, -2)).softmax(-1) @ m.v(x))

    x = example("rotary")
    records = Records(traced_last(run, x), [x])
    found, exact = (moment_by(moments, records, randn(D, 5)) for moments in ("auto", "exact"))
    assert found.rule == "closed form, by position"
    assert "alone" in chosen(span_of(records))[1]["closed form, attention"]
    assert_same(found.value, exact.value)


def test_the_rule_of_each_section_is_reported():
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.Softmax(-1), nn.Linear(6, 3)).double().eval()
    x = randn(40, 5)
    info = libasis.fit(libasis.trace(model, x, ["input", "2", "output"]), [x]).info
    first, second = info["rules"]
    assert first["rule"] == "closed form, pointwise"
    assert second["rule"] == "exact"
    assert "softmax" in next(iter(second["not"].values()))


def test_float32_is_close_to_float64():
    x = example("gated").repeat(20, 1, 1) + 0.1 * randn(60, T, D, seed=4)
    model = Last(FORMS["gated"][0]).eval()
    readout = randn(D, 5)
    values = []
    for dtype in ("float32", "float64"):
        traced = libasis.trace(model, x.float(), ["site", "output"], dtype=dtype)
        values.append(moment_by("closed_form", Records(traced, [x.float()]), readout).value)
    assert values[0].dtype == torch.float64
    assert_same(*values, 1e-5)


@pytest.mark.parametrize("last", ["relu", "affine"])
def test_a_narrow_section_gives_its_moment_as_a_product(last):
    parts = [nn.Linear(9, 4), *([nn.ReLU(), nn.Linear(4, 7)] if last == "relu" else [])]
    model, x = nn.Sequential(*parts).double().eval(), randn(50, 9)
    traced = libasis.trace(model, x, ["input", "output"])
    readout = torch.eye(7 if last == "relu" else 4, dtype=torch.float64)
    found = moment_by("auto", Records(traced, [x[:20], x[20:]]), readout)
    assert found.root.shape == (9, 4)
    assert_same(found.root @ found.root.T, found.value, 1e-13)
    exact = libasis.fit(traced, [x], moments="exact", truncation="relative:1e-10").sites[0]
    basis = libasis.fit(traced, [x], truncation="relative:1e-10").sites[0]
    assert basis.k == exact.k <= 4
    assert basis.rank_report["importance"]["total"] == exact.rank_report["importance"]["total"] == 9
    torch.testing.assert_close(basis.importances, exact.importances, rtol=1e-10, atol=0)
    torch.testing.assert_close(basis.C, exact.C, rtol=1e-8, atol=1e-8)


def test_slopes_of_zero_and_one_are_counted_exactly():
    x = randn(3000, D, seed=3)
    for activate in (torch.relu, lambda a: torch.nn.functional.leaky_relu(a, 1e-9), torch.tanh):
        records = Records(traced_last(lambda m, x, f=activate: m.o(f(m.q(x))), x[:, None]), [x[:, None]])
        closed, exact = (moment_by(rule, records, randn(D, 5)).value for rule in ("closed_form", "exact"))
        assert_same(closed, exact, 1e-12)
