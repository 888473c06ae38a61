"""Passes that are gone on with, and shared among processes: the same bits, and nothing finished is done again."""

import contextlib
import os
import signal

import pytest
import torch
from torch import nn

import libasis
from cut.cutting import randn
from libasis.errors import OptionError, StoreError
from libasis.measure import listening
from store.sabotage import Killed, Saboteur

BATCHES = [(randn(6, 5, seed=seed), torch.arange(6) % 3) for seed in range(19)]


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 6), nn.Tanh(), nn.Linear(6, 3)).double().eval()


def everything(cut, batches=BATCHES, **options):
    """The numbers of each stage."""
    basis = libasis.fit(cut, batches, **options)
    graph = libasis.interactions(cut, basis, batches)
    nodes = libasis.ablate_nodes(cut, graph, batches, metric="cross_entropy", sites=["2:in"], schedule=[0, 1, 2])
    options = {"metric": "cross_entropy", "max_drop": 0.1, "sections": ["2:in"], "stable": False}
    edges = libasis.ablate_edges(cut, graph, batches, **options)
    cards = libasis.collect(cut, graph, batches, features=1, tested=0, samples=8)
    return [
        *(site.C for site in basis),
        *graph.edges,
        [curve.scores for curve in (*nodes.curves.values(), *edges.curves.values())],
        cards.to_plain()["cards"],
        basis.info["activations"],
    ]


def same(a, b):
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(a, b, strict=True))


class Stopped(BaseException):
    pass


@contextlib.contextmanager
def left_behind():
    """Files of checkpoints are left as by a run that did not end."""
    with contextlib.suppress(Stopped):
        yield


class Watch:
    """Hears of every batch; stops the run at one of them."""

    def __init__(self, stop_at=None):
        self.events, self.left = [], stop_at

    def __call__(self, event):
        self.events.append(event)
        if self.left is not None and event["event"] == "batch":
            self.left -= 1
            if self.left < 0:
                raise Stopped

    def batches(self):
        return sum(event["event"] == "batch" for event in self.events)


@pytest.fixture(scope="module")
def cut():
    return libasis.trace(model(), BATCHES[0][0], ["input", "2:in", "4:in", "output"])


@pytest.fixture(scope="module")
def whole(cut, tmp_path_factory):
    """The result of a run that nothing stopped, and how many batches it went through."""
    watch = Watch()
    with listening(watch), libasis.checkpoints(tmp_path_factory.mktemp("whole"), seconds=1e9):
        found = everything(cut)
    return found, watch.batches()


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.97])
def test_stopped_at_any_batch_it_is_gone_on_with(cut, whole, tmp_path, share):
    """Of 19 batches a shard has 3, so no more than these and the one at work are gone through again."""
    truth, batches = whole
    first, second = Watch(int(share * batches)), Watch()
    with pytest.raises(Stopped), listening(first), libasis.checkpoints(tmp_path, seconds=0):
        everything(cut)
    with listening(second), libasis.checkpoints(tmp_path, seconds=0):
        found = everything(cut)
    assert same(found, truth)
    assert first.batches() + second.batches() <= batches + 4
    assert not list(tmp_path.iterdir())


def test_killed_before_any_file_is_in_its_place(cut, tmp_path):
    """Between the last shard of a pass and its end too: no shard is added twice."""

    def edges(folder):
        with libasis.checkpoints(folder, seconds=0):
            return libasis.interactions(cut, basis, BATCHES[:5]).edges

    basis = libasis.fit(cut, BATCHES[:5], "pca")
    truth = edges(tmp_path / "whole")
    for allowed in range(20):
        with pytest.MonkeyPatch.context() as patch:
            killer = Saboteur(patch, allowed, calls=("replace",))
            with contextlib.suppress(Killed):
                edges(tmp_path / str(allowed))
        if not killer.done:
            break
        killer.bury()
        assert same(edges(tmp_path / str(allowed)), truth), allowed
    assert allowed == 5  # a file after each shard


def test_as_without_checkpoints_up_to_rounding(cut, whole):
    for a, b in zip(everything(cut)[:7], whole[0], strict=False):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_another_option_begins_anew_and_only_what_depends_on_it(cut, tmp_path):
    def run(watch, **options):
        with listening(watch), left_behind(), libasis.checkpoints(tmp_path, seconds=0):
            libasis.interactions(cut, libasis.fit(cut, BATCHES), BATCHES, **options)
            raise Stopped

    first, again, other = Watch(), Watch(), Watch()
    run(first)
    run(again)
    run(other, method="integrated")
    assert again.batches() == 0
    assert {event["pass"] for event in other.events if event["event"] == "batch"} == {"interactions"}


def test_other_data_weights_or_a_metric_written_anew_are_not_mistaken(tmp_path):
    truths, found = [], []
    other = model()
    with torch.no_grad():
        other[0].weight[0, 0] += 1
    metrics = [lambda out, _: out[:, 0], lambda out, _: out[:, 1]]
    changed = [(BATCHES, model()), (BATCHES[::-1], model()), (BATCHES, other)]
    for collected, folder in ((truths, None), (found, tmp_path)):
        for batches, net in changed:
            traced = libasis.trace(net, BATCHES[0][0], ["input", "2:in", "output"])
            for metric in metrics:
                own = folder or tmp_path / f"own-{len(truths)}"
                with left_behind(), libasis.checkpoints(own, seconds=0):
                    basis = libasis.fit(traced, batches)
                    nodes = libasis.ablate_nodes(traced, basis, batches, metric=metric, schedule=[0, 1])
                    collected.append([basis.sites[0].C, [c.scores for c in nodes.curves.values()]])
                    raise Stopped
    assert all(same(a, b) for a, b in zip(found, truths, strict=True))
    assert not any(same(a, b) for i, a in enumerate(found) for b in found[:i])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed(cut, whole, tmp_path):
    child = os.fork()
    if child == 0:
        with libasis.checkpoints(tmp_path, seconds=0), listening(_kill_after(100)):
            everything(cut)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert list(tmp_path.glob("*.checkpoint"))
    with libasis.checkpoints(tmp_path) as found:
        assert same(everything(cut), whole[0])
    assert found.read > 3


def _kill_after(batches):
    watch = Watch()

    def listen(event):
        watch(event)
        if watch.batches() == batches:
            os.kill(os.getpid(), signal.SIGKILL)

    return listen


def test_a_damaged_file_is_not_used(cut, whole, tmp_path):
    with pytest.raises(Stopped), listening(Watch(40)), libasis.checkpoints(tmp_path, seconds=0):
        everything(cut)
    for file in tmp_path.iterdir():
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    with libasis.checkpoints(tmp_path) as found:
        assert same(everything(cut), whole[0])
    assert found.read == found.taken == 0


def test_a_loader_of_another_order_in_each_pass_has_no_checkpoints(cut, tmp_path):
    x = torch.cat([x for x, _ in BATCHES])
    loader = torch.utils.data.DataLoader(x, 6, shuffle=True, generator=torch.Generator().manual_seed(0))
    with libasis.checkpoints(tmp_path, seconds=0) as found:
        basis = libasis.fit(cut, loader, memory=1000)
        assert not list(tmp_path.iterdir())
    torch.testing.assert_close(basis.sites[0].importances, libasis.fit(cut, BATCHES).sites[0].importances)
    assert found.read == 0


def test_activations_beyond_memory(cut, tmp_path):
    """They are run again, or in files, and the result is that of one go."""
    found = []
    for stop in (None, 30):
        if stop:
            with pytest.raises(Stopped), listening(Watch(stop)), libasis.checkpoints(tmp_path / "c", seconds=0):
                libasis.fit(cut, BATCHES, memory=3000)
        with libasis.checkpoints(tmp_path / "c", seconds=0):
            found.append(libasis.fit(cut, BATCHES, memory=3000))
    assert torch.equal(found[0].sites[0].C, found[1].sites[0].C)
    assert found[0].info == found[1].info


def test_one_process_at_a_time_and_numbers_are_checked(tmp_path):
    with pytest.raises(OptionError, match="give a number of seconds"):
        libasis.checkpoints(tmp_path, seconds=-1).__enter__()
    with libasis.checkpoints(tmp_path / "a"), pytest.raises(StoreError):
        libasis.checkpoints(tmp_path / "a").__enter__()
    with pytest.raises(OptionError):
        libasis.distributed(timeout=0).__enter__()
