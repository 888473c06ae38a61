"""A scan says of every site what a dense computation says, finds what is planted, and recommends a cut that holds."""

import pytest
import torch
from torch import nn

import libasis
from libasis.data import without_first
from libasis.errors import OptionError, SiteError


class Planted(nn.Module):
    """Six coordinates vary alike; the answer reads two of them, and coordinate 5 varies most."""

    def __init__(self):
        super().__init__()
        self.hook, self.mid = nn.Identity(), nn.Identity()
        self.scale = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 30.0], dtype=torch.float64)
        self.read = torch.tensor([[2.0, 0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1e-4]]).double()

    def forward(self, x):
        return self.mid(self.hook(x * self.scale) @ self.read.T).tanh()


@pytest.fixture(scope="module")
def planted():
    torch.manual_seed(0)
    x = torch.randn(4000, 6, dtype=torch.float64)
    return Planted().eval(), list(x.split(500))


def test_what_is_planted_is_found(planted):
    model, batches = planted
    found = libasis.scan(model, batches, vectors=4000)
    site = found.sites[[s.site for s in found.sites].index("hook:in")]
    assert (site.features, site.lib_features, site.pca_features) == (6, 2, 6)
    assert site.effective_rank == pytest.approx((5 + 900) ** 2 / (5 + 900**2), rel=0.05)
    assert site.difference > 0.3
    assert site.rule.startswith("closed form")
    (strange,) = [one for one in found.outliers if one.site == "hook:in"]
    assert (strange.kind, strange.index) == ("coordinate", 5)
    assert strange.variance == pytest.approx(900 / 905, abs=0.01)
    assert strange.sensitivity < 1e-6
    assert any(sentence.startswith("Coordinate 5 has") for sentence in found.advice)
    assert len(libasis.trace(model, batches[0], found.recommended).sites) == len(found.recommended)


def test_importances_are_those_of_the_global_fit(planted):
    model, batches = planted
    found = libasis.scan(model, batches, vectors=4000)
    traced = libasis.trace(model, batches[0], ["hook:in", "mid:in", "output"])
    for name in ("hook:in", "mid:in"):
        truth = libasis.fit(traced, batches, "global", moments="exact", progress=False)[name].importances
        enough = int((truth.cumsum(0) / truth.sum() < 0.9).sum()) + 1
        assert next(s for s in found.sites if s.site == name).lib_features == enough


@pytest.mark.parametrize("memory", [1, 2**30])
def test_the_same_whatever_fits_into_memory_and_again(planted, memory, tmp_path):
    model, batches = planted
    found, again = libasis.scan(model, batches, memory=memory), libasis.scan(model, batches)
    assert found.rows() == again.rows()
    back = libasis.load(found.save(tmp_path / "scan"))
    assert (back.sites, back.outliers, back.recommended) == (found.sites, found.outliers, found.recommended)
    assert list(found.to_dataframe()["site"]) == [site.site for site in found.sites]


class Sink(nn.Module):
    """The first token carries a huge vector that nothing reads."""

    def __init__(self, d=5):
        super().__init__()
        self.embed, self.norm, self.head = nn.Embedding(12, d), nn.Identity(), nn.Linear(d - 1, 3)

    def forward(self, input_ids, attention_mask):
        x = self.embed(input_ids)
        first = (attention_mask.cumsum(1) == 1) & (attention_mask == 1)
        x = x + torch.where(first, 100.0, 0.0)[..., None] * nn.functional.one_hot(torch.tensor(4), 5) * x[..., :1]
        return self.head(self.norm(x)[..., :-1]).tanh()


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_massive_first_token_is_found_and_gone_when_left_out(side):
    torch.manual_seed(0)
    ids = torch.randint(0, 12, (60, 20))
    real = torch.ones(60, 20, dtype=torch.int64)
    (real[30:, :6] if side == "left" else real[30:, -6:]).fill_(0)
    batches = [{"input_ids": i, "attention_mask": m} for i, m in zip(ids.split(20), real.split(20), strict=True)]
    found = libasis.scan(Sink().eval(), batches, mask="attention_mask")
    (strange,) = [
        one for one in found.outliers if one.site == "norm:out" or one.site == "norm:in" if one.kind == "position"
    ]
    assert strange.index == 0
    assert strange.variance > 0.9
    assert strange.sensitivity < 0.1
    assert "mask=libasis.data.without_first()" in found.advice[0]
    assert not [o for o in libasis.scan(Sink().eval(), batches, mask=without_first()).outliers if o.kind == "position"]


def mlp():
    torch.manual_seed(1)
    layers = [part for i in range(4) for part in (nn.Linear(6, 6), nn.GELU())]
    return nn.Sequential(*layers, nn.Linear(6, 2)).eval(), [torch.randn(64, 6) for _ in range(2)]


def test_a_budget_takes_neighbours_where_pca_misses_most():
    model, batches = mlp()
    whole, few = libasis.scan(model, batches), libasis.scan(model, batches, budget=3)
    assert len(few.recommended) == 3
    start = whole.recommended.index(few.recommended[0])
    assert whole.recommended[start : start + 3] == few.recommended
    missed = {site.site: site.difference or 0.0 for site in whole.sites}
    sums = [sum(missed[name] for name in whole.recommended[i : i + 3]) for i in range(len(whole.recommended) - 2)]
    assert sums.index(max(sums)) == start
    assert {site.site for site in few.sites if site.recommended} == {*few.recommended}
    libasis.fit(libasis.trace(model, batches[0], few.recommended), batches, progress=False)


def test_it_prints_and_draws(tmp_path):
    found = libasis.scan(*mlp())
    assert len(repr(found).splitlines()) == len(found.sites) + 2 + len(found.advice)
    svg = found.to_svg(tmp_path / "scan.svg").read_text(encoding="utf-8")
    assert svg.count("<circle") == len(found.sites) - 1
    assert all(site.site in svg for site in found.sites)
    other = found.to_svg(tmp_path / "scan.svg", lang="ja").read_text(encoding="utf-8")
    assert "重要度" in other
    assert "importance" not in other
    assert other.count("<circle") == svg.count("<circle")
    with pytest.raises(OptionError, match='"en" or "ja"'):
        found.to_svg(tmp_path / "scan.svg", lang="de")


def test_a_chain_and_what_cannot_be_scanned():
    chain = libasis.Chain([torch.tanh, torch.sin], ["a", "b", "c"])
    found = libasis.scan(chain, [torch.randn(50, 3)])
    assert found.recommended == ["a", "b", "c"]
    model, batches = mlp()
    with pytest.raises(OptionError, match="vectors is 1"):
        libasis.scan(model, batches, vectors=1)
    with pytest.raises(SiteError, match="No two sites"):
        libasis.scan(nn.Identity().eval(), batches)


def test_the_model_stays_as_it_is():
    model, batches = mlp()
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    state = torch.random.get_rng_state()
    libasis.scan(model, batches)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert all(torch.equal(weight.grad, torch.ones_like(weight)) for weight in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
