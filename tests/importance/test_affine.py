"""Affine sections that mix positions: one sample's passes give the exact rule; nothing else is taken for affine."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import libasis
from anatomy.test_anatomy import MADE_OF, NOT, Last, T, example
from cut.cutting import calls, randn
from importance.measuring import chosen, moment_by, span_of
from libasis.anatomy import why_not_affine
from libasis.measure import Records

AFFINE = {
    "convolution": lambda m, x: m.conv(x),
    "strided, then a linear layer": lambda m, x: m.head(m.strided(x).flatten(1)),
    "mean of places": lambda m, x: m.conv(x).mean((2, 3)),
    "average pool and batch norm": lambda m, x: m.norm(F.avg_pool2d(m.conv(x), 2)),
    "two branches": lambda m, x: torch.cat([m.conv(x), x.roll(1, 2)[:, :3]], 1) + 1.0,
}
NOT_AFFINE = {
    "a gate": lambda m, x: m.conv(x) * x.mean((2, 3), keepdim=True)[:, :1],
    "its own square": lambda m, x: m.conv(x) * m.conv(x),
    "largest of places": lambda m, x: F.max_pool2d(m.conv(x), 2),
    "divided by itself": lambda m, x: 1.0 / (m.conv(x) + 10.0),
    "normed over places": lambda m, x: F.group_norm(m.conv(x), 3),
}


def traced(run):
    torch.manual_seed(0)
    parts = {"conv": nn.Conv2d(2, 3, 3, padding=1), "strided": nn.Conv2d(2, 3, 3, stride=2),
             "head": nn.Linear(12, 4), "norm": nn.BatchNorm2d(3)}  # fmt: skip
    parts["norm"].running_var.uniform_(0.5, 2.0)
    model = calls(run, **parts).double().eval()
    return libasis.trace(model, randn(3, 2, 5, 6), ["input", "output"])


@pytest.mark.parametrize("name", AFFINE)
def test_one_sample_is_enough(name):
    cut = traced(AFFINE[name])
    batches = [randn(3, 2, 5, 6, seed=1), randn(2, 2, 5, 6, seed=2)]
    records = Records(cut, batches, 2**30)
    readout = randn(cut.sites[1].features, 3)
    found, exact = (moment_by(moments, records, readout) for moments in ("auto", "exact"))
    assert found.rule == "closed form, affine"
    assert chosen(span_of(records))[1]
    assert found.n == exact.n
    torch.testing.assert_close(found.value, exact.value, rtol=1e-10, atol=1e-12)


def test_padding_takes_every_sample():
    model = calls(lambda m, x: m.mix(x.transpose(1, 2)).transpose(1, 2), mix=nn.Linear(T, T)).double().eval()
    mask = torch.tensor([[True] * T, [True] * (T - 1) + [False]])
    cut = libasis.trace(model, randn(2, T, 3), ["input", "output"], mask=lambda _: mask)
    records = Records(cut, [randn(2, T, 3, seed=s) for s in (1, 2)], 2**30)
    found, exact = (moment_by(moments, records, randn(3, 2)) for moments in ("closed_form", "exact"))
    assert found.rule == "closed form, affine"
    torch.testing.assert_close(found.value, exact.value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NOT_AFFINE)
def test_what_is_not_affine_is_not_taken_for_it(name):
    cut = traced(NOT_AFFINE[name])
    assert "not affine" in why_not_affine(cut.record(randn(3, 2, 5, 6)).contexts[0])


@pytest.mark.parametrize("name", [*NOT, *MADE_OF])
def test_sections_of_every_kind(name):
    run = NOT[name] if name in NOT else MADE_OF[name][0]
    (context,) = libasis.trace(Last(run).double().eval(), example(name), ["site", "output"]).record(
        example(name)
    ).contexts  # fmt: skip
    assert (why_not_affine(context) == "") == (name == "affine")
