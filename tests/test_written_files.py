"""Every file that Python writes: only an older one of its own kind is replaced, and it keeps its permissions."""

import os
import socket
from pathlib import Path

import pytest
import torch
from torch import nn

import libasis
from libasis.errors import StoreError
from libasis.report import draw_spectra, to_svg


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    x = torch.randn(20, 3)
    batches = [(x, (x[:, 0] > 0).long())]
    traced = libasis.trace(model, x, ["0:in", "2:in", "output"])
    graph = libasis.interactions(traced, libasis.fit(traced, batches, progress=False), batches, progress=False)
    return graph, libasis.ablate_nodes(traced, graph, batches, progress=False), libasis.diff(graph, graph)


WRITERS = {
    "page.html": lambda made, path: made[0].to_html(path),
    "graph.json": lambda made, path: made[0].to_json(path),
    "edges.csv": lambda made, path: made[0].to_csv(path),
    "graph.graphml": lambda made, path: made[0].to_graphml(path),
    "attribution.json": lambda made, path: made[0].to_attribution_json(path),
    "labels.json": lambda made, path: made[0].save_labels(path),
    "basis.json": lambda made, path: made[0].basis.to_json(path),
    "nodes.json": lambda made, path: made[1].to_json(path),
    "diff.html": lambda made, path: made[2].to_html(path),
    "diff.json": lambda made, path: made[2].to_json(path),
    "tables/edges.csv": lambda made, path: made[0].to_csv(path.parent),
    "tables/features.csv": lambda made, path: made[0].to_csv(path.parent),
}
FOREIGN = {
    "text": "mine",
    "empty": "",
    "page": "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>mine</title>",
    "JSON": '{"format": "mine"}',
    "table": "section,source,target,strength,signed,source_label,target_label,remarks\r\n1,a,b,1,1,,,mine\r\n",
    "network": '<?xml version="1.0" encoding="utf-8"?>\n<graphml></graphml>',
    "late mark": " " * 5000 + '<meta name="generator" content="libasis">{"format":"libasis-graph-json"<!-- libasis -->',
}


@pytest.mark.parametrize("name", WRITERS)
def test_an_older_file_is_replaced_and_keeps_its_permissions(made, tmp_path, name):
    path = tmp_path / name
    WRITERS[name](made, path)
    first = path.read_bytes()
    path.chmod(0o600)
    WRITERS[name](made, path)
    assert path.read_bytes() == first
    assert os.stat(path).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_of_someone_else_is_refused(made, tmp_path, name, foreign):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(FOREIGN[foreign].encode())
    with pytest.raises(StoreError, match=r"exists and was not written by libasis, so it is not replaced") as error:
        WRITERS[name](made, path)
    assert str(path) in str(error.value)
    assert path.read_bytes() == FOREIGN[foreign].encode()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_of_another_kind_is_refused(made, tmp_path, name):
    path = tmp_path / name
    for other, write in WRITERS.items():
        if Path(other).suffix == path.suffix == ".html" or {other, name} <= {"edges.csv", "tables/edges.csv"}:
            continue
        if other != name:
            source = tmp_path / "other" / other
            write(made, source)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(source.read_bytes())
            with pytest.raises(StoreError, match="was not written by libasis"):
                WRITERS[name](made, path)
    manifest = made[0].save(tmp_path / "graph") / "manifest.json"
    path.write_bytes(manifest.read_bytes())
    with pytest.raises(StoreError, match="was not written by libasis"):
        WRITERS[name](made, path)


@pytest.mark.parametrize("name", WRITERS)
def test_links_folders_pipes_and_devices_are_refused(made, tmp_path, name):
    path, own = tmp_path / name, tmp_path / "own"
    WRITERS[name](made, path)
    path.replace(own)
    kept = own.read_bytes()
    makers = {
        "a symbolic link": [lambda: path.symlink_to(own), lambda: path.symlink_to(tmp_path / "nowhere")],
        "a folder": [path.mkdir],
        "no regular file": [lambda: os.mkfifo(path), lambda: bind(path)],
    }
    for what, ways in makers.items():
        for make in ways:
            make()
            with pytest.raises(StoreError, match=f"is {what}, which is not replaced"):
                WRITERS[name](made, path)
            path.rmdir() if path.is_dir() else path.unlink()
    assert own.read_bytes() == kept
    assert not (tmp_path / "nowhere").exists()


def bind(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


def test_a_folder_of_tables_that_is_a_link_is_refused(made, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StoreError, match="is a symbolic link; give the folder that it leads to"):
        made[0].to_csv(tmp_path / "link")
    assert not list((tmp_path / "real").iterdir())


def test_one_table_of_someone_else_stops_both(made, tmp_path):
    (tmp_path / "edges.csv").write_text("mine")
    with pytest.raises(StoreError, match=r"edges\.csv exists"):
        made[0].to_csv(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["edges.csv"]


def test_what_a_killed_process_left_is_removed_and_what_lives_is_not(made, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    dead, alive = (tmp_path / f".libasis-{c * 16}.tmp" for c in "0a")
    mine = tmp_path / ".libasis-mine.tmp"
    for path in (dead, alive, mine):
        path.write_text("half")
    with alive.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        made[0].to_json(tmp_path / "graph.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive.name, mine.name, "graph.json"])


def test_figures_say_that_libasis_drew_them(made):
    pytest.importorskip("matplotlib")
    assert "<dc:title>libasis</dc:title>" in to_svg(draw_spectra([made[0]]))[:4096]
