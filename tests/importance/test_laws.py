"""Every rule's sums obey the laws of accumulators: parts merge to the whole, a state goes on as if kept."""

import pytest
import torch
from torch import nn

import libasis
from anatomy.test_anatomy import MADE_OF, NOT, D, Last, T
from cut.conftest import make_language_model, tokens
from cut.cutting import calls, randn
from importance.measuring import chosen, moment_by, span_of
from libasis.importance import rules
from libasis.importance.attention import AttentionForm, ProbedAttention
from libasis.measure import Records
from libasis.numerics import Blocks
from measure.laws import assert_merges, assert_resumes, in_one_go

SIZES = 5, 3, 6, 2
FORMS = ("relu with skip", "gelu of the normed", "gated", "norm alone", "affine", "attention", "last position",
         "side by side", "rotary", "rotary beside a gate")  # fmt: skip
READOUT = randn(D, 4, seed=9)


def some_positions(inputs):
    """Which positions count, by their value alone: the same however batches are cut."""
    return inputs[0][..., 0] > -1


def records_of(run, mask=some_positions, positions=(T,)):
    """Four batches, of several lengths where so many positions are given."""
    batches = [randn(n, positions[i % len(positions)], D, seed=n) for i, n in enumerate(SIZES)]
    torch.manual_seed(3)
    traced = libasis.trace(Last(run).double().eval(), batches[0], ["site", "output"], mask=mask)
    return Records(traced, batches)


def same(found, truth):
    assert (found.rule, found.n) == (truth.rule, truth.n)
    assert float((found.value - truth.value).abs().max()) <= 1e-12 * float(truth.value.abs().max())
    assert found.facts.keys() == truth.facts.keys()
    for key, value in truth.facts.items():
        mine, truly = (x[:3] if isinstance(x, list) else x for x in (found.facts[key], value))  # others may be noise
        assert mine == pytest.approx(truly, rel=1e-6, abs=1e-9), key
    assert found.stderr == (None if truth.stderr is None else pytest.approx(truth.stderr, rel=1e-6))


def assert_laws(records, rule, readout=READOUT, weigh=None):
    span, batches = span_of(records), list(records.stream())

    def make():
        return rule.start(span, readout, 2**30, weigh)

    assert_merges(make, batches, same)
    assert_resumes(make, batches[:3], same)
    return in_one_go(make(), batches)


@pytest.mark.parametrize("name", FORMS)
def test_closed_forms(name):
    mask = None if name == "last position" else some_positions
    records = records_of(MADE_OF[name][0], mask)
    rule, _ = chosen(span_of(records), "closed_form")
    found = assert_laws(records, rule)
    exact = moment_by("exact", records, READOUT)
    assert float((found.value - exact.value).abs().max()) < 1e-10 * float(exact.value.abs().max())


@pytest.mark.parametrize("short", [0, 64])
def test_attention_of_short_and_of_long_sequences(short):
    assert_laws(records_of(MADE_OF["attention"][0]), AttentionForm(short=short, blocks=Blocks(rows=2)))


@pytest.mark.parametrize("rule", [rules.Exact(), rules.Sketch(relative_error=0.9)])
def test_rules_for_every_section(rule):
    pool = records_of(NOT["max-pool"], None)
    assert_laws(pool, rule, randn(pool.traced.sites[1].features, 3))
    assert_laws(records_of(lambda m, x: m.o((3 * m.q(x)).softmax(-1)), positions=(T, T - 1)), rule)


def test_affine_sections_that_mix_positions():
    parts = {"conv": nn.Conv2d(2, 3, 3, padding=1)}
    model = calls(lambda m, x: m.conv(x), **parts).double().eval()
    batches = [randn(n, 2, 5, width, seed=n) for n, width in zip(SIZES, (6, 4, 6, 4), strict=True)]
    records = Records(libasis.trace(model, batches[0], ["input", "output"]), batches)
    assert assert_laws(records, chosen(span_of(records))[0], randn(3, 2)).rule == "closed form, affine"


@pytest.mark.parametrize(("wanted", "rounds"), [(0.9, 1), (0.15, 2), (1e-9, 3)])
def test_a_sketch_in_several_rounds(wanted, rounds):
    records = records_of(lambda m, x: m.o((3 * m.q(x)).softmax(-1)), None, positions=(T, T - 1))
    rule, readout, weigh = rules.Sketch(wanted, seed=2), randn(D, 40, seed=8), randn(D, 3, seed=7)
    found = assert_laws(records, rule, readout, weigh)
    accumulator = rule.start(span_of(records), readout, 2**30, weigh)
    again, counted = True, 0
    while again:
        for record in records.stream():
            accumulator.add(record)
        again, counted = accumulator.another_round(), counted + 1
    assert counted >= rounds
    assert found.facts["probes"] == 4 * accumulator.done


@pytest.mark.parametrize(("wanted", "slower", "rule"), [
    (0.9, 1e9, ProbedAttention.name),  # one round
    (1e-3, 1e9, ProbedAttention.name),  # several
    (1e-6, 0.0, "closed form, attention (probes would cost more)"),  # not worth a try
    (1e-6, 60.0, "closed form, attention (probes would cost more)"),  # tried, and then completed
])  # fmt: skip
@pytest.mark.parametrize("name", ["rotary", "rotary beside a gate"])
def test_probed_attention_in_several_rounds(name, wanted, slower, rule):
    records = records_of(MADE_OF[name][0])
    found = assert_laws(records, ProbedAttention(wanted, 5, slower), weigh=randn(D, 3, seed=7))
    assert found.rule == rule
    if wanted == 1e-3:
        assert found.facts["probes"] > 6
    if slower == 60.0:
        assert found.facts["probes"] > 0


@pytest.mark.parametrize("rule", [AttentionForm(), ProbedAttention(0.5, 1, 1e9)])
def test_language_models_with_batches_of_several_lengths(rule):
    """Each length has an anatomy of its own."""
    pytest.importorskip("transformers")
    batches = [tokens([0, 2, 1]), tokens([1, 0], length=7), tokens([1, 2])]
    sites = ["gpt_neox.layers.0:in", "gpt_neox.layers.1:in"]
    model = make_language_model("gpt_neox", "sdpa").double().eval()
    records = Records(libasis.trace(model, batches[0], sites, mask="attention_mask", dtype="float64"), batches)
    assert_laws(records, rule, randn(records.traced.sites[1].features, 3))


@pytest.mark.parametrize("skip", [False, True])
def test_a_narrow_root_is_that_of_the_whole(skip):
    """That of a state is that of its part."""
    model = (nn.Linear(9, 4) if skip else nn.Sequential(nn.Linear(9, 4), nn.ReLU(), nn.Linear(4, 7))).double().eval()
    batches = [randn(n, 9, seed=n) for n in SIZES]
    records = Records(libasis.trace(model, batches[0], ["input", "output"]), batches)
    readout = torch.eye(records.traced.sites[1].features, dtype=torch.float64)
    rule, _ = chosen(span_of(records))
    parts = [rule.start(span_of(records), readout, 2**30, None) for _ in range(3)]
    for i, record in enumerate(records.stream()):
        parts[i % 2].add(record)
    parts[2].load(parts[0].state())
    assert torch.equal(parts[2].finish().root, parts[0].finish().root)
    parts[0].merge(parts[1])
    found = parts[0].finish()
    same(found, moment_by(rule, records, readout))
    torch.testing.assert_close(found.root @ found.root.T, found.value, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", [rules.Sketch(0.3, 4), ProbedAttention(1e-3, 4, 1e9)])
def test_probes_belong_to_samples_however_passes_are_ordered(rule):
    """Passes in other orders and cuts: each sample has the probes of its number, so nothing changes."""
    records = records_of(MADE_OF["rotary"][0])
    span, weigh = span_of(records), randn(D, 3, seed=7)
    truth = in_one_go(rule.start(span, READOUT, 2**30, weigh), list(records.stream()))
    accumulator, generator = rule.start(span, READOUT, 2**30, weigh), torch.Generator().manual_seed(0)
    rounds, again = 0, True
    while again:
        for i in torch.randperm(len(SIZES), generator=generator).tolist():
            record = list(records.stream())[i]
            for some in torch.randperm(record.size, generator=generator).split(2):
                accumulator.add(record.select(some))
        again, rounds = accumulator.another_round(), rounds + 1
    assert rounds > 1
    same(accumulator.finish(), truth)
