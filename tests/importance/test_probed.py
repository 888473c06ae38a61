"""Rotary attention by probes is unbiased, knows its error, and is the exact closed form where that is cheaper."""

import logging
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import libasis
from anatomy.test_anatomy import MADE_OF, D, Last, T
from cut.conftest import make_language_model, tokens
from cut.cutting import randn
from importance.measuring import chosen, moment_by
from importance.test_sketch import Setting, assert_same, padding
from libasis.anatomy import Anatomy
from libasis.importance import Cost, rules
from libasis.importance.attention import AttentionForm, ProbedAttention
from libasis.importance.attention.cost import products
from libasis.importance.rules import AFFORDABLE
from libasis.measure import Records

N = 128  # samples
EXACT = "closed form, attention (probes would cost more)"
CHEAP: dict[str, Any] = {"slower": 1e9}  # probes are cheap beside the exact terms, in which small sections are not
SECTIONS = {
    name: MADE_OF[name][0]
    for name in (
        "rotary",
        "partial rotary",
        "rotary, last position",
        "rotary with grouped keys",
        "rotary beside a gate",
    )
}
LANGUAGE = [
    ("llama", "model.layers.0.input_layernorm:in", "model.layers.0.post_attention_layernorm:in"),
    ("gpt_neox", "gpt_neox.layers.0:in", "gpt_neox.layers.1:in"),
]


def by_value(x):
    """Which positions count, whatever the batch."""
    return x[0][..., 0] > -1


def traced_section(name, x, mask=None):
    torch.manual_seed(3)
    model = Last(MADE_OF[name][0]).double().eval()
    for part in (model.q, model.k):
        part.weight.data *= 2  # sharp patterns
    return libasis.trace(model, x, ["site", "output"], mask=mask)


def setting(name, mask=None, split=N):
    return made(name, None if "last" in name else mask, split)


@cache
def made(name, mask, split):
    x = randn(N, T, D) * 0.9 ** torch.arange(D)
    return Setting(traced_section(name, x, mask), list(x.split(split)))


def estimate(case, seed=0, relative_error=0.9, slower=1e9, **more):
    return case.moment(ProbedAttention(relative_error, seed, slower), **more)


@pytest.mark.parametrize(
    ("name", "mask"),
    [*((name, None) for name in SECTIONS), ("rotary beside a gate", padding)],
)
def test_unbiased_and_the_error_bars_hold(name, mask):
    case = setting(name, mask)
    moments = [estimate(case, seed) for seed in range(40)]
    assert {m.facts["probes"] for m in moments} == {2}
    found = torch.stack([m.value for m in moments])
    off = (found.mean(0) - case.exact.value) / (found.std(0) / len(found) ** 0.5)
    assert float(off.abs().max()) < 4
    assert float(found.std(0).max()) > 1e-4 * float(case.exact.value.abs().max())
    spectra = torch.stack([case.spectrum(m) for m in moments])[:, case.leading] / case.importances[case.leading] - 1
    bars = torch.tensor([m.facts["importance_stderr"] for m in moments])[:, case.leading]
    assert (spectra.abs() <= 2 * bars).double().mean() >= 0.9
    sums = [(float(case.spectrum(m).sum() / case.importances.sum()) - 1) / m.stderr for m in moments]
    assert 0.5 < torch.tensor(sums).abs().mean() < 1.1  # 0.8 of a normal distribution


@pytest.mark.parametrize("name", SECTIONS)
def test_all_other_terms_are_exact(name):
    case = setting(name)
    totals = [rule.start(case.span, case.readout, 2**30, None) for rule in (AttentionForm(), ProbedAttention(**CHEAP))]
    for record in case.records.stream():
        for part in totals:
            part.add(record)
    (whole,), (rest,) = (part.shapes.values() for part in totals)
    for block, value in whole.pair_sums.all.items():
        assert_same(rest.pair_sums.all[block], 0 * value if block in ("KK", "QQ") else value)
    assert_same(rest.normed.Y, whole.normed.Y)
    assert_same(rest.normed.Z, whole.normed.Z)


@pytest.mark.parametrize(("name", "start", "end"), LANGUAGE, ids=["llama", "gpt_neox"])
def test_language_models_with_padding_and_batches_of_several_lengths(name, start, end):
    pytest.importorskip("transformers")
    model = make_language_model(name, "sdpa").double().eval()
    batches = [tokens([0, 2, 1]), tokens([1, 0], length=7)]
    traced = libasis.trace(model, batches[0], [start, end], mask="attention_mask", dtype="float64")
    records = Records(traced, batches, 2**30)
    readout = randn(traced.sites[1].features, 5)
    exact = moment_by(AttentionForm(), records, readout)
    found = [moment_by(ProbedAttention(0.5, seed, **CHEAP), records, readout) for seed in range(20)]
    assert {m.facts["probes"] for m in found} == {14}  # one in each of 32 groups of errors takes 7 draws of 5 samples
    values = torch.stack([m.value for m in found])
    off = (values.mean(0) - exact.value) / (values.std(0) / len(found) ** 0.5)
    assert float(off.abs().max()) < 4


@pytest.mark.parametrize("target", [0.02, 0.01])
def test_it_stops_at_the_requested_error(target):
    case = setting("partial rotary")
    inside, probes = [], []
    for seed in range(10):
        found = estimate(case, seed, target)
        assert found.rule == ProbedAttention.name
        assert 0 < found.stderr <= found.facts["relative_error"] <= target
        assert found.facts["seed"] == seed
        probes.append(found.facts["probes"])
        off = (case.spectrum(found) / case.importances - 1)[case.leading].abs()
        inside.append(off <= 2 * torch.tensor(found.facts["importance_stderr"])[: len(off)])
    assert torch.stack(inside).double().mean() >= 0.9
    assert max(probes) > 2


def test_the_seed_decides_and_nothing_else():
    whole, parts = (setting("rotary beside a gate", by_value, split) for split in (N, 23))
    before = torch.get_rng_state()
    first, again = (estimate(whole, 5, 0.002) for _ in range(2))
    split = estimate(parts, 5, 0.002, memory=10**5)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.value, again.value)
    assert first.facts == again.facts
    assert split.facts["probes"] == first.facts["probes"] > 2
    assert_same(split.value, first.value)
    assert_same(*(torch.tensor(m.facts["importance_stderr"]) for m in (split, first)), tolerance=1e-6)
    other = estimate(whole, 6, 0.002)
    assert float((other.value - first.value).abs().max()) > 1e-4 * float(first.value.abs().max())
    assert estimate(whole, 2**70 - 1).facts["seed"] == 2**70 - 1


def test_few_samples_are_not_believed_too_early():
    x = randn(2, T, D)
    assert estimate(Setting(traced_section("rotary", x), [x])).facts["probes"] >= 32


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.parametrize(("worth", "tried"), [(0, 0), (20, 2)])
def test_exact_where_that_is_cheaper(name, worth, tried):
    case = setting(name)
    exact, probe = products(case.span.anatomy, case.span.positions, case.readout.shape[1])
    found = estimate(case, 0, 1e-5, slower=(worth + 0.5) * 2 * probe / exact)
    closed = case.moment(AttentionForm())
    assert (found.rule, found.stderr, found.n) == (EXACT, None, closed.n)
    assert (found.facts["probes"], found.facts["probes_worth"]) == (tried, 2 * worth)
    assert found.facts.get("probes_needed", 1) > found.facts["probes_worth"] or not tried
    assert_same(found.value, closed.value)


@pytest.mark.parametrize("name", [*SECTIONS, "affine", "gated", "fused attention", "attention beside, no norm"])
def test_only_rotary_attention_is_probed(name):
    span = setting(name).span
    (default, passed), (rule, reasons) = chosen(span), chosen(span, "probes")
    if name in SECTIONS:
        assert isinstance(rule, ProbedAttention)
        assert reasons == passed
    else:
        assert rule == default
        more = {ProbedAttention.name: "has no rotary embedding"} if isinstance(rule, AttentionForm) else {}
        assert reasons == passed | more
    assert chosen(span, "closed_form")[0] == default


def shape(heads, width):
    zeros = torch.zeros(1).expand(heads, width, heads * width)
    return Anatomy(heads * width, heads * width, attention=SimpleNamespace(W_Q=zeros, W_V=zeros, rotate_query=True))


def test_auto_takes_them_only_where_the_exact_terms_are_dear():
    assert products(shape(16, 128), 256, 1)[0] <= AFFORDABLE.products
    assert products(shape(32, 128), 128, 1)[0] > AFFORDABLE.products
    exact, probe = products(shape(9, 64), 128, 576)
    assert (exact, probe) == (
        81 / 2 * (128 * 64**2 + 64**3 + 64**2) + 9 * 128 * 64**2,
        9 * 128 * 192 + 576**2 + 4 * 576**2,
    )


def test_auto_says_that_it_takes_them(caplog):
    x = randn(N, T, D)
    traced = traced_section("rotary", x)
    assert [r["rule"] for r in libasis.fit(traced, [x]).info["rules"]] == [AttentionForm.name]
    few = rules.Auto(0.02, 4, most=Cost(products=10))
    assert chosen(setting("rotary").span, few)[0] == ProbedAttention(0.02, 4)
    with caplog.at_level(logging.INFO, "libasis"):
        (rule,) = libasis.fit(traced, [x], moments=few).info["rules"]
    reason = rule["not"][AttentionForm.name]
    assert "million multiplications per position for its key and query terms" in reason
    assert f"by rule {ProbedAttention.name}; " in caplog.text
    assert f"not {AttentionForm.name}: the section {reason}" in caplog.text


def test_a_fit_with_probes_says_their_error():
    x = randn(N, T, D)
    traced = traced_section("rotary", x)
    basis = libasis.fit(traced, [x], moments=ProbedAttention(0.02, 4, **CHEAP))
    (rule,) = basis.info["rules"]
    assert (rule["rule"], rule["seed"], rule["not"]) == (ProbedAttention.name, 4, {})
    assert 0 < rule["stderr"] <= rule["relative_error"] == rule["accumulated_error"] <= 0.02
    exact = libasis.fit(traced, [x], moments="closed_form").sites[0].importances
    assert float((basis.sites[0].importances / exact - 1).abs().max()) < 0.06


def test_build_passes_it_on(tmp_path):
    torch.manual_seed(3)
    model, x = Last(SECTIONS["rotary"]).double().eval(), randn(N, T, D)
    sites, rule = ["site", "output"], ProbedAttention(0.01, 4, **CHEAP)
    graph = libasis.build(model, [x], sites, moments=rule, memory=2**14, spill=tmp_path, progress=False)
    traced = libasis.trace(model, x, sites)
    basis = libasis.fit(traced, [x], moments=rule, progress=False)
    assert_same(graph.basis.sites[0].C, basis.sites[0].C)
    assert graph.basis.info["rules"][0]["relative_error"] <= 0.01
    assert graph.basis.info["activations"] == "written to files"
    assert not list(tmp_path.iterdir())
