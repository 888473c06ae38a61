"""Edges in closed form are those of forward and reverse mode, for every kind of section that has an anatomy."""

import importlib

import pytest
import torch

import libasis
from anatomy.test_anatomy import MADE_OF, Last, T, example

edges = importlib.import_module("libasis.interactions.edges")


@pytest.fixture(params=["gradient", "integrated"])
def method(request):
    return request.param


def both(name, monkeypatch, mask=None, **options):
    x = torch.cat([example(name), 2 * example(name) - 1, example(name).flip(0) + 0.3])
    model = Last(MADE_OF[name][0]).double().eval()
    traced = libasis.trace(model, x, ["site", "output"], mask=mask)
    basis = libasis.fit(traced, [x], "pca")
    closed = libasis.interactions(traced, basis, [x], **options)
    with monkeypatch.context() as patch:
        patch.setattr(edges, "read", lambda context: "is not to be read here")
        options.pop("memory", None)
        derived = libasis.interactions(traced, basis, [x], **options)
    assert (closed.info["rules"], derived.info["rules"]) == (["closed form"], ["derivatives"])
    return closed, derived


def assert_same(closed, derived):
    scale = float(derived.edges[0].max())
    assert float((closed.edges[0] - derived.edges[0]).abs().max()) <= 1e-10 * scale
    # a mean of both signs, zero in an affine section: measured by the size of what is averaged
    assert float((closed.signed[0] - derived.signed[0]).abs().max()) <= 1e-10 * scale**0.5


@pytest.mark.parametrize("name", MADE_OF)
def test_closed_is_derived(name, method, monkeypatch):
    assert_same(*both(name, monkeypatch, method=method, nodes=3))


@pytest.mark.parametrize("name", ["gelu of the normed", "attention, both ways", "partial rotary", "side by side"])
def test_padding_and_small_memory(name, monkeypatch):
    mask = torch.ones(9, T, dtype=torch.bool)
    mask[0, 1] = mask[4, 2:] = mask[7, 0] = False
    assert_same(*both(name, monkeypatch, mask=lambda _: mask, memory=1))
