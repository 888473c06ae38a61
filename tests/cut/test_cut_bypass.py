"""Values that go around a site are found in the graph, and what the message advises works."""

import ast
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import libasis
from cut.cutting import F64, assert_reassembles, calls, randn, refused
from libasis.errors import BypassError, OptionError, SiteError


def residual():
    def run(m, x):
        h = m.a(x)
        h = h + m.down(m.act(m.up(h)))
        return m.out(h)

    parts = {"a": nn.Linear(6, 5), "up": nn.Linear(5, 7), "act": nn.GELU(), "down": nn.Linear(7, 5)}
    return calls(run, **parts, out=nn.Linear(5, 2))


def follow_advice(model, example, sites, rounds=4):
    """Do what the message says until the cut holds."""
    sites = list(sites)
    for _ in range(rounds):
        try:
            return libasis.trace(model, example, sites), sites
        except BypassError as error:
            where, advice = re.search(r"The cut at '([^']*)'.*cut at both together, (\[.*?\])", str(error)).groups()
            names = [s if isinstance(s, str) else " + ".join(s) for s in sites]
            sites[names.index(where)] = ast.literal_eval(advice)
    raise AssertionError(sites)


def test_a_residual_around_a_site():
    words = ["'act'", "tensor 'linear'", "module 'a'", r"site '(a:out|up:in)'", "cut at both together"]
    with refused(BypassError, *words):
        libasis.trace(residual(), randn(4, 6), ["input", "act", "out:in", "output"])


@pytest.mark.usefixtures("one_export")
@pytest.mark.parametrize("sites", [["input", "act", "output"], ["input", "up:in", "act", "down", "output"]])
def test_the_advice_works(sites):
    model = residual()
    traced, found = follow_advice(model, randn(4, 6), sites)
    assert found != sites
    assert_reassembles(traced, model, [randn(4, 6), randn(3, 6)])


@pytest.mark.usefixtures("one_export")
def test_advice_with_two_tensors_around():
    def run(m, x):
        h, g = m.a(x), m.b(x)
        return m.out(h * g + m.c(h + g).relu())

    model = calls(run, a=nn.Linear(6, 5), b=nn.Linear(6, 5), c=nn.Linear(5, 5), out=nn.Linear(5, 2))
    traced, found = follow_advice(model, randn(4, 6), ["input", "c", "output"])
    assert len(found[1]) == 3
    assert_reassembles(traced, model, [randn(3, 6)])


def test_a_hook_point_as_advised():
    def run(m, x, hook=lambda h: h):
        h = hook(m.weight[x.argmax(-1)])
        return m.out(h * m.b(x))

    parts = {"b": nn.Linear(6, 5), "out": nn.Linear(5, 2), "weight": nn.Parameter(torch.randn(6, 5))}
    with refused(BypassError, "tensor 'index'", "nn.Identity", "cut at both together"):
        libasis.trace(calls(run, **parts), randn(4, 6), ["input", "b", "output"])
    model = calls(lambda m, x: run(m, x, m.hook), **parts, hook=nn.Identity())
    traced = libasis.trace(model, randn(4, 6), ["input", ["b", "hook"], "output"])
    assert_reassembles(traced, model, [randn(3, 6)])


class Mixed(nn.Module):
    """Token ids and side inputs; what the side inputs do is given."""

    def __init__(self, use):
        super().__init__()
        self.use = use
        self.embed, self.mid, self.out = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.extra = nn.Embedding(9, 6)
        self.weight = nn.Parameter(torch.randn(9, 6))
        self.register_buffer("angles", torch.randn(6))

    def forward(self, ids, **side):
        h = self.mid(self.embed(ids)).relu()
        return self.out(self.use(self, h, ids, **side))


def mixed(use):
    return Mixed(use).to(F64).eval()


def inputs(batch, **side):
    return {"ids": torch.randint(9, (batch, 4), generator=torch.Generator().manual_seed(batch)), **side}


def position_ids(batch):
    return torch.randint(9, (batch, 4), generator=torch.Generator().manual_seed(7 * batch))


CONTEXT = {
    "attention mask": lambda m, h, ids, side: h * (side != 3)[..., None].to(h.dtype),
    "additive mask": lambda m, h, ids, side: h + (1.0 - side.gt(0).double())[..., None] * -5.0,
    "position ids and angles": lambda m, h, ids, side: h * torch.cos(side[..., None].to(h.dtype) * m.angles),
    "boolean where": lambda m, h, ids, side: torch.where((side > 4)[..., None], h, -h),
    "token ids in a mask": lambda m, h, ids, side: h.masked_fill((ids == 3)[..., None], 0.0),
    "gather by position": lambda m, h, ids, side: h.gather(1, (side % 4)[..., None].expand_as(h)),
    "one hot without weights": lambda m, h, ids, side: h + F.one_hot(side, 9).to(h.dtype)[..., :6],
}


@pytest.mark.parametrize("kind", CONTEXT)
def test_integers_and_booleans_are_context(kind):
    model = mixed(lambda m, h, ids, side: CONTEXT[kind](m, h, ids, side))
    batches = [inputs(n, side=position_ids(n)) for n in (4, 3)]
    traced = libasis.trace(model, batches[0], ["embed", "mid", "output"])
    assert_reassembles(traced, model, batches)
    section = traced.sections[1]
    first = traced.record(batches[0])
    other = traced.record({**batches[0], "ids": (batches[0]["ids"] + 1) % 9, "side": (batches[0]["side"] + 1) % 9})
    assert (section(first.activations[1], first) - section(first.activations[1], other)).abs().max() > 1e-3


BYPASSES = {
    "embedding of the ids": (lambda m, h, ids: h + m.extra(ids), "'extra'", "extra:out"),
    "the same embedding": (lambda m, h, ids: h + m.embed(ids), "'embed'", "embed#2:out"),
    "one hot times a weight": (
        lambda m, h, ids: h + F.one_hot(ids, 9).to(h.dtype) @ m.weight,
        "'matmul'",
        "hook point",
    ),
    "a row of a weight": (lambda m, h, ids: h + m.weight[ids], "'index'", "hook point"),
    "gathered from a weight": (
        lambda m, h, ids: h + m.weight.gather(0, ids.reshape(-1, 1).expand(-1, 6)).reshape(h.shape),
        "'reshape_1'",
        "hook point",
    ),
}


@pytest.mark.parametrize("kind", BYPASSES)
def test_what_is_learned_about_tokens_is_a_bypass(kind):
    use, *words = BYPASSES[kind]
    with refused(BypassError, "'mid'", *words):
        libasis.trace(mixed(use), inputs(3), ["embed", "mid", "output"])


def test_a_float_input_that_reaches_later_sections_is_a_bypass():
    model = mixed(lambda m, h, ids, time: h + time[:, None, None])
    given = inputs(3, time=torch.rand(3, dtype=F64))
    with refused(BypassError, "'mid'", "from 'input.time'", "cannot be joined"):
        libasis.trace(model, given, ["embed", "mid", "output"])


def test_a_boolean_mask_of_values_is_context():
    def run(m, x):
        h = m.a(x)
        gate = h.sum(-1, keepdim=True) > 0
        return m.out(m.b(h).relu() * gate)

    model = calls(run, a=nn.Linear(6, 5), b=nn.Linear(5, 5), out=nn.Linear(5, 2))
    traced = libasis.trace(model, randn(4, 6), ["a", "b", "output"])
    assert_reassembles(traced, model, [randn(4, 6, seed=1), randn(5, 6, seed=2)])
    record = traced.record(randn(4, 6))
    assert [v.dtype for v in record.contexts[1].values] == [torch.bool]
    assert record.contexts[1].tile(3).values[0].shape[0] == 12


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.pool, self.mid = nn.MaxPool2d(2), nn.Conv2d(4, 4, 1)
        self.up1, self.out = nn.Conv2d(4, 3, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(self.pool(a.relu())).relu()
        u = self.up1(self.mid(b).relu() + b)
        return self.out(torch.cat([F.interpolate(u, scale_factor=2.0), a], 1))


@pytest.mark.usefixtures("one_export")
def test_long_skips():
    model, x = UNet().to(F64).eval(), randn(2, 2, 4, 4)
    traced = libasis.trace(model, x, ["input", "down1", "out:in", "output"])
    assert_reassembles(traced, model, [randn(3, 2, 4, 4)])
    with refused(
        BypassError, "'mid'", "down1:out", "cannot be joined", "choose a site that everything passes"
    ) as error:
        libasis.trace(model, x, ["input", "mid", "output"])
    assert "both together" not in str(error.value)
    with refused(SiteError, "mid \\+ down1", "different numbers of positions", "4, 16"):
        libasis.trace(model, x, ["input", ["mid", "down1"], "output"])


RESIDUAL = residual()


@pytest.mark.usefixtures("one_export")
class TestOrderAndNames:
    def trace(self, *sites):
        return libasis.trace(RESIDUAL, randn(4, 6), list(sites))

    def test_out_of_order(self):
        with refused(SiteError, "out of order", "'a' comes before 'out:in'", "other way"):
            self.trace("out:in", "a", "output")

    def test_unknown(self):
        with refused(SiteError, "'donw'", "does not exist", "'down:out'", "find_sites"):
            self.trace("a", "donw", "output")
        with refused(SiteError, "'output.logits'", "does not exist"):
            self.trace("a", "output.logits")

    @pytest.mark.parametrize("twice", [("a", "a"), (["a", "b"], ["a", "b"])])
    def test_twice(self, twice):
        with refused(SiteError, "'a.*' is listed twice"):
            self.trace(*twice, "output")

    @pytest.mark.parametrize("sites", ["output", ["output"], [], [("a",), ()], ["a", [], "output"], ["a", 3]])
    def test_no_list_of_sites(self, sites):
        with pytest.raises((SiteError, OptionError)):
            libasis.trace(RESIDUAL, randn(4, 6), sites)

    def test_not_on_the_path_to_the_output(self):
        def run(m, x):
            m.side(x)
            return m.out(m.a(x))

        model = calls(run, a=nn.Linear(6, 5), side=nn.Linear(6, 5), out=nn.Linear(5, 2))
        with refused(SiteError, "'output' does not depend on site 'side'"):
            libasis.trace(model, randn(4, 6), ["input", "side", "output"])
        with refused(SiteError, "'out:in' does not depend on site 'side'"):
            libasis.trace(model, randn(4, 6), ["input", "side", "out:in"])

    def test_no_dependence_on_the_inputs(self):
        def run(m, x):
            return m.out(m.a(x) + m.prior(m.seed))

        model = calls(
            run, a=nn.Linear(6, 5), prior=nn.Linear(2, 5), out=nn.Linear(5, 2), seed=nn.Parameter(torch.ones(2))
        )
        with refused(SiteError, "'prior'", "does not depend on the inputs"):
            libasis.trace(model, randn(4, 6), ["input", "prior", "output"])
        assert_reassembles(libasis.trace(model, randn(4, 6), ["input", "a", "output"]), model, [randn(4, 6)])

    def test_integer_inputs_are_no_site(self):
        with refused(SiteError, "'input'", "floating-point", "'embed:out'"):
            libasis.trace(mixed(lambda m, h, ids: h), inputs(3), ["input", "mid", "output"])

    def test_merged_batch_dimension(self):
        model = calls(
            lambda m, x: m.b(m.a(x.flatten(0, 1))).unflatten(0, (-1, 5)), a=nn.Linear(6, 5), b=nn.Linear(5, 2)
        )
        with refused(SiteError, "'a'", "no batch dimension"):
            libasis.trace(model, randn(4, 5, 6), ["input", "a", "output"])
        assert_reassembles(libasis.trace(model, randn(4, 5, 6), ["input", "output"]), model, [randn(3, 5, 6)])
