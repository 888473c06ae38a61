"""The graph in other programs' formats: CSV, GraphML, and the JSON of attribution graphs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import StoreError, optional
from ..files import check_file, csv_mark, write_csv, write_text
from ..provenance import versions
from ..types import Plain
from .graph import InteractionGraph

PROMPT = ("Average", " over", " the", " data")
"""Stands where attribution graphs have the prompt; viewers drop a feature that occurs at most of the tokens."""
EDGE_COLUMNS = ("section", "source", "target", "strength", "signed", "source_label", "target_label")
NODE_COLUMNS = ("id", "site", "column", "index", "importance", "variance", "label", "note", "module")
EDGES, NODES = csv_mark(("", *EDGE_COLUMNS[5:])), csv_mark(NODE_COLUMNS)  # with errors of edges in front of them or not
MARKS = {
    "csv": EDGES,
    "graphml": "<!-- libasis -->",
    "json": InteractionGraph.json_mark(),
    "attribution": '{"metadata": {"info": {"generator": {"name": "libasis"',
}
"""By format, what stands at the beginning of the files written here, by which they are known again."""
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_tables(graph: InteractionGraph, path: str | Path, min_strength: float) -> Path:
    """See `InteractionGraph.to_csv`."""
    path = Path(path)
    check_export(path, "csv")
    named = {key: label.label for key, label in graph.labels.items()}
    columns = (*EDGE_COLUMNS[:5], *(["stderr"] if graph.stderr else []), *EDGE_COLUMNS[5:])
    edges = (
        [*row.values(), named.get(row["source"], ""), named.get(row["target"], "")]
        for row in graph.rows(min_strength=min_strength)
    )
    if path.suffix.lower() == ".csv":
        return write_csv(path, columns, edges, EDGES)
    write_csv(path / "features.csv", NODE_COLUMNS, (node.values() for node in graph.nodes()))
    write_csv(path / "edges.csv", columns, edges, EDGES)
    return path


def check_export(path: str | Path, kind: str) -> None:
    """Raise where a file, or for "csv" a folder of files, would not be written.

    Raises:
        StoreError: see `check_file`; or the folder is a link.
    """
    path = Path(path)
    if kind != "csv" or path.suffix.lower() == ".csv":
        check_file(path, MARKS[kind])
        return
    if path.is_symlink():
        raise StoreError(f"{path} is a symbolic link; give the folder that it leads to.")
    check_file(path / "features.csv", NODES)
    check_file(path / "edges.csv", EDGES)


def write_graphml(graph: InteractionGraph, path: str | Path, min_strength: float) -> Path:
    """See `InteractionGraph.to_graphml`."""
    nx = optional("networkx", "graph", "GraphML")
    network = graph.to_networkx(min_strength=min_strength)
    sites = json.dumps(graph.sites, ensure_ascii=False)
    network.graph = {"method": _valid(graph.basis.method), "sites": _valid(sites)}
    network = nx.relabel_nodes(network, {key: _valid(key) for key in network})
    for _, facts in network.nodes(data=True):
        facts.update({key: _valid(value) for key, value in facts.items() if isinstance(value, str)})
    lines = nx.generate_graphml(network)
    text = "\n".join(['<?xml version="1.0" encoding="utf-8"?>', MARKS["graphml"], *lines, ""])
    return write_text(path, text, MARKS["graphml"])


def _valid(text: str) -> str:
    """Characters that XML has not, written as their numbers: different texts stay different."""
    return NOT_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write_attribution(graph: InteractionGraph, path: str | Path, model: str, min_strength: float) -> Path:
    """See `InteractionGraph.to_attribution_json`."""
    ids = {node["id"]: f"{node['column']}_{node['index']}_{len(PROMPT) - 1}" for node in graph.nodes()}
    groups: dict[str, list[str]] = {}
    for key, module in graph.modules.items():
        groups.setdefault(module, []).append(ids[key])
    links = [
        {
            "source": ids[row["source"]],
            "target": ids[row["target"]],
            "weight": math.copysign(math.sqrt(row["strength"]), row["signed"]),
        }
        for row in graph.rows(min_strength=min_strength)
    ]
    settings = {"basis": graph.basis.method, "interactions": graph.info.get("interactions")}
    return write_graph(path, model, _about(graph), PROMPT, (_nodes(graph), links), settings, groups)


def write_graph(
    path: str | Path,
    model: str,
    about: str,
    tokens: Sequence[str],
    parts: tuple[Sequence[Plain], Sequence[Plain]],
    settings: Plain,
    groups: Mapping[str, list[str]] | None = None,
) -> Path:
    """Write nodes and links as an attribution graph; groups of nodes are its supernodes."""
    path, groups = Path(path), groups or {}
    plain = {
        "metadata": {
            "info": {"generator": {"name": "libasis", "version": versions()["libasis"]}, "description": about},
            "slug": re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "libasis",
            "scan": model,
            "transcoder_list": [],
            "prompt_tokens": list(tokens),
            "prompt": "".join(tokens),
            "node_threshold": 1.0,
            "schema_version": 1,
            "generation_settings": settings,
        },
        "qParams": {
            "pinnedIds": [node for members in groups.values() for node in members],
            "supernodes": [[name, *members] for name, members in groups.items()],
            "linkType": "both",
            "clickedId": "",
            "sg_pos": "",
        },
        "nodes": parts[0],
        "links": parts[1],
    }
    return write_text(path, json.dumps(plain, ensure_ascii=False, allow_nan=False), MARKS["attribution"])


def _about(graph: InteractionGraph) -> str:
    return (
        f"Interaction graph of libasis ({graph.basis.method}), an average over data and not of one prompt. Layers are "
        f"the sites {', '.join(graph.sites)}. A link's weight is the root mean square effect with the sign of the mean "
        "effect. p of an output is its share of the outputs' importance and no probability; influence is the "
        "cumulative share of importance at a site."
    )


def _nodes(graph: InteractionGraph) -> list[Plain]:
    last = len(graph.sites) - 1
    rows: list[Plain] = []
    shares = [shares_of(site.importances.tolist()) for site in graph.basis]
    for node in graph.nodes():
        layer, index = node["column"], node["index"]
        share, cumulative = shares[layer][index]
        name = node["label"] or node["id"]
        rows.append(
            node_of(layer, index, len(PROMPT) - 1, name, influence=cumulative, p=share if layer == last else None)
        )
    return rows


def node_of(  # noqa: PLR0913 - what a node has
    layer: int,
    index: int,
    position: int,
    name: str,
    *,
    influence: float | None = None,
    p: float | None = None,
    activation: float | None = None,
) -> Plain:
    """A feature at a position as a node; with ``p`` it is an output."""
    name, output = _plain_text(name), p is not None
    return {
        "node_id": f"{layer}_{index}_{position}",
        "feature": index if output else (layer + index) * (layer + index + 1) // 2 + index,
        "layer": str(layer),
        "ctx_idx": position,
        "feature_type": "logit" if output else "cross layer transcoder",
        "token_prob": p or 0.0,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "jsNodeId": f"L_{index}-0" if output else f"{layer}_{index}-0",
        "clerp": f'Output "{name}" (p={p:.3f})' if output else name,
        "influence": None if output else influence,
        "activation": activation,
    }


def _plain_text(text: str) -> str:
    """Text that viewers may take for HTML, or cut at a quote, is shown with other characters in their place."""
    return text.translate(str.maketrans({"<": "\u2039", ">": "\u203a", '"': "\u201d", "&": "+"}))


def shares_of(importances: Sequence[float]) -> list[tuple[float, float]]:
    """Of each feature its share of the importance, and the share of all that are at least as important."""
    total = sum(importances) or 1.0
    out, above = [(0.0, 0.0)] * len(importances), 0.0
    for i in sorted(range(len(importances)), key=lambda i: -importances[i]):
        above += importances[i] / total
        out[i] = (importances[i] / total, min(above, 1.0))
    return out
