"""Logits of a large vocabulary: a last site whose covariance no machine holds, looked at in what its layer spans."""

import pytest
import torch
from torch import nn

import libasis
from cut.cutting import randn
from libasis.anatomy import last_map
from libasis.basis.statistics import SiteStatistics
from libasis.errors import SiteError
from libasis.measure import Records
from measure.laws import assert_merges, assert_resumes

WIDE, FEW, D = 17_000, 30, 6


class Language(nn.Module):
    """Tokens to logits, of which all but the first ``FEW`` are zero where there are more."""

    def __init__(self, vocabulary, *, tied=False):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(FEW, D)
        self.inner, self.norm = nn.Linear(D, D), nn.RMSNorm(D)
        weight = randn(FEW, D, seed=1)
        self.head = nn.Parameter(torch.cat([weight, torch.zeros(vocabulary - FEW, D)]).double(), requires_grad=False)
        self.tied = tied
        self.double()

    def forward(self, tokens):
        h = self.embed(tokens)
        h = self.norm(h + torch.tanh(self.inner(h)))
        return h @ self.head.T / 3 if self.tied else nn.functional.linear(h, self.head / 3)


SITES = ["inner:in", "norm:in", "output"]
TOKENS = torch.randint(FEW, (20, 4), generator=torch.Generator().manual_seed(0))


def cut(vocabulary, **options):
    return libasis.trace(Language(vocabulary, **options).eval(), TOKENS[:5], SITES)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("options", [{}, {"readout": "output"}, {"readout": "fisher"}, {"rotate_final": True}])
def test_importances_are_those_of_all_logits(options, tied):
    """Zero logits change no importance but Fisher's: of few logits the identity does what the span does of many."""
    batches = list(TOKENS.split(8))
    wide, few = (libasis.fit(cut(v, tied=tied), batches, **options) for v in (WIDE, FEW))
    assert (wide["output"].k, wide["output"].d) == (D, WIDE)
    if options.get("readout") != "fisher":
        for a, b in zip(wide.sites[:-1], few.sites[:-1], strict=True):
            torch.testing.assert_close(a.importances, b.importances, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(a.C, b.C, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(wide["output"].importances.sum(), few["output"].importances.sum(), rtol=1e-9, atol=0)
    y = Language(WIDE).eval()(TOKENS).detach()
    torch.testing.assert_close(wide["output"].decode(wide["output"].encode(y)), y, rtol=1e-9, atol=1e-9)


def test_importance_for_all_logits_goes_by_the_site_before_them():
    """Several sections to the logits: the one in front of the unembedding stands for it, in closed form."""
    batches, sites = list(TOKENS.split(8)), ["norm:in", "norm:out", "output"]
    wide, few = (
        libasis.fit(libasis.trace(Language(v).eval(), TOKENS[:5], sites), batches, readout="output", moments=rule)
        for v, rule in ((WIDE, "auto"), (FEW, "exact"))
    )
    assert all(rule["rule"].startswith("closed form") for rule in wide.info["rules"])
    for a, b in zip(wide.sites[:-1], few.sites[:-1], strict=True):
        torch.testing.assert_close(a.importances, b.importances, rtol=1e-9, atol=1e-12)


def test_edges_ablation_and_files(tmp_path):
    batches, traced = list(TOKENS.split(8)), cut(WIDE)
    basis = libasis.fit(traced, batches, rotate_final=True)
    few = libasis.fit(cut(FEW), batches, rotate_final=True)
    graph, same = libasis.interactions(traced, basis, batches), libasis.interactions(cut(FEW), few, batches)
    torch.testing.assert_close(graph.edges[-1], same.edges[-1], rtol=1e-6, atol=1e-9)
    found = libasis.ablate_edges(traced, graph, batches, metric="kl", sections=["norm:in"], stable=False)
    curve = found.curves["norm:in"]
    assert curve.scores[curve.counts.index(max(curve.counts))] == pytest.approx(0, abs=1e-9)
    graph.save(tmp_path / "graph")
    loaded = libasis.load(tmp_path / "graph")
    assert torch.equal(loaded.basis["output"].C, basis["output"].C)


def test_sums_merge_and_resume():
    traced = cut(WIDE)
    records = list(Records(traced, list(TOKENS.split(6))).stream())

    def close(one, other):
        torch.testing.assert_close(one[-1].mean, other[-1].mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(one[-1].inner.covariance, other[-1].inner.covariance, rtol=1e-10, atol=1e-12)

    assert_merges(lambda: SiteStatistics(traced), records, close)
    assert_resumes(lambda: SiteStatistics(traced), records[:3], close)


def test_checkpoints_go_on(tmp_path):
    batches = list(TOKENS.split(4))
    whole = libasis.fit(cut(WIDE), batches)
    with libasis.checkpoints(tmp_path, seconds=0):
        kept = libasis.fit(cut(WIDE), batches)
    torch.testing.assert_close(kept["output"].importances, whole["output"].importances, rtol=1e-9, atol=1e-12)


def test_one_logit_by_one_is_refused():
    with pytest.raises(SiteError, match=r"'output' has 17000 features, too many .* its 6 principal directions"):
        libasis.fit(cut(WIDE), [TOKENS], method="neuron")


class Capped(Language):
    def forward(self, tokens):
        return torch.tanh(super().forward(tokens))


def test_what_no_layer_makes_stays_as_it_is():
    """A cap on logits spans more than its layer: the site keeps its own coordinates, or is refused where too wide."""
    traced = libasis.trace(Capped(WIDE).eval(), TOKENS[:5], SITES)
    (record,) = Records(traced, [TOKENS[:5]]).stream()
    assert last_map(record.contexts[-1]) is None
