import importlib.util
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import libasis
from libasis import reference
from zoo.cures import CURES
from zoo.judge import Verdict, as_expected, compare, judge
from zoo.matrix import ROWS
from zoo.row import Net, Row, floats
from zoo.truth import Probe, importances

ALL = os.environ.get("LIBASIS_ZOO") == "all"
PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def marked(row):
    missing = bool(row.needs) and importlib.util.find_spec(row.needs) is None
    marks = [
        pytest.mark.skipif(missing, reason=f"needs {row.needs}"),
        pytest.mark.skipif(row.rare and not ALL, reason="LIBASIS_ZOO=all tries every family"),
    ]
    if row.wrong:
        marks.append(pytest.mark.xfail(strict=True, reason=row.wrong))
    return pytest.param(row, marks=marks, id=f"{row.kind}-{row.name}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", [marked(row) for row in ROWS])
def test_it_agrees_with_brute_force_or_is_refused_by_a_true_sentence(row):
    assert as_expected(row, judge(row)) == ""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", [marked(row) for row in ROWS if row.expect == "refused" and row.name != "jetmoe"])
def test_what_is_to_be_done_instead_of_what_is_refused_is_right(row):
    cure = CURES[row.name]
    cured = replace(
        row, **{"plain": cure.get("make") and row.plain and cure["make"], **cure, "expect": "exact", "wrong": ""}
    )
    assert as_expected(cured, judge(cured)) == ""


def mlp():
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double().eval()


def test_differences_of_the_eager_model_are_the_reference():
    """Two truths that share nothing: derivatives by differences, and Jacobians of reference.py."""
    model, x = mlp(), floats(6)(20, torch.Generator())
    (_, M), (_, N) = importances(Probe(model), [x], ["input", "2:in", "output"], [None])
    known = reference.lib([lambda z: model[1](model[0](z)), model[2]], x[:, None])
    for found, site in zip((M, N), known[:-1], strict=True):
        expected = site["importances"]
        torch.testing.assert_close(
            torch.linalg.eigvalsh(found).flip(0)[: len(expected)], expected, rtol=1e-7, atol=1e-9
        )


def test_a_wrong_basis_is_seen():
    row = Row("", "", mlp, floats(6), "input output")
    model, another = mlp(), mlp()
    batches = [floats(6)(12, torch.Generator().manual_seed(seed)) for seed in (2, 3)]
    pair = batches[0], batches[1]
    basis = libasis.fit(libasis.trace(model, batches[0], ["input", "output"]), batches)
    assert compare(row, basis, Probe(model), ["input", "output"], batches, pair)[1] == ""
    assert "importances are" in compare(row, basis, Probe(another), ["input", "output"], batches, pair)[1]


def test_what_goes_round_a_site_is_seen():
    model = Net(lambda m, x: m.a(x) + x, a=nn.Linear(6, 6)).double()
    pair = [floats(6)(4, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    assert Probe(model).goes_round(*pair, "a", "output") > 0.1
    assert Probe(model).goes_round(*pair, "input", "output") == 0


@pytest.mark.parametrize(
    ("expect", "verdict", "complaint"),
    [
        ("closed", Verdict("right", rules=["closed form, affine"]), ""),
        ("closed", Verdict("right", rules=["closed form, affine", "exact"]), "expected a closed form"),
        ("exact", Verdict("right", rules=["closed form, affine"]), ""),
        ("exact", Verdict("refused", said="SiteError: no."), "expected exact"),
        ("refused", Verdict("refused", said="SiteError: no."), ""),
        ("refused", Verdict("refused", said="SiteError: yes."), "another sentence"),
        ("refused", Verdict("right", rules=["exact"]), "expected refused"),
        ("exact", Verdict("wrong", said="x"), "wrong: x"),
        ("exact", Verdict("right", rules=["exact"], untrue=["a: yes, but goes round"]), "goes round"),
    ],
)
def test_what_is_not_as_expected_is_said(expect, verdict, complaint):
    said = as_expected(Row("", "", mlp, floats(6), expect=expect, says="no"), verdict)
    assert complaint in said
    assert bool(complaint) == bool(said)


def test_the_page_has_every_row_and_every_refusal_a_remedy():
    text = PAGE.read_text(encoding="utf-8")
    assert [row.name for row in ROWS if not row.rare and f"| {row.name} |" not in text] == []
    assert [row.name for row in ROWS if row.expect == "refused" and not (row.instead and row.says)] == []
    names = [(row.kind, row.name) for row in ROWS]
    assert len(set(names)) == len(names) >= 200
    assert re.search(r"`python -m tests.zoo`", text)
