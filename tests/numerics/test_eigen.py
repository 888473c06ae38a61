"""The laws of eigen-decompositions: order, signs, and which eigenvalues are noise."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chains import F64, random
from libasis.errors import OptionError
from libasis.numerics import Truncation, eigh_descending, fix_signs
from libasis.numerics.eigen import largest_eigenvalue

seeds = st.integers(0, 10_000)


@given(seeds)
def test_eigenvalues_descend_and_rebuild_the_symmetric_part(seed):
    A = random(6, 6, seed=seed)
    values, vectors = eigh_descending(A)
    assert (values.diff() <= 0).all()
    torch.testing.assert_close(vectors * values @ vectors.T, (A + A.T) / 2, rtol=0, atol=1e-12)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(6, dtype=F64), rtol=0, atol=1e-12)


def test_eigenvalues_are_float64_whatever_comes_in():
    values, vectors = eigh_descending(random(3, 3).to(torch.float32))
    assert values.dtype == vectors.dtype == F64


@given(seeds, st.lists(st.sampled_from([-1.0, 1.0]), min_size=5, max_size=5))
def test_signs_do_not_depend_on_the_signs_given(seed, flips):
    rows = random(5, 7, seed=seed)
    flipped = rows * torch.tensor(flips, dtype=F64)[:, None]
    oriented = fix_signs(rows)[:, None] * rows
    assert torch.equal(fix_signs(flipped)[:, None] * flipped, oriented)
    largest = oriented.abs().argmax(1, keepdim=True)
    assert (oriented.gather(1, largest) > 0).all()


@pytest.mark.parametrize(
    ("row", "sign"),
    [
        ([1.0, -1.0], 1),
        ([-1.0, 1.0], -1),
        ([0.5, 1.0, -1.0 - 5e-7], 1),  # rounding must not decide
        ([0.5, 1.0 + 5e-7, -1.0], 1),
        ([0.5, 1.0, -1.0 - 5e-6], -1),  # a real difference does
        ([0.0, 0.0], 1),
    ],
)
def test_ties_go_to_the_first(row, sign):
    assert fix_signs(torch.tensor([row], dtype=F64)).tolist() == [sign]


def test_no_rows_have_no_signs():
    assert fix_signs(torch.zeros(0, 4)).shape == (0,)
    assert fix_signs(torch.zeros(2, 0)).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", Truncation("auto", 1.0)),
        ("auto:10", Truncation("auto", 10.0)),
        ("relative:1e-10", Truncation("relative", 1e-10)),
        ("absolute:0", Truncation("absolute", 0.0)),
    ],
)
def test_the_rules_are_read(text, expected):
    assert Truncation.parse(text) == expected


BAD = [
    "",
    "Auto",
    "auto:x",
    "auto:-1",
    "relative",
    "relative:",
    "relative:x",
    "relative:nan",
    "absolute:inf",
    "absolute:-1e-9",
    "1",
]


@pytest.mark.parametrize("text", [*BAD, None, 1e-6])
def test_other_rules_are_refused(text):
    with pytest.raises(OptionError) as caught:
        Truncation.parse(text)
    assert f"truncation is {text!r}" in str(caught.value)


VALUES = torch.tensor([4.0, 2.0, 1.0, 0.0, -1e-17], dtype=F64)


@pytest.mark.parametrize(
    ("rule", "threshold", "kept"),
    [
        ("auto", 1.5, 2),
        ("auto:2", 3.0, 1),
        ("auto:0.5", 0.75, 3),
        ("relative:0.25", 1.0, 2),  # one at the threshold is dropped
        ("relative:0.24", 0.96, 3),
        ("absolute:2", 2.0, 1),
        ("absolute:0", 0.0, 3),
        ("absolute:9", 9.0, 0),
    ],
)
def test_a_spectrum_is_cut_at_the_threshold(rule, threshold, kept):
    found = Truncation.parse(rule).decide(VALUES, noise=1.5)
    assert (found.kept, found.total, found.threshold) == (kept, 5, pytest.approx(threshold))
    assert found.last_kept == (VALUES[kept - 1] if kept else None)
    assert found.first_dropped == VALUES[kept]
    assert found.to_dict()["rule"] == found.rule


@pytest.mark.parametrize("rule", ["auto", "relative:1e-3", "absolute:0"])
def test_negative_and_missing_eigenvalues_are_never_kept(rule):
    for values in (torch.tensor([-1e-3, -2.0], dtype=F64), torch.zeros(0, dtype=F64)):
        found = Truncation.parse(rule).decide(values, noise=-1.0)
        assert (found.kept, found.last_kept) == (0, None)


def test_nothing_is_dropped_from_a_full_spectrum():
    found = Truncation.parse("auto").decide(VALUES[:3], noise=0.0)
    assert (found.kept, found.first_dropped) == (3, None)


@given(seeds, st.integers(1, 9))
def test_the_largest_eigenvalue_is_found_to_a_few_percent(seed, rank):
    A = random(9, rank, seed=seed)
    A = A @ A.T
    assert largest_eigenvalue(A) == pytest.approx(float(torch.linalg.eigvalsh(A)[-1]), rel=0.05)
    assert largest_eigenvalue(A) <= float(torch.linalg.eigvalsh(A)[-1]) * (1 + 1e-12)
    assert largest_eigenvalue(torch.zeros(3, 3, dtype=F64)) == 0
