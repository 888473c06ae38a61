"""Several processes that share the passes: the same bytes as one, and errors told in one sentence."""

import hashlib
import os
import signal
import time

import pytest
import torch

import libasis
from libasis.measure import listening
from measure.forked import forked
from measure.test_checkpoints import BATCHES, everything, model

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def cut():
    return libasis.trace(model(), BATCHES[0][0], ["input", "2:in", "4:in", "output"])


def digest(found):
    parts = [x.numpy().tobytes() if isinstance(x, torch.Tensor) else repr(x).encode() for x in found]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_one_two_and_four_give_the_same_bytes(cut, tmp_path):
    with libasis.checkpoints(tmp_path):
        alone = digest(everything(cut))
    for size in (1, 2, 4):
        assert forked(size, lambda _: digest(everything(cut))) == [alone] * size


def test_one_context_after_the_other(cut):
    """Each makes a group of its own, in whatever order the processes come and go."""

    def work(rank):
        for number in range(4):
            with libasis.distributed(timeout=30) as team:
                libasis.fit(cut, BATCHES[:2], "neuron")
                if rank == number % 3:  # one is late
                    time.sleep(0.05)
        return str(team.size)

    assert forked(3, work, timeout=None) == ["3"] * 3


@pytest.mark.parametrize("options", [{"method": "pca"}, {"memory": 3000}, {"method": "global"}, {"moments": "sketch"}])
def test_every_kind_of_fit(cut, options):
    def work(_):
        return digest([site.C for site in libasis.fit(cut, BATCHES, **options)])

    assert len({*forked(1, work), *forked(2, work)}) == 1


def test_sums_that_are_larger_than_the_activations():
    """Of edges between many features each process makes those of some sections, and sends each once."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(30, 30) if i % 2 == 0 else torch.nn.Tanh() for i in range(5)]
    batches = [torch.randn(3, 30, dtype=torch.float64) for _ in range(16)]
    cut = libasis.trace(torch.nn.Sequential(*layers).double().eval(), batches[0], ["input", "2:in", "output"])
    basis = libasis.fit(cut, batches, "neuron")

    def work(_):
        with libasis.distributed() as team:
            before = team.sent
            edges = libasis.interactions(cut, basis, batches).edges
            return f"{digest(edges)} {team.sent - before}"

    alone, both = forked(1, work), forked(2, work)
    assert {said.split()[0] for said in both} == {alone[0].split()[0]}
    assert int(both[1].split()[1]) < 2 * 16 * 30 * 30  # one of two sections, not eight shards of both


def test_batches_of_several_shapes():
    """Attention sums each length apart; all but the first are put together at the end of a shard."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True).double().eval()
    batches = [torch.randn(2, 3 + i % 3, 8, dtype=torch.float64) for i in range(19)]
    cut = libasis.trace(torch.nn.Sequential(layer), batches[0], ["input", "output"])

    def work(_):
        return digest([site.C for site in libasis.fit(cut, batches)])

    assert len({*forked(1, work), *forked(2, work), *forked(3, work)}) == 1


def test_a_shuffling_loader_is_the_same_in_each(cut):
    loader = torch.utils.data.DataLoader([x for batch, _ in BATCHES for x in batch], 6, shuffle=True)

    def work(rank):
        torch.manual_seed(rank)
        return digest([site.C for site in libasis.fit(cut, loader)])

    assert len(set(forked(2, work))) == 1


def test_what_must_not_be_shared_out_is_told(cut):
    def other(rank):
        return libasis.fit(cut, BATCHES[rank:])

    first, second = forked(2, other)
    assert "other samples than the first" in first
    assert "other samples than the first" in second
    x = torch.cat([x for x, _ in BATCHES])
    loader = torch.utils.data.DataLoader(x, 6, shuffle=True, generator=torch.Generator().manual_seed(0))
    assert all("another order in every pass" in said for said in forked(2, lambda _: libasis.fit(cut, loader)))
    calls = [libasis.fit, lambda cut, batches: libasis.interactions(cut, libasis.fit(cut, batches), batches)]
    assert any("ProcessError" in said for said in forked(2, lambda rank: calls[rank](cut, BATCHES)))


def test_an_error_in_one_is_the_error_of_all(cut):
    bad = [(x.clone(), y) for x, y in BATCHES]
    bad[4][0][0, 0] = torch.nan
    said = forked(2, lambda _: libasis.fit(cut, bad))
    assert said[0].startswith("ActivationError: The activation at site 'input' is not finite (nan) in batch 4")
    assert said[0].count("\n") == 0


@pytest.mark.parametrize("how", ["killed", "hanging"])
def test_a_process_that_is_gone_ends_the_run_and_the_next_goes_on(cut, tmp_path, how):
    with libasis.checkpoints(tmp_path / "whole"):
        truth = digest(everything(cut))
    seen = [0]

    def stop(event):
        seen[0] += event["event"] == "batch"
        if seen[0] == 60:
            os.kill(os.getpid(), signal.SIGKILL) if how == "killed" else time.sleep(8)

    def work(rank):
        if rank:
            with listening(stop):
                return digest(everything(cut))
        with libasis.checkpoints(tmp_path / "run", seconds=0):
            return digest(everything(cut))

    said = forked(2, work, timeout=3.0)
    assert said[0].startswith("ProcessError: Process 1 of 2 has ended or does not answer")
    assert list((tmp_path / "run").glob("*.checkpoint"))
    with libasis.checkpoints(tmp_path / "run") as found:
        assert digest(everything(cut)) == truth
    assert found.read
