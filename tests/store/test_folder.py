"""Only what libasis wrote is replaced, and only what it wrote is read."""

import json
import os
import re
import socket
import subprocess
import sys
import time

import pytest
import torch

import libasis
from libasis.errors import StoreError
from libasis.files import write_text
from libasis.store import check_target, digest_of
from store.results import DIGEST, Sample, forge, sample, seal


def names(path):
    return sorted(p.name for p in path.iterdir())


def refused(path, result, words, **options):
    """Refused by `check_target` too, and nothing is changed."""
    before = {p: p.lstat().st_mtime_ns for p in path.parent.rglob("*")}
    for call in (lambda: result.save(path, **options), lambda: check_target(path, **options)):
        with pytest.raises(StoreError, match=words) as caught:
            call()
        assert str(path) in str(caught.value)
    assert {p: p.lstat().st_mtime_ns for p in path.parent.rglob("*")} == before


def test_nothing_is_replaced_without_force(tmp_path):
    path = sample("one").save(tmp_path / "deep" / "result")
    refused(path, sample("two"), "force=True")
    sample("two").save(path, force=True)
    assert libasis.load(path).title == "two"
    assert names(path) == ["manifest.json", "tensors.safetensors"]
    assert names(path.parent) == ["result"]


def test_an_empty_folder_may_be_filled(tmp_path):
    sample("one").save(tmp_path)
    assert libasis.load(str(tmp_path)).title == "one"


@pytest.mark.parametrize("order", [(True, False), (False, True), (False, False)], ids=str)
def test_results_with_and_without_tensors_replace_each_other(tmp_path, order):
    for title, tensors in zip(("one", "two", "three"), (*order, order[0]), strict=True):
        result = sample(title) if tensors else Sample(title)
        result.save(tmp_path / "result", force=True)
        assert libasis.load(tmp_path / "result").title == title
        assert names(tmp_path / "result") == ["manifest.json", "tensors.safetensors"][: 1 + tensors]


def test_other_files_in_the_folder_stay(tmp_path):
    path = sample("one").save(tmp_path / "result")
    (path / "notes.md").write_text("mine")
    (path / "old").mkdir()
    (path / "old" / "manifest.json").write_text("mine")
    (path / ".libasis-mine").write_text("mine")
    sample("two").save(path, force=True)
    Sample("three").save(path, force=True)
    assert names(path) == [".libasis-mine", "manifest.json", "notes.md", "old"]
    assert (path / "notes.md").read_text() == (path / "old" / "manifest.json").read_text() == "mine"


@pytest.mark.parametrize("force", [True, False])
def test_foreign_folders_are_never_written_to(tmp_path, force):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("x")
    refused(tmp_path / "precious", sample(), "not a saved libasis result", force=force)
    (tmp_path / "app").mkdir()
    for text in ("{}", '{"format": "libasis-cards", "version": 1}', '{"name": "app"}', "", "["):
        (tmp_path / "app" / "manifest.json").write_text(text)
        refused(tmp_path / "app", sample(), "not a saved libasis result", force=force)
    (tmp_path / "file.txt").write_text("x")
    refused(tmp_path / "file.txt", sample(), "is a file", force=force)


def test_tensors_of_someone_else_are_not_replaced(tmp_path):
    path = Sample("one").save(tmp_path / "result")
    (path / "tensors.safetensors").write_bytes(b"weights")
    refused(path, sample("two"), "was not written by libasis", force=True)
    assert Sample.load(path).title == "one"


def test_links_are_not_followed(tmp_path):
    path = sample("one").save(tmp_path / "result")
    (tmp_path / "link").symlink_to(path)
    refused(tmp_path / "link", sample("two"), "symbolic link", force=True)
    assert libasis.load(tmp_path / "link").title == "one"
    (tmp_path / "nowhere").symlink_to(tmp_path / "none")
    refused(tmp_path / "nowhere", sample("two"), "symbolic link", force=True)
    for name in ("tensors.safetensors", "manifest.json"):
        (tmp_path / name).write_bytes((path / name).read_bytes())
        (path / name).unlink()
        (path / name).symlink_to(tmp_path / name)
        refused(path, sample("two"), "symbolic link", force=True)
    assert libasis.load(path).title == "one"


def test_permissions_of_a_file_are_kept(tmp_path):
    path = sample("one").save(tmp_path / "result")
    (path / "manifest.json").chmod(0o600)
    (path / "tensors.safetensors").chmod(0o640)
    sample("two").save(path, force=True)
    assert [os.stat(path / name).st_mode & 0o777 for name in names(path)] == [0o600, 0o640]
    file = write_text(tmp_path / "page.html", "mine: one", "mine")
    file.chmod(0o600)
    write_text(file, "mine: two", "mine")
    assert os.stat(file).st_mode & 0o777 == 0o600
    usual = tmp_path / "usual"
    usual.write_text("")
    assert os.stat(sample().save(tmp_path / "new") / "manifest.json").st_mode == os.stat(usual).st_mode


def test_a_damaged_result_may_be_replaced(tmp_path):
    path = sample("one").save(tmp_path / "result")
    for name in names(path):
        (path / name).write_bytes((path / name).read_bytes()[:200])
        sample("two").save(path, force=True)
        assert libasis.load(path).title == "two"


def test_two_processes_do_not_save_at_once(tmp_path):
    pytest.importorskip("fcntl")
    path = sample("one").save(tmp_path / "result")
    hold = (
        "import fcntl, os, sys; h = os.open(sys.argv[1], os.O_RDONLY); fcntl.flock(h, fcntl.LOCK_EX); print(1, flush=1)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", f"{hold}; sys.stdin.read()", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    other.stdout.readline()
    with pytest.raises(StoreError, match="Another process is writing to"):
        sample("two").save(path, force=True)
    assert libasis.load(path).title == "one"
    other.kill()  # the lock ends with the process
    other.wait()
    sample("two").save(path, force=True)
    assert libasis.load(path).title == "two"


def test_any_changed_byte_is_found(tmp_path):
    path = sample("one").save(tmp_path / "result")
    for name, step in (("manifest.json", 1), ("tensors.safetensors", 37)):
        file = path / name
        good = file.read_bytes()
        for place in range(0, len(good), step):
            file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            with pytest.raises(StoreError):
                libasis.load(path)
        for end in (0, 1, len(good) // 2, len(good) - 1):
            file.write_bytes(good[:end])
            with pytest.raises(StoreError):
                libasis.load(path)
        file.write_bytes(good)
    assert libasis.load(path).title == "one"


def test_changed_digits_are_found(tmp_path):
    path = Sample("one", info={"score": 0.93}, share=0.125).save(tmp_path / "result")
    file = path / "manifest.json"
    good = file.read_text()
    for digit in re.finditer(r"\d", good):
        place = digit.start()
        file.write_text(good[:place] + str((int(digit[0]) + 1) % 10) + good[place + 1 :])
        with pytest.raises(StoreError):
            libasis.load(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "was not written by libasis"),
        ({"format_version": 3}, "upgrade libasis"),
        ({"format_version": 1}, "no longer reads; make the result again"),
        ({"format_version": "2"}, "was not written by libasis"),
        ({"kind": "painting"}, "kind 'painting', which this libasis does not know"),
        ({"kind": "cards"}, "damaged"),
    ],
)
def test_what_is_of_another_kind_is_refused(tmp_path, change, words):
    path = sample().save(tmp_path / "result")
    forge(path, lambda plain: plain.update(change))
    with pytest.raises(StoreError, match=words):
        libasis.load(path)


def test_results_of_the_first_format_are_told(tmp_path):
    (tmp_path / "graph").mkdir()
    first = {"format": "libasis", "format_version": 1, "kind": "graph", "method": "lib", "sites": []}
    (tmp_path / "graph" / "manifest.json").write_text(json.dumps(first, indent=2))
    (tmp_path / "graph" / "tensors.safetensors").write_bytes(b"old")
    with pytest.raises(StoreError, match="format version 1, which this libasis no longer reads; make the result again"):
        libasis.load(tmp_path / "graph")
    sample().save(tmp_path / "graph", force=True)
    assert libasis.load(tmp_path / "graph").title == "first"
    (tmp_path / "cards.json").write_text('{"format": "libasis-cards", "version": 1}')
    with pytest.raises(StoreError, match="is a file, but a result is a folder"):
        libasis.FeatureCards.load(tmp_path / "cards.json")


def test_missing_things_are_told(tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        libasis.load(tmp_path / "none")
    with pytest.raises(StoreError, match="holds no saved libasis result"):
        libasis.load(tmp_path)
    path = sample().save(tmp_path / "result")
    (path / "tensors.safetensors").unlink()
    with pytest.raises(StoreError, match=r"tensors\.safetensors is missing"):
        libasis.load(path)


def test_a_class_refuses_results_of_another(tmp_path):
    path = sample().save(tmp_path / "result")
    with pytest.raises(StoreError, match="of the kind 'test-sample', not 'graph'; libasis.load reads any"):
        libasis.InteractionGraph.load(path)


HEAD = (
    f'{{"format": "libasis", "format_version": 2, "sha256": "{DIGEST}", "kind": "test-sample", "tensors_sha256": null, '
)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ('"content": ' + "[" * 200_000 + "]" * 200_000 + "}", "nested too deeply"),
        ('"tensors": {}, "content": ' + '{"title": ' * 600 + "1" + "}" * 600 + "}", "nested too deeply"),
        ('"content": ' + "9" * 5_000 + "}", "5,000 digits"),
        ('"content": NaN}', "NaN"),
        ('"content": 1e999}', "tensors is None"),
        ('"content": {', "not JSON"),
        ('"tensors": {}, "content": {"title": "x", "info": {"$float": 3}}}', "cannot be read"),
    ],
    ids=["deep", "less deep", "digits", "nan", "inf", "cut", "mark"],
)
def test_hostile_manifests_with_a_right_checksum(tmp_path, rest, words):
    path = tmp_path / "result"
    path.mkdir()
    seal(path / "manifest.json", HEAD + rest)
    start = time.perf_counter()
    with pytest.raises(StoreError, match=words) as caught:
        libasis.load(path)
    assert time.perf_counter() - start < 5
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["manifest.json", "tensors.safetensors"])
def test_pipes_devices_and_folders_are_not_opened(tmp_path, name):
    path = sample().save(tmp_path / "result")
    start = time.perf_counter()
    (path / name).unlink()
    os.mkfifo(path / name)
    for call in (lambda: libasis.load(path), lambda: sample().save(path, force=True)):
        with pytest.raises(StoreError, match="no regular file"):
            call()
    (path / name).unlink()
    (path / name).symlink_to("/dev/zero")
    with pytest.raises(StoreError, match="no regular file"):
        libasis.load(path)
    (path / name).unlink()
    (path / name).mkdir()
    with pytest.raises(StoreError):
        libasis.load(path)
    with pytest.raises(StoreError, match="is a folder"):
        sample().save(path, force=True)
    (path / name).rmdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path / name))
        with pytest.raises(StoreError):
            libasis.load(path)
    assert time.perf_counter() - start < 5


def test_a_manifest_of_gigabytes_is_not_read(tmp_path):
    path = Sample("x").save(tmp_path / "result")
    os.truncate(path / "manifest.json", 2**33)  # a hole, without a byte on the disk
    start = time.perf_counter()
    with pytest.raises(StoreError, match="has 8,589,934,592 bytes"):
        libasis.load(path)
    Sample("y").save(path, force=True)
    assert libasis.load(path).title == "y"
    assert time.perf_counter() - start < 5


def test_files_that_are_written_alone(tmp_path):
    (tmp_path / "real").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, what in (("link", "a symbolic link"), ("folder", "a folder"), ("pipe", "no regular file")):
        with pytest.raises(StoreError, match=what):
            write_text(tmp_path / name, "new", "new")
    with pytest.raises(StoreError, match="no regular file"):
        write_text("/dev/null", "new", "new")
    assert (tmp_path / "real").read_text() == "mine"
    assert names(tmp_path) == ["folder", "link", "pipe", "real"]
    with pytest.raises(StoreError, match="cannot be written: Not a directory"):
        write_text(tmp_path / "real" / "below", "new", "new")


def test_a_digest_tells_the_numbers_apart(tmp_path):
    one = sample("one")
    other = sample("one", matrix=torch.ones(2, 2))
    found = [digest_of(result.save(tmp_path / str(i))) for i, result in enumerate((one, one, other))]
    named = Sample(**{**vars(one), "title": "two"})
    assert found[0] == found[1] == digest_of(named.save(tmp_path / "named"))
    assert found[2] != found[0]
    plain = [digest_of(Sample(title).save(tmp_path / title)) for title in ("a", "b")]
    assert plain[0] != plain[1]


def test_no_file_runs_code(tmp_path):
    path = sample().save(tmp_path / "result")
    torch.save({"x": torch.ones(1)}, path / "tensors.safetensors")
    with pytest.raises(StoreError, match="checksum"):
        libasis.load(path)
