"""Activations are kept, spilled or made again: the same numbers, and nothing left behind."""

import logging

import pytest
import torch
from torch import nn

import libasis
from cut.cutting import randn
from libasis.errors import OptionError
from libasis.measure import Records

BATCHES = [randn(20, 5, seed=seed) for seed in range(4)]


def traced():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 3)).double().eval()
    return libasis.trace(model, BATCHES[0], ["input", "2", "output"])


def importances(basis):
    return torch.cat([site.importances for site in basis])


def runs(cut, monkeypatch):
    """How often batches went through the model."""
    seen = []
    original = type(cut).run_batch
    monkeypatch.setattr(
        type(cut), "run_batch", lambda self, batch, first=0: seen.append(batch.index) or original(self, batch, first)
    )
    return seen


def test_kept_spilled_and_run_again_are_the_same(tmp_path, monkeypatch, caplog):
    cut = traced()
    seen = runs(cut, monkeypatch)
    found = {}
    with caplog.at_level(logging.INFO, "libasis"):
        for how, options in {
            "kept": {},
            "files": {"memory": 4000, "spill": tmp_path},
            "again": {"memory": 4000},
        }.items():
            seen.clear()
            basis = libasis.fit(cut, BATCHES, progress=False, **options)
            found[how] = importances(basis), len(seen), basis.info["activations"]
            assert not list(tmp_path.iterdir())
    for values, *_ in found.values():  # memory also decides how much is multiplied at once, which rounds
        torch.testing.assert_close(values, found["kept"][0], rtol=1e-9, atol=0)
    assert found["kept"][1] == found["files"][1] == 4 < found["again"][1]
    assert [how for *_, how in found.values()] == ["kept in memory", "written to files", "run again for every section"]
    assert "give more memory, or a folder as spill" in caplog.text


def test_files_hold_what_the_model_computed(tmp_path):
    cut = traced()
    truth = list(cut.stream(BATCHES))
    records = Records(cut, BATCHES, 1000, tmp_path)
    for _ in range(3):
        for a, b in zip(truth, records.stream(), strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a.activations, b.activations, strict=True))
            assert torch.equal(a.activations[-1], b.activations[-1])
            assert torch.equal(a.output, b.output)
    assert len(list(next(tmp_path.iterdir()).iterdir())) == 4
    records.close()
    assert not list(tmp_path.iterdir())


def test_files_are_removed_after_an_error(tmp_path):
    with pytest.raises(OptionError):
        libasis.fit(traced(), BATCHES, moments="guess", memory=1000, spill=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_one_run_serves_several_calls(monkeypatch):
    cut = traced()
    apart = libasis.interactions(cut, libasis.fit(cut, BATCHES), BATCHES)
    seen = runs(cut, monkeypatch)
    kept = libasis.keep(cut, BATCHES)
    together = libasis.interactions(cut, libasis.fit(cut, kept), kept)
    libasis.ablate_nodes(cut, together, kept, metric=lambda y, _: y.square().sum(-1))
    assert len(seen) == 4
    assert all(torch.equal(a, b) for a, b in zip(apart.edges, together.edges, strict=True))
    assert together.info["data"] == apart.info["data"]
    assert together.info["data"]["source"] == "list of 4 batches"
    assert together.info["data"]["samples"] == 80


def test_what_was_kept_for_another_cut_is_refused():
    kept = libasis.keep(traced(), BATCHES)
    with pytest.raises(OptionError, match="kept for another cut"):
        libasis.fit(traced(), kept)
    with pytest.raises(OptionError, match="kept for another cut"):
        libasis.fit(kept.traced.to(dtype="float32"), kept)


def test_a_spill_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(OptionError, match="nowhere.*no folder"):
        libasis.fit(traced(), BATCHES, spill=tmp_path / "nowhere")


def test_a_kept_pass_outlives_the_calls_and_ends_with_its_block(tmp_path):
    cut = traced()
    with libasis.keep(cut, BATCHES, memory=1000, spill=tmp_path) as kept:
        basis = libasis.fit(cut, kept, progress=False)
        libasis.interactions(cut, basis, kept, progress=False)
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    again = libasis.fit(cut, kept, progress=False)  # the model runs again
    torch.testing.assert_close(importances(again), importances(basis), rtol=1e-9, atol=0)


class Refilled:
    """A loader that fills the same buffers anew for every batch."""

    def __init__(self, batches, kind):
        self.batches, self.kind = batches, kind

    def __iter__(self):
        buffers = [torch.empty_like(part) for part in self.batches[0]]
        for batch in self.batches:
            for buffer, part in zip(buffers, batch, strict=True):
                buffer.copy_(part)
            yield tuple(map(self.kind, buffers))


@pytest.mark.parametrize("kind", [torch.Tensor.numpy, torch.Tensor.detach], ids=["numpy", "torch"])
def test_a_loader_that_fills_its_buffers_anew_gives_the_same(kind, tmp_path):
    data = [(x, torch.randint(0, 3, (20,), generator=torch.Generator().manual_seed(i))) for i, x in enumerate(BATCHES)]
    refilled = Refilled(data, kind)
    cut = traced()
    basis = libasis.fit(cut, data)
    whole = libasis.ablate_nodes(cut, basis, data, metric="cross_entropy", schedule=[2, 4])
    for memory, spill in ((2**30, None), (2000, tmp_path), (2000, None)):
        again = libasis.fit(cut, refilled, memory=memory, spill=spill)
        torch.testing.assert_close(importances(again), importances(basis))
        kept = libasis.keep(cut, refilled, memory=memory, spill=spill)
        scores = libasis.ablate_nodes(cut, basis, kept, metric="cross_entropy", schedule=[2, 4])
        assert scores.base_score == pytest.approx(whole.base_score)
