"""Saving and loading: a directory with safetensors and a JSON manifest, never a pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from ..basis import Basis, SiteBasis
from ..errors import LabelError, StoreError
from ..files import write_bytes
from ..types import Matrix, Plain
from .graph import InteractionGraph
from .labels import labels_to_plain
from .matrices import sparse

FORMAT = "libasis"
FORMAT_VERSION = 1
_PARTS = ("mean", "C", "C_pinv", "importances", "variances")


def save(result: Basis | InteractionGraph, path: str | Path, *, force: bool = False) -> Path:
    """Write a result to a directory; it appears whole or not at all.

    Raises:
        StoreError: the path exists and ``force`` is false, or exists and is no saved result.
    """
    path = Path(path)
    _check_target(path, force)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        _write(result, temporary)
        if path.exists():
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def _check_target(path: Path, force: bool) -> None:
    if not path.exists():
        return
    if not force:
        raise StoreError(f"{path} exists already; choose another directory or say force=True to replace it.")
    if not (path / "manifest.json").is_file():
        raise StoreError(f"{path} exists and is not a saved libasis result, so it is not replaced; choose another.")


def _write(result: Basis | InteractionGraph, folder: Path) -> None:
    graph = result if isinstance(result, InteractionGraph) else None
    basis = graph.basis if graph else result
    assert isinstance(basis, Basis)  # noqa: S101 - for the type checker
    tensors: dict[str, Tensor] = {}
    for i, site in enumerate(basis):
        tensors.update(
            {f"site.{i}.{part}": getattr(site, part).clone(memory_format=torch.contiguous_format) for part in _PARTS}
        )
    for l in range(len(graph.edges) if graph else 0):
        assert graph is not None  # noqa: S101 - for the type checker
        tensors.update(_pack(l, graph.edges[l], graph.signed[l]))
    file = folder / "tensors.safetensors"
    write_bytes(file, to_bytes(tensors))
    manifest: Plain = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": "graph" if graph else "basis",
        "method": basis.method,
        "sites": [{"name": s.name, "rank_report": s.rank_report} for s in basis],
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "basis_info": basis.info,
        "graph_info": graph.info if graph else None,
    }
    if graph and (graph.labels or graph.modules):
        manifest["labels"] = labels_to_plain(graph.labels, graph.modules)
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "manifest.json").write_text(text, encoding="utf-8")


def _pack(l: int, edges: Matrix, signed: Matrix) -> dict[str, Tensor]:
    """The edges of section l; sparse ones as their places and values."""
    if not edges.is_sparse:
        return {f"edges.{l}": edges.contiguous(), f"signed.{l}": signed.contiguous()}
    edges, signed = edges.coalesce(), signed.coalesce()
    return {
        f"edges.{l}.places": edges.indices().contiguous(),
        f"edges.{l}": edges.values().contiguous(),
        f"signed.{l}": signed.values().contiguous(),
    }


def _unpack(l: int, tensors: dict[str, Tensor], shape: tuple[int, int]) -> tuple[Matrix, Matrix]:
    edges, signed = tensors[f"edges.{l}"], tensors[f"signed.{l}"]
    places = tensors.get(f"edges.{l}.places")
    return (edges, signed) if places is None else (sparse(places, edges, shape), sparse(places, signed, shape))


def load(path: str | Path) -> InteractionGraph | Basis:
    """Read what `InteractionGraph.save` or `Basis.save` wrote.

    Raises:
        StoreError: there is nothing there, or it is damaged, foreign or from a newer version.
    """
    path = Path(path)
    manifest = _manifest(path)
    tensors = _tensors(path, manifest["sha256"])
    try:
        sites = tuple(
            SiteBasis(
                name=entry["name"],
                rank_report=entry["rank_report"],
                **{part: tensors[f"site.{i}.{part}"] for part in _PARTS},
            )
            for i, entry in enumerate(manifest["sites"])
        )
        basis = Basis(sites, manifest["method"], manifest["basis_info"])
        if manifest["kind"] == "basis":
            return basis
        shapes = [(target.k, source.k) for source, target in zip(sites[:-1], sites[1:], strict=True)]
        pairs = [_unpack(l, tensors, shape) for l, shape in enumerate(shapes)]
        edges, signed = tuple(e for e, _ in pairs), tuple(s for _, s in pairs)
        graph = InteractionGraph(basis, edges, signed, manifest["graph_info"])
        return graph.with_labels(manifest["labels"]) if "labels" in manifest else graph
    except LabelError as error:
        raise StoreError(f"{path} is damaged: {error} Save the result again.") from error
    except (KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged: its manifest or tensors lack {error}; save the result again.") from error


def _manifest(path: Path) -> Plain:
    file = path / "manifest.json"
    if not file.is_file():
        raise StoreError(f"{path} holds no saved libasis result (no manifest.json in it); give the directory saved to.")
    try:
        manifest: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{file} is damaged: it is not JSON ({error}); save the result again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{file} was not written by libasis; give a directory that graph.save(dir) wrote.")
    version = manifest.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise StoreError(
            f"{path} has format version {version!r}, but this libasis reads versions up to {FORMAT_VERSION}; "
            "upgrade libasis."
        )
    missing = {"kind", "method", "sites", "sha256", "basis_info"} - set(manifest)
    if missing:
        raise StoreError(f"{file} is damaged: it lacks {sorted(missing)}; save the result again.")
    return manifest


def _tensors(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    file = path / "tensors.safetensors"
    if not file.is_file():
        raise StoreError(f"{path} is damaged: tensors.safetensors is missing; save the result again.")
    if hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
        raise StoreError(f"{file} is damaged: its checksum differs from the manifest's; save the result again.")
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise StoreError(f"{file} is damaged ({error}); save the result again.") from error
