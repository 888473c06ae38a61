"""Whatever happens while a result is replaced: the old one or the new one is there, whole."""

import errno
import os

import pytest

import libasis
from libasis.errors import StoreError
from libasis.files import write_text
from store.results import Sample, sample
from store.sabotage import Killed, Saboteur

OLD = {"tensors": sample("old"), "plain": Sample("old", info={"side": 1})}
NEW = {"tensors": sample("new"), "plain": Sample("new", info={"side": 2})}


def outcomes(tmp_path, monkeypatch, prepare, act, check, **options):
    """``act`` with a failure at every call, each in a folder of its own; the number of calls there were."""
    for allowed in range(500):
        path = tmp_path / str(allowed) / "result"
        prepare(path)
        with monkeypatch.context() as patch:
            saboteur = Saboteur(patch, allowed, **options)
            try:
                act(path)
            except (Killed, StoreError):
                assert saboteur.done
        saboteur.bury()
        check(path)
        if not saboteur.done:
            return allowed
    raise AssertionError("it never ends")


@pytest.mark.parametrize("new", ["tensors", "plain"])
@pytest.mark.parametrize("old", ["tensors", "plain"])
@pytest.mark.parametrize("error", [None, errno.ENOSPC, errno.EIO], ids=["kill", "full disk", "broken disk"])
def test_a_good_result_is_never_lost(tmp_path, monkeypatch, old, new, error):
    found = []

    def prepare(path):
        OLD[old].save(path)
        (path / "notes.md").write_text("mine")

    def check(path):
        found.append(libasis.load(path).title)
        again = Sample("again") if len(found) % 2 else sample("again")
        again.save(path, force=True)  # what was left in between does not stand in the way
        assert libasis.load(path).title == "again"
        assert {p.name for p in path.iterdir()} - {"tensors.safetensors"} == {"manifest.json", "notes.md"}
        assert (path / "notes.md").read_text() == "mine"
        assert [p.name for p in path.parent.iterdir()] == ["result"]

    failure = None if error is None else OSError(error, os.strerror(error))
    act = lambda path: NEW[new].save(path, force=True)  # noqa: E731
    calls = outcomes(tmp_path, monkeypatch, prepare, act, check, error=failure, half=True)
    assert calls > 15
    assert found[0] == "old"
    assert found[-1] == "new"


@pytest.mark.parametrize("error", [None, errno.ENOSPC], ids=["kill", "full disk"])
def test_a_first_save_is_whole_or_can_be_tried_again(tmp_path, monkeypatch, error):
    found = []

    def check(path):
        try:
            found.append(libasis.load(path).title)
        except StoreError:
            found.append(None)
            if error is not None:
                assert not path.exists() or not list(path.iterdir())
            sample("again").save(path)
            assert libasis.load(path).title == "again"

    failure = None if error is None else OSError(error, os.strerror(error))
    outcomes(tmp_path, monkeypatch, lambda path: None, sample("new").save, check, error=failure, half=True)
    assert found[0] is None
    assert found[-1] == "new"


@pytest.mark.parametrize("error", [None, errno.ENOSPC], ids=["kill", "full disk"])
def test_a_file_alone_is_the_old_or_the_new(tmp_path, monkeypatch, error):
    found = []

    def prepare(path):
        path.parent.mkdir()
        path.write_text("mine: old")

    def check(path):
        found.append(path.read_text())
        if error is not None:
            assert [p.name for p in path.parent.iterdir()] == ["result"]

    failure = None if error is None else OSError(error, os.strerror(error))
    act = lambda path: write_text(path, "mine: new", "mine")  # noqa: E731
    outcomes(tmp_path, monkeypatch, prepare, act, check, error=failure, half=True)
    assert set(found) == {"mine: old", "mine: new"}


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    path = sample("old").save(tmp_path / "result")
    with monkeypatch.context() as patch:
        patch.setattr(
            os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device"))
        )
        with pytest.raises(StoreError, match="cannot be written: No space left on device"):
            sample("new").save(path, force=True)
    assert libasis.load(path).title == "old"
    assert sorted(p.name for p in path.iterdir()) == ["manifest.json", "tensors.safetensors"]
