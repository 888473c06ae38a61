"""Other programs read the same graph."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import jsonschema
import networkx
import pytest

import chains
import libasis
from report.synthetic import make_graph

SCHEMA = json.loads(Path(__file__).with_name("attribution.schema.json").read_text())
HOSTILE = '=1+1,"<b>\n</node>\x00値'


@pytest.fixture(scope="module", params=[None, 2])
def graph(request):
    sections, x = chains.SECTIONS["mlp"](), chains.data("mlp")
    traced = chains.chain(sections)
    basis = libasis.fit(traced, [x], progress=False)
    graph = libasis.interactions(traced, basis, [x], top_k=request.param, progress=False)
    modules = {"s0:0": "one", "s1:1": "one", "output:2": "two"}
    return graph.with_labels({"labels": {"s0:0": {"label": HOSTILE}}, "modules": modules})


def test_tables_hold_the_edges_and_the_features(graph, tmp_path):
    def read(path):
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    folder = graph.to_csv(tmp_path / "tables")
    edges, features = read(folder / "edges.csv"), read(folder / "features.csv")
    truth = list(graph.rows())
    assert [(r["source"], r["target"]) for r in edges] == [(r["source"], r["target"]) for r in truth]
    assert [float(r["strength"]) for r in edges] == [r["strength"] for r in truth]
    assert [float(r["signed"]) for r in edges] == [r["signed"] for r in truth]
    assert {r["source_label"] for r in edges if r["source"] == "s0:0"} == {f"'{HOSTILE}"}
    assert [r["id"] for r in features] == [node["id"] for node in graph.nodes()]
    assert [float(r["importance"]) for r in features] == [node["importance"] for node in graph.nodes()]
    assert read(graph.to_csv(tmp_path / "alone.csv")) == edges
    strongest = max(r["strength"] for r in truth)
    assert read(graph.to_csv(tmp_path / "none.csv", min_strength=strongest)) == []
    assert {p.name for p in tmp_path.rglob("*")} == {"tables", "edges.csv", "features.csv", "alone.csv", "none.csv"}


def test_graphml_comes_back_as_the_same_network(graph, tmp_path):
    back = networkx.read_graphml(graph.to_graphml(tmp_path / "graph.graphml"))
    truth = graph.to_networkx()
    assert set(back) == set(truth)
    assert {e: d["strength"] for *e, d in back.edges(data=True) for e in [tuple(e)]} == {
        tuple(e): d["strength"] for *e, d in truth.edges(data=True)
    }
    assert back.nodes["s0:0"]["label"] == HOSTILE.replace("\x00", r"\u0000")  # XML has no such character
    assert back.nodes["s1:1"]["module"] == "one"
    assert json.loads(back.graph["sites"]) == list(graph.sites)


def test_attribution_graphs_follow_the_schema(graph, tmp_path):
    plain = json.loads(graph.to_attribution_json(tmp_path / "My graph.json", model="tiny").read_text())
    jsonschema.validate(plain, SCHEMA)
    assert (plain["metadata"]["slug"], plain["metadata"]["scan"]) == ("my-graph", "tiny")
    ids = [node["node_id"] for node in plain["nodes"]]
    assert len(set(ids)) == len(ids) == sum(site.k for site in graph.basis)
    assert len({node["jsNodeId"] for node in plain["nodes"]}) == len(ids)
    assert {end for link in plain["links"] for end in (link["source"], link["target"])} <= set(ids)


def test_attribution_graphs_hold_the_same_edges(graph, tmp_path):
    plain = json.loads(graph.to_attribution_json(tmp_path / "graph.json").read_text())
    truth = list(graph.rows())
    assert len(plain["links"]) == len(truth)
    for link, row in zip(plain["links"], truth, strict=True):
        layer, index, _ = link["target"].split("_")
        assert row["target"] == f"{graph.sites[int(layer)]}:{index}"
        assert link["weight"] ** 2 == pytest.approx(row["strength"])
        assert math.copysign(1, link["weight"]) == math.copysign(1, row["signed"])


def test_what_viewers_do_with_attribution_graphs_works(graph, tmp_path):
    """They cut a probability and a name out of an output's label, and drop what is at most of the tokens."""
    plain = json.loads(graph.to_attribution_json(tmp_path / "graph.json").read_text())
    nodes = plain["nodes"]
    assert {node["feature_type"] for node in nodes if node["layer"] == "2"} == {"logit"}
    for node in nodes:
        assert node["ctx_idx"] < len(plain["metadata"]["prompt_tokens"])
        if node["feature_type"] == "logit":
            assert float(node["clerp"].split("(p=")[1].split(")")[0]) == pytest.approx(node["token_prob"], abs=5e-4)
            assert node["clerp"].split('"')[1] == f"output:{node['node_id'].split('_')[1]}"
    once = [(node["layer"], node["feature"]) for node in nodes]
    assert len(set(once)) == len(once)
    assert len(plain["metadata"]["prompt_tokens"]) * 2 / 3 >= 1
    assert sum(node["token_prob"] for node in nodes) == pytest.approx(1)
    assert "<" not in nodes[0]["clerp"]
    assert plain["qParams"]["supernodes"] == [["one", "0_0_3", "1_1_3"], ["two", "2_2_3"]]
    assert max(node["influence"] for node in nodes if node["layer"] == "0") == pytest.approx(1)


def test_circuit_tracer_reads_and_serves_attribution_graphs(graph, tmp_path):
    """By its own classes, which fill in what is missing and drop what is unknown, and its own server."""
    models = pytest.importorskip("circuit_tracer.frontend.graph_models", reason="pip install --no-deps circuit-tracer")
    from circuit_tracer.frontend.local_server import serve
    from circuit_tracer.frontend.utils import add_graph_metadata

    path = graph.to_attribution_json(tmp_path / "mine.json")
    plain = json.loads(path.read_text())
    read = models.Model(**plain).model_dump()
    assert read["nodes"] == plain["nodes"]
    assert read["links"] == plain["links"]
    assert read["qParams"] == plain["qParams"]
    assert {key: plain["metadata"][key] for key in read["metadata"]} == read["metadata"]
    for node in plain["nodes"]:
        layer, index, position = map(int, node["node_id"].split("_"))
        if node["feature_type"] != "logit":
            theirs = models.Node.feature_node(layer, position, index, influence=node["influence"])
            assert {**theirs.model_dump(), "clerp": node["clerp"]} == node
    add_graph_metadata(plain["metadata"], tmp_path)
    server = serve(tmp_path, port=0)
    try:
        where = f"http://localhost:{server.httpd.server_address[1]}"
        [listed] = json.load(urlopen(f"{where}/data/graph-metadata.json"))["graphs"]
        assert json.load(urlopen(f"{where}/graph_data/{listed['slug']}.json")) == plain
    finally:
        server.stop()


FORMULAS = [
    "=1+1",
    "\u200b=1+1",
    "\ufeff =1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "\n=1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20A1",
]


@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_no_cell_is_a_formula(graph, tmp_path, text):
    """Whatever people write, a spreadsheet shows it and computes nothing; numbers stay numbers."""
    named = graph.with_labels({"labels": {"s0:0": {"label": text, "note": text}}, "modules": {"s0:0": text}})
    folder = named.to_csv(tmp_path / "tables")
    for name in ("edges.csv", "features.csv"):
        with open(folder / name, newline="", encoding="utf-8") as file:
            cells = [cell for row in list(csv.reader(file))[1:] for cell in row]
        assert f"'{text}" in cells
        assert text not in cells
        for cell in cells:
            if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
                float(cell)


def test_graphml_takes_any_name(tmp_path):
    """Names that differ only in what XML cannot hold stay different."""
    graph = make_graph((2, 2, 2), ("a\x01", "a\x02", "=\ufffe<&"))
    named = replace(graph, basis=replace(graph.basis, method="m\x0b"))
    named = named.with_labels({"labels": {"a\x01:0": "x\x1f\ufffe"}, "modules": {"a\x02:1": "]]>\x00"}})
    back = networkx.read_graphml(named.to_graphml(tmp_path / "graph.graphml"))
    assert len(back) == 6
    assert back.number_of_edges() == named.to_networkx().number_of_edges()
    assert back.nodes[r"a\u0001:0"]["label"] == r"x\u001f\ufffe"
