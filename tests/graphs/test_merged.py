"""Graphs of one basis are merged exactly; bases are not."""

import pytest
import torch
from torch import nn

import libasis
from libasis.errors import OptionError


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 7), nn.GELU(), nn.Linear(7, 3)).double().eval()
    x = torch.randn(900, 4, dtype=torch.float64)
    traced = libasis.trace(model, x, ["input", "2:in", "output"])
    basis = libasis.fit(traced, [x])

    def edges(x, **options):
        return libasis.interactions(traced, basis, [x], progress=False, **options)

    return x, basis, edges


def test_two_parts_are_the_whole(parts, tmp_path):
    x, _, edges = parts
    whole, merged = edges(x), libasis.merge(edges(x[:200]), edges(x[200:]))
    for name in ("edges", "signed"):
        for a, b in zip(getattr(merged, name), getattr(whole, name), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    assert merged.info["counts"] == whole.info["counts"] == [900, 900]
    assert merged.info["data"]["samples"] == 900
    merged.save(tmp_path / "graph")
    assert libasis.load(tmp_path / "graph").info["data"] == merged.info["data"]


def test_errors_are_added_in_quadrature(parts):
    x, _, edges = parts
    drawn, exact = edges(x[300:], relative_error=0.3), edges(x[:300])
    merged = libasis.merge(exact, drawn)
    torch.testing.assert_close(merged.stderr["input"], drawn.stderr["input"] * 2 / 3)
    assert merged.info["rules"][0] == "closed form; closed form, positions drawn"


def test_what_cannot_be_merged_is_refused(parts):
    x, basis, edges = parts
    one = edges(x[:200])
    with pytest.raises(OptionError, match="fit on all data together"):
        libasis.merge(basis, basis)
    with pytest.raises(OptionError, match="the same data"):
        libasis.merge(one, edges(x[:200].flip(0)))
    with pytest.raises(OptionError, match="interactions differ"):
        libasis.merge(one, edges(x[200:], method="integrated"))
    with pytest.raises(OptionError, match="top_k"):
        libasis.merge(one, edges(x[200:], top_k=1))
    other = libasis.build(nn.Sequential(nn.Linear(4, 3)).double().eval(), [x], ["input", "output"])
    with pytest.raises(OptionError, match="different bases"):
        libasis.merge(one, other)
