"""What is summed over the data for cards: parts merge to the whole, and go on from what was written down."""

import pytest
import torch
from torch import nn

import libasis
from cards.collecting import same
from chains import F64, random
from libasis.cards.contents import Naming
from libasis.cards.effects import CardEffects, moved_and_held, random_units
from libasis.cards.gather import Asked, Gathered, Limits
from libasis.cards.groups import GroupMeans
from libasis.intervene import parse_metric
from measure.laws import assert_merges, assert_resumes

LIMITS = Limits(examples=4, effects=10, samples=9, tested=2, controls=20)


def texts():
    """A model of tokens, of which some don't count."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 7)).to(F64).eval()
    ids = torch.randint(7, (30, 6))
    traced = libasis.trace(model, ids, ["1:in", "3:in", "output"], mask=lambda args: args[0] > 1)
    return traced, libasis.fit(traced, [ids], progress=False), ids, ids.roll(-1, 1), Naming()


def numbers(naming=None, targets=True):
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(F64).eval()
    x = random(30, 4, seed=3)
    traced = libasis.trace(model, x, ["input", "2:in", "output"])
    y = torch.arange(30) % 3 if targets else random(30, 3)
    return traced, libasis.fit(traced, [x], progress=False), x, y, naming or Naming()


CASES = {
    "text": texts,
    "numbers": lambda: numbers(targets=False),
    "table": lambda: numbers(Naming(columns=list("abcd"))),
    "image": lambda: numbers(Naming(image_shape=[2, 2])),
}


@pytest.fixture(params=CASES)
def case(request):
    if request.param == "image":
        pytest.importorskip("PIL")
    traced, basis, x, y, naming = CASES[request.param]()
    batches = list(zip(x.split([7, 1, 14, 8]), y.split([7, 1, 14, 8]), strict=True))
    return traced, basis, list(traced.stream(batches)), naming


def make_gathered(basis, naming, first=None):
    chosen = {l: list(range(min(site.k, 3))) for l, site in enumerate(basis)}
    return Gathered(basis, chosen, LIMITS, Asked(naming), 1, first)


def plain(gathered):
    """All that cards are made of."""
    shown = [s.card(p, gathered.contents, gathered.answers) for s in gathered.sites for p in range(len(s.chosen))]
    names = gathered.answers.class_name
    found = [gathered.evidence.found(place, 9, names) for place in range(len(gathered.sites))]
    deviations = [site.all.deviation().tolist() for site in gathered.sites]
    return {"cards": shown, "found": found, "std": deviations, "samples": gathered.samples}


def test_gathered(case):
    _, basis, records, naming = case

    def close(found, whole):
        same(plain(found), plain(whole))
        assert torch.equal(found.rows.numbers, whole.rows.numbers)
        for one, other in zip(found.rows.batches(), whole.rows.batches(), strict=True):
            assert torch.equal(one.args[0], other.args[0])
            assert torch.equal(one.targets, other.targets)

    assert_merges(lambda: make_gathered(basis, naming, records[0]), records, close)
    assert_resumes(lambda: make_gathered(basis, naming, records[0]), records, close)


def test_the_first_batch_may_be_the_first_that_is_added(case):
    """And one that has seen nothing takes over what another has decided."""
    _, basis, records, naming = case
    whole = make_gathered(basis, naming, records[0])
    parts = [make_gathered(basis, naming) for _ in range(3)]
    for record in records:
        whole.add(record)
    for part, own in zip(parts, ([], records[:3], records[3:]), strict=True):
        for record in own:
            part.add(record)
    parts[0].merge(parts[1])
    parts[0].merge(parts[2])
    parts[0].merge(make_gathered(basis, naming))
    same(plain(parts[0]), plain(whole))


@pytest.mark.parametrize("only", [None, torch.tensor([1, 8, 9, 29])])
def test_effects(case, only):
    _, basis, records, _ = case

    def make():
        sites = [
            moved_and_held(l, site, [1, 0], [0], random_units(20, site.k, 0, l), site.variances.sqrt(), 2**20)
            for l, site in enumerate(basis)
        ]
        return CardEffects(sites, parse_metric("output_mse"), only)

    def close(found, whole):
        for one, other in zip(found.sites, whole.sites, strict=True):
            assert one.effect.n == len(one.rows.table()[0]) == (30 if only is None else 4)
            torch.testing.assert_close(one.effect.mean, other.effect.mean, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(one.effect.error(), other.effect.error(), rtol=1e-6, atol=1e-12)
            for a, b in ((one.rows.table()[1], other.rows.table()[1]), (one.total, other.total)):
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)

    assert_merges(make, records, close)
    assert_resumes(make, records, close)


def test_groups(case):
    _, basis, records, naming = case
    whole = make_gathered(basis, naming, records[0])
    for law in (assert_merges, assert_resumes):
        for units in (None, [i // 3 for i in range(30)]):
            make = lambda: GroupMeans("a", whole.sites, [2, 0], whole.contents, units)  # noqa: B023, E731
            law(make, records, lambda found, whole: same(found, whole))


def test_a_model_of_fixed_batch_size_is_run_on_whole_batches_only():
    """Effects are those of the samples drawn all the same."""

    class Fixed(nn.Module):
        def forward(self, x):
            return x.reshape(8, 3, 2).tanh().reshape(8, 6)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), Fixed(), nn.Linear(6, 3)).to(F64).eval()
    x = random(40, 6)
    traced = libasis.trace(model, x[:8], ["0:in", "2:in", "output"])
    assert traced.record(x[:8]).contexts[0].fixed_batch == 8
    basis = libasis.fit(traced, list(x.split(8)), progress=False)
    free = libasis.Chain([lambda a: model[0](a).tanh(), model[2]], ["0:in", "2:in", "output"])
    found, expected = (
        libasis.collect(t, basis, list(x.split(8)), samples=10, features=2, progress=False).to_plain()["cards"]
        for t in (traced, free)
    )
    for key, card in expected.items():
        for part in ("mean", "effects", "ablation"):
            same(found[key][part], card[part])
