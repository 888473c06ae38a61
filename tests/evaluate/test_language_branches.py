"""The experiment inside the blocks of a language model, on a tiny one: against the package's own calls."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import libasis
from evaluate.tiny_llama import tiny_llama
from libasis import rules

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments import branch_tables, write_results  # noqa: E402
from experiments import language_branches as branches  # noqa: E402

NAMES = {"mlp": "model.layers.1.mlp.down_proj:in", "heads": "model.layers.1.self_attn.o_proj:in"}
NAMES["stream"] = "model.layers.1.input_layernorm:in"


@pytest.fixture(scope="module")
def subject():
    return branches.Subject(tiny_llama(), [1], list(NAMES))


@pytest.fixture(scope="module")
def ids():
    return torch.randint(20, (320, 6), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def sums(subject, ids, tmp_path_factory):
    return branches.fit(subject, ids, tmp_path_factory.mktemp("sums"), 0)


@pytest.mark.parametrize("kind", list(NAMES))
def test_divergences_and_importances_are_those_of_the_package(subject, ids, sums, kind):
    batches = [{"input_ids": part} for part in ids.split(80)]
    traced = libasis.trace(
        subject.model,
        batches[0],
        [NAMES[kind], "model.norm:in"],
        mask=libasis.data.without_first(),
        around="refuse" if kind == "stream" else "hold",
    )
    basis = libasis.fit(traced, batches, readout=rules.Fisher(draws=8, shrink=0))
    found = libasis.ablate_nodes(traced, basis, batches[:1], "kl", sites=[NAMES[kind]], schedule=[3])
    with torch.no_grad():
        stream = subject.streams(ids[:80])[1]
        own = subject.model(ids[:80]).logits[:, 1:].log_softmax(-1)
        told = subject.told(stream, 1, kind, branches.keep(basis[0], 3))
        bases = branches.Bases(subject, sums, 0)
        lib = bases.basis(f"1|{kind}", "unshrunk")
    assert float((own.exp() * (own - told)).sum(-1).mean()) == pytest.approx(found.curves[NAMES[kind]][3], rel=1e-4)
    assert torch.allclose(lib.mean, basis[0].mean, atol=1e-6)
    assert float(lib.importances.sum()) == pytest.approx(float(basis[0].importances.sum()), rel=0.1)
    assert float(lib.importances[0]) == pytest.approx(float(basis[0].importances[0]), rel=0.15)


def test_a_fit_goes_on_where_it_was_stopped(subject, ids, sums, tmp_path):
    branches.fit(subject, ids[:96], tmp_path, 0)
    again = branches.fit(subject, ids, tmp_path, 0)
    for site, moments in sums.moments.items():
        assert torch.equal(again.moments[site].scatter, moments.scatter)
        assert torch.equal(again.fisher[site], sums.fisher[site])


def test_what_was_measured_is_not_measured_again_and_becomes_tables(subject, ids, sums, tmp_path, capsys):
    folder = tmp_path / "results" / "tiny"
    folder.mkdir(parents=True)
    protocol = {
        "allowed": 0.02,
        "primary": ["lib", "pca"],
        "beside": ["unshrunk", "next", "random"],
        "blocks": [1],
        "replicates": 50,
        "confidence": 0.95,
        "seed": 0,
        "sites": dict.fromkeys(NAMES, {"at_most": 0.5}),
    }
    branches.same_settings(folder / "protocol.json", protocol, {"text": ids[:16], "other": ids[16:32]})
    bases = branches.Bases(subject, sums, 0)

    def run():
        with torch.no_grad():
            divergences = branches.Divergences(subject, bases, folder)
            divergences.text("text", ids[:16])
            divergences.text("other", ids[16:32])
            branches.measure(divergences, protocol, folder)
            smaller = branches.Divergences(subject, bases, folder, "smaller")
            smaller.texts = divergences.texts
            branches.explore(smaller)

    run()
    assert "nats" in capsys.readouterr().out
    whole = (folder / "divergences.jsonl").read_text()
    (folder / "divergences.jsonl").write_text(whole[:-9])  # stopped while it wrote
    run()
    assert capsys.readouterr().out.count("nats") == 1
    assert (folder / "divergences.jsonl").read_text() == whole
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    kinds = ("needed", "equal", "other", "outliers", "smaller")
    page.write_text("".join(f"<!-- results: tiny {kind} -->\n<!-- /results -->\n" for kind in kinds))
    write_results.write(tmp_path / "results", page.parent)
    assert page.read_text().count("| MLP hidden layer, block 1 |") == 4
    assert page.read_text().count("| heads' output, block 1 | 0.00") == 2
    measured = len(whole.splitlines()) + len((folder / "smaller.jsonl").read_text().splitlines())
    assert len((page.parent / "results-branches.csv").read_text().splitlines()) == measured + 1
    with pytest.raises(SystemExit, match="other settings"):
        branches.same_settings(folder / "protocol.json", {**protocol, "allowed": 1}, {"text": ids[:16]})


def test_the_crossing_is_where_the_divergence_falls_for_good():
    at = 0.02
    assert branch_tables.crossing([0, 4, 8, 16], [0.2, 0.04, 0.01, 0.0], at) == pytest.approx(6)
    assert branch_tables.crossing([0, 4, 8, 16], [0.2, 0.01, 0.03, 0.0], at) > 8
    assert branch_tables.crossing([0, 16], [0.01, 0.0], at) == 0


@pytest.mark.parametrize(
    ("share", "ends", "better", "words"),
    [
        (0.4, (0.3, 0.5), True, "supported (at most 0.5)"),
        (0.7, (0.6, 0.8), True, "fewer, but not 0.5"),
        (0.4, (0.3, 0.5), False, "no difference found"),
        (0.9, (0.8, 1.1), True, "no difference found"),
        (1.2, (1.1, 1.3), False, "more"),
    ],
)
def test_verdicts(share, ends, better, words):
    assert branch_tables.verdict(share, ends, 0.5, better=better) == words


def test_the_first_position_is_left_as_it_is(subject):
    site = branches.SiteBasis(
        "x", torch.ones(2).double(), *(torch.eye(2).double(),) * 2, *(torch.ones(2).double(),) * 2, {}
    )
    x = torch.tensor([[[5.0, 6.0], [7.0, 8.0]]])
    assert np.array_equal(branches.keep(site, 1)(x), [[[5, 6], [7, 1]]])
