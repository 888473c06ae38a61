"""Ablation results as JSON, and back."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..ablation.results import Curve, EdgeAblation, NodeAblation
from ..errors import StoreError
from ..files import write_text
from ..graphs import sparse
from ..types import Plain

FORMAT = "libasis-ablation"


@dataclass(frozen=True)
class Ablations:
    """Both ablations of one graph.

    Attributes:
        nodes: None where it was not asked for.
        edges: None where it was not asked for.
        held_out: whether the data were others than those of the fit.
    """

    nodes: NodeAblation | None
    edges: EdgeAblation | None
    held_out: bool


def save_ablations(path: str | Path, ablations: Ablations, settings: Plain) -> Path:
    """Write as JSON, atomically, with the settings that made them.

    Numbers that are not finite are written as texts ("nan", "inf").
    """
    data: Plain = {"format": FORMAT, "version": 1, "settings": settings, "held_out": ablations.held_out}
    for name in ("nodes", "edges"):
        result = getattr(ablations, name)
        data[name] = None if result is None else to_dict(result, masks=True)
    return write_text(path, json.dumps(data, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def load_ablations(path: str | Path) -> tuple[Ablations, Plain]:
    """Read what `save_ablations` wrote: the ablations and the settings.

    Raises:
        StoreError: the file is missing or is no such file.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        if data["format"] != FORMAT or data["version"] != 1:
            raise StoreError(f"{path} is not an ablation file of this version of libasis.")
        nodes = None if data["nodes"] is None else node_ablation(data["nodes"])
        edges = None if data["edges"] is None else edge_ablation(data["edges"])
        return Ablations(nodes, edges, bool(data["held_out"])), data["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} cannot be read as an ablation file: {type(error).__name__}: {error}.") from error


def to_dict(result: NodeAblation | EdgeAblation, *, masks: bool = False) -> dict[str, Any]:
    """Plain data of a result, JSON-serialisable; the masks of the edges only if asked for."""
    plain = replace(result, curves={}, per_sample=None, **({"masks": {}} if isinstance(result, EdgeAblation) else {}))
    out = asdict(plain)
    del out["per_sample"]
    out["curves"] = {name: [[count, score] for count, score in curve.items()] for name, curve in result.curves.items()}
    out.pop("masks", None)
    if masks and isinstance(result, EdgeAblation):
        out["masks"] = {name: None if mask is None else _pack(mask) for name, mask in result.masks.items()}
    return finite(out)


def node_ablation(data: Mapping[str, Any]) -> NodeAblation:
    """A `NodeAblation` of what `to_dict` made."""
    known = _known(NodeAblation, data)
    known["without_constant"] = float(data["without_constant"])
    return NodeAblation(**known)


def edge_ablation(data: Mapping[str, Any]) -> EdgeAblation:
    """An `EdgeAblation` of what ``to_dict(result, masks=True)`` made."""
    known = _known(EdgeAblation, data)
    known["masks"] = {name: None if m is None else _unpack(m) for name, m in data["masks"].items()}
    known["max_drop"] = float(data["max_drop"])
    return EdgeAblation(**known)


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    known = {field.name: data[field.name] for field in fields(kind) if field.name in data}
    known["base_score"] = float(data["base_score"])
    known["curves"] = {
        name: Curve({int(count): float(score) for count, score in points}) for name, points in data["curves"].items()
    }
    return known


def _pack(mask: Tensor) -> dict[str, Any]:
    """Eight entries to a byte, row by row, in base64; of a sparse mask the places (row, column) as int64."""
    if mask.is_sparse:
        places = mask.coalesce().indices().cpu().numpy().astype("<i8")
        return {"shape": list(mask.shape), "places": base64.b64encode(places.tobytes()).decode("ascii")}
    array = torch.as_tensor(mask).cpu().numpy().astype(bool)
    return {"shape": list(array.shape), "bits": base64.b64encode(np.packbits(array).tobytes()).decode("ascii")}


def _unpack(packed: Mapping[str, Any]) -> Tensor:
    if "places" in packed:
        places = torch.from_numpy(np.frombuffer(base64.b64decode(packed["places"]), "<i8").reshape(2, -1).copy())
        return sparse(places, torch.ones(places.shape[1], dtype=torch.bool), packed["shape"])
    bits = np.frombuffer(base64.b64decode(packed["bits"]), np.uint8)
    size = math.prod(packed["shape"])
    return torch.from_numpy(np.unpackbits(bits, count=size).astype(bool).reshape(packed["shape"]))


def finite(value: Any) -> Any:
    """The same with numbers that are not finite as texts, for JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
