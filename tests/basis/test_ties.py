"""Equal importances: the directions follow a rule, however the data are split, and are marked as a choice."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import libasis
from libasis.basis.ties import Tie, ties, towards_coordinates
from libasis.errors import StoreError


class Waves(nn.Module):
    """A function of the difference of two numbers on a circle: its sine and cosine features count the same."""

    def __init__(self, p=12):
        super().__init__()
        angle = torch.arange(p, dtype=torch.float64) * (2 * torch.pi / p)
        self.table = nn.Embedding.from_pretrained(
            torch.stack([f(w * angle) for w in (1, 3) for f in (torch.cos, torch.sin)], 1)
        )
        self.hook, self.mid = nn.Identity(), nn.Identity()

    def forward(self, pair):
        x = self.hook(self.table(pair).flatten(1)).unflatten(1, (2, 2, 2))
        (a, b), (c, d) = x[:, 0].unbind(-1), x[:, 1].unbind(-1)
        return self.mid(torch.stack([a * c + b * d, b * c - a * d], -1).flatten(1)).square()


def tied_units():
    """Four units that are one another's copies but for the coordinate that they read."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Identity(), nn.Tanh(), nn.Identity())
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, -0.5, 0.5, 1.0])] * 4)
    return model, corners, ["0:in", "1:out", "output"]


def identity():
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 5) @ torch.eye(5)
    return nn.Sequential(nn.Identity(), nn.Identity()), corners, ["0:in", "1:in", "output"]


def waves():
    pairs = torch.cartesian_prod(torch.arange(12), torch.arange(12))
    return Waves(), pairs, ["hook:in", "mid:in", "output"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", ["lib", "pca", "global"])
@pytest.mark.parametrize("make", [identity, tied_units, waves])
def test_no_batch_split_and_no_order_changes_the_directions(make, method, dtype):
    model, x, sites = make()
    x = x.double() if x.is_floating_point() else x
    traced = libasis.trace(model.double().eval(), x[:4], sites, dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    fits = []
    for size in (len(x), 7, 50):
        order = torch.randperm(len(x), generator=generator) if fits else torch.arange(len(x))
        fits.append(libasis.fit(traced, list(x[order].split(size)), method, progress=False))
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-11}
    assert any(site.ties for site in fits[0])
    for other in fits[1:]:
        for a, b in zip(fits[0], other, strict=True):
            assert a.ties == b.ties
            torch.testing.assert_close(a.importances, b.importances, **close)
            torch.testing.assert_close(a.C, b.C, **close)
            torch.testing.assert_close(a.C_pinv, b.C_pinv, **close)


def test_the_turned_rows_depend_on_the_span_alone():
    torch.manual_seed(3)
    rows, turn = torch.randn(4, 9).double(), torch.linalg.qr(torch.randn(4, 4).double())[0]
    one, other = (towards_coordinates(r).T @ r for r in (rows, turn @ rows))
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    Q = towards_coordinates(rows)
    torch.testing.assert_close(Q.T @ Q, torch.eye(4).double(), rtol=0, atol=1e-12)
    assert one[1:, int(rows.square().sum(0).argmax())].abs().max() < 1e-12  # the first takes all of the best coordinate
    torch.testing.assert_close(towards_coordinates(turn.T @ torch.eye(4).double()), turn.T)  # coordinates themselves


def test_equal_and_undecided_are_told_apart():
    values = torch.tensor([5.0, 5.0, 3.0, 2.9, 1.0, 1e-14], dtype=torch.float64)
    assert [str(tie) for tie in ties(values, torch.float64)] == ["equal 0-1"]
    assert [str(tie) for tie in ties(values, torch.float64, [0.02] * 6)] == ["undecided 0-1", "undecided 2-3"]
    close = torch.tensor([5.0, 3.0, 3e-14, 2e-14], dtype=torch.float64)  # not equal, but below what float64 resolves
    assert [str(tie) for tie in ties(close, torch.float64)] == ["undecided 2-3"]


def test_an_estimate_marks_what_its_error_leaves_open():
    """Another seed turns exactly the features that are marked."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6)).double().eval()
    x = torch.randn(64, 6).double()
    traced = libasis.trace(model, x[:4], ["0:in", "1:out", "output"])
    rough = libasis.rules.Sketch(relative_error=0.5)
    exact = libasis.fit(traced, [x], moments="exact", progress=False)
    assert not any(site.ties for site in exact)
    found = libasis.fit(traced, [x], moments=rough, progress=False)
    assert any(tie.why == "undecided" for site in found for tie in site.ties)


def test_ties_are_kept_and_shown(tmp_path):
    model, x, sites = identity()
    graph = libasis.build(model.eval(), [x], sites, progress=False)
    back = libasis.load(graph.save(tmp_path / "graph"))
    assert back.basis[0].ties == graph.basis[0].ties != ()
    assert [node["tied"] for node in back.nodes() if node["site"] == "0:in"] == ["equal 0-4"] * 5
    assert list(back.basis.to_dataframe()["tied"])[:5] == ["equal 0-4"] * 5
    assert [node["tied"] for node in back.nodes() if node["site"] == "output"] == [""] * 5
    for lang, words in (("en", "chosen by a rule"), ("ja", "規則で選んで")):
        page = graph.to_html(tmp_path / f"{lang}.html", lang).read_text(encoding="utf-8")
        assert '"ties":[[0,4,"equal"]]' in page
        assert words in page


def test_ties_of_features_that_are_not_there_are_refused(tmp_path):
    model, x, sites = identity()
    basis = libasis.fit(libasis.trace(model.eval(), x[:4], sites), [x], progress=False)
    site = replace(basis[0], ties=(Tie(3, 9, "equal"),))
    with pytest.raises(StoreError, match="ties of features"):
        replace(basis, sites=(site, *basis.sites[1:])).save(tmp_path / "basis")
