"""Between a model's tensors and [batch, position, feature], and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import libasis
from cut.cutting import calls, randn
from libasis.cut.layout import Layout, layout_of_tensor
from libasis.errors import SiteError


@st.composite
def layouts(draw):
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=4)))
    batch = draw(st.integers(0, len(shape)))
    feature = draw(st.integers(1, len(shape))) if shape else 0
    return Layout(shape, batch, draw(st.sampled_from([0, feature])))


def number(layout, size):
    """A tensor of the layout with all entries different."""
    shape = [*layout.shape[: layout.batch], size, *layout.shape[layout.batch :]]
    return torch.arange(torch.Size(shape).numel()).reshape(shape)


@given(layouts(), st.integers(1, 3))
def test_canonical_and_original_are_inverse(layout, size):
    x = number(layout, size)
    canonical = layout.canonical(x)
    assert canonical.shape == (size, layout.positions, layout.features)
    assert torch.equal(layout.original(canonical), x)
    assert torch.equal(layout.canonical(layout.original(canonical)), canonical)


@given(layouts(), st.integers(1, 3))
def test_each_row_is_one_sample_and_each_column_one_feature(layout, size):
    x = number(layout, size)
    canonical = layout.canonical(x)
    for b in range(size):
        assert set(canonical[b].flatten().tolist()) == set(x.select(layout.batch, b).flatten().tolist())
    samples = x.movedim(layout.batch, 0)
    for i in range(layout.features if layout.feature else 0):
        expected = samples.select(layout.feature, i).reshape(size, -1)
        assert torch.equal(canonical[..., i], expected)


@given(layouts())
def test_another_number_of_samples_fits(layout):
    x = layout.canonical(number(layout, 2))
    assert torch.equal(layout.canonical(layout.original(torch.cat([x, x, x]))), torch.cat([x, x, x]))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((2,), (1, 1)), ((2, 3), (1, 3)), ((2, 3, 4), (3, 4)), ((2, 3, 4, 5), (20, 3)), ((2, 3, 1, 5, 2), (10, 3))],
)
def test_plain_tensors(shape, expected):
    assert layout_of_tensor(torch.zeros(shape)).canonical(torch.zeros(shape)).shape[1:] == expected


def shapes(model, x, sites):
    return [tuple(a.shape[1:]) for a in libasis.trace(model, x, sites).record(x).activations]


def test_images_have_a_position_per_pixel(zoo):
    case, _, traced = zoo["residual_cnn"]
    activations = traced.record(case.example()).activations
    assert [tuple(a.shape) for a in activations] == [
        (2, 24, 2), (2, 24, 4), (2, 24, 4), (2, 24, 4), (2, 6, 4), (2, 1, 4), (2, 1, 3),
    ]  # fmt: skip
    assert torch.equal(activations[0], case.example().flatten(2).transpose(1, 2))


def test_vectors_have_one_position(zoo):
    case, _, traced = zoo["mlp"]
    assert {a.shape[1] for a in traced.record(case.example()).activations} == {1}


def test_attention_patterns_channels_last_and_scalars():
    def run(m, x):
        y = m.conv(x)
        y = m.last(y.permute(0, 2, 3, 1))  # channels last from here
        return m.total(m.head(y).mean((1, 2, 3)))

    parts = {"conv": nn.Conv2d(2, 4, 1), "last": nn.LayerNorm(4), "head": nn.Linear(4, 5), "total": nn.Identity()}
    found = shapes(calls(run, **parts), randn(2, 2, 3, 5), ["conv:in", "conv", "last:in", "last", "head", "output"])
    assert found == [(15, 2), (15, 4), (15, 4), (15, 4), (15, 5), (1, 1)]


def test_tokens_of_an_image():
    def run(m, x):
        tokens = m.norm(m.patch(x).flatten(2).transpose(1, 2))
        return m.head(tokens.mean(1))

    model = calls(run, patch=nn.Conv2d(2, 6, 2, stride=2), norm=nn.LayerNorm(6), head=nn.Linear(6, 3))
    found = shapes(model, randn(2, 2, 4, 6), ["input", "patch", "norm:in", "norm", "head:in", "output"])
    assert found == [(24, 2), (6, 6), (6, 6), (6, 6), (1, 6), (1, 3)]


def test_flattened_channels_become_features():
    model = calls(lambda m, x: m.b(m.a(x).flatten(1)), a=nn.Conv2d(2, 3, 2), b=nn.Linear(18, 4))
    assert shapes(model, randn(2, 2, 3, 4), ["a", "b:in", "output"]) == [(6, 3), (1, 18), (1, 4)]


def test_square_outputs_of_the_batch_are_no_site():
    model = calls(lambda m, x: m.a(x) @ m.a(x).T, a=nn.Linear(6, 5))
    with pytest.raises(SiteError, match=r"its shape \[batch, batch\] has no batch dimension"):
        libasis.trace(model, randn(4, 6), ["a", "output"])


@pytest.mark.parametrize(
    ("merged", "shape"),
    [(lambda x: x.flatten(0, 1), r"\[3\*batch, 8\]"), (lambda x: x[x > 0], r"\[\?\]"), (torch.sum, r"\[\]")],
)
def test_a_shape_that_is_no_site_is_said_in_words(merged, shape):
    model = calls(lambda m, x: merged(m.a(x)), a=nn.Linear(6, 8))
    with pytest.raises(SiteError, match=f"its shape {shape} has no batch dimension"):
        libasis.trace(model, randn(4, 3, 6), ["a", "output"])


@pytest.mark.parametrize(
    "onward",
    [
        lambda m, x: m.o(x.roll((1, 1), (1, 2))),
        lambda m, x: m.o(x.flatten(0, 1)).view_as(x),
        lambda m, x: m.o(x.view(len(x), 2, 2, 2, 2, 6).permute(0, 1, 3, 2, 4, 5).reshape(len(x), 4, 4, 6)),
    ],
)
def test_features_are_last_where_what_reads_them_says_so_behind_a_shift_or_a_view(onward):
    model = calls(lambda m, x: onward(m, x).tanh(), o=nn.Linear(6, 6))
    assert libasis.trace(model, randn(3, 4, 4, 6), ["input", "output"]).sites[0].features == 6
