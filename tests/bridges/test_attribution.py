"""The attribution graph of one input holds first-order contributions, held against derivatives taken by hand."""

import json
from pathlib import Path

import jsonschema
import pytest
import torch
from torch import nn

import libasis
from libasis import bridges
from libasis.errors import OptionError

SCHEMA = json.loads((Path(__file__).parents[1] / "graphs" / "attribution.schema.json").read_text())
D, S = 5, 4


class Layer(nn.Module):
    """Each position reads from itself and from those before it."""

    def __init__(self):
        super().__init__()
        self.site, self.mix, self.own = nn.Identity(), nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, x):
        x = self.site(x)
        return x + torch.tanh(self.own(x)) * torch.sigmoid(self.mix(x).cumsum(1))


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, D), Layer(), Layer(), nn.Linear(D, 6)).eval().double()
    x = torch.randint(0, 7, (30, S))
    traced = libasis.trace(model, x, ["1.site", "2.site", "output"])
    return traced, libasis.build(model, [x], sites=["1.site", "2.site", "output"], progress=False), x[:1]


def drawn(path, traced, graph, x, **options):
    plain = json.loads(bridges.attribution_graph(path / "one.json", traced, graph, x, **options).read_text())
    jsonschema.validate(plain, SCHEMA)
    return plain


def test_links_are_features_times_derivatives(made, tmp_path):
    traced, graph, x = made
    plain = drawn(tmp_path, traced, graph, x, output=2, tokens=["a", " b", " c", " d"], most=100)
    model, basis = traced.model, graph.basis
    h = [model[0](x)]
    h.append(model[1](h[0]))

    def features(z):
        return basis[1].encode(model[1](basis[0].decode(z)))

    z = [site.encode(one) for site, one in zip(basis, h, strict=False)]
    rest = h[0] - basis[0].decode(z[0])
    assert rest.abs().max() < 1e-8
    J = torch.autograd.functional.jacobian(features, z[0])[0, :, :, 0]  # [t, j, s, i]
    out = torch.autograd.functional.jacobian(lambda v: model[2:](basis[1].decode(v))[0, -1, 2], z[1])[0]
    weights = {(link["source"], link["target"]): link["weight"] for link in plain["links"]}
    for t in range(S):
        for j in range(basis[1].k):
            if out[t, j]:
                found = weights[f"1_{j}_{t}", f"2_2_{S - 1}"]
                assert found == pytest.approx(float(out[t, j] * z[1][0, t, j]), rel=1e-6, abs=1e-9)
            for s in range(S):
                for i in range(basis[0].k):
                    found = weights.get((f"0_{i}_{s}", f"1_{j}_{t}"), 0.0)
                    assert found == pytest.approx(float(J[t, j, s, i] * z[0][0, s, i]), rel=1e-5, abs=1e-8)
    assert all(int(a.split("_")[2]) <= int(b.split("_")[2]) for a, b in weights)  # nothing reads from later ones
    node = {one["node_id"]: one for one in plain["nodes"]}
    assert node["1_0_1"]["activation"] == pytest.approx(float(z[1][0, 1, 0]))
    assert node[f"2_2_{S - 1}"]["token_prob"] == pytest.approx(float(model(x)[0, -1].softmax(-1)[2]))
    assert plain["metadata"]["prompt"] == "a b c d"


def test_the_strongest_are_shown_with_their_names(made, tmp_path):
    traced, graph, x = made
    full = drawn(tmp_path, traced, graph, x, most=100)
    few = drawn(tmp_path, traced, graph.with_labels({"labels": {"2.site:0": {"label": "first"}}}), x, most=3)
    best = int(traced.model(x)[0, -1].argmax())
    assert [n["node_id"] for n in few["nodes"] if n["layer"] == "2"] == [f"2_{best}_{S - 1}"]
    assert sum(n["layer"] == "0" for n in few["nodes"]) == 3
    into = sorted((l for l in full["links"] if l["target"].startswith("2_")), key=lambda l: -abs(l["weight"]))
    assert {l["source"] for l in into[:3]} == {n["node_id"] for n in few["nodes"] if n["layer"] == "1"}
    names = {n["clerp"] for n in drawn(tmp_path, traced, graph.basis, x)["nodes"]}
    assert "2.site:0" in names
    relabelled = graph.with_labels({"labels": {"2.site:0": {"label": "first"}}})
    assert "first" in {n["clerp"] for n in drawn(tmp_path, traced, relabelled, x)["nodes"]}
    assert len({n["node_id"] for n in full["nodes"]}) == len(full["nodes"])


def test_of_a_linear_model_links_into_the_output_add_up(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, D), nn.Linear(D, 3)).eval()
    x = torch.randn(50, 4)
    traced = libasis.trace(model, x, ["input", "0", "output"], dtype="float64")
    basis = libasis.fit(traced, [x], progress=False)
    plain = drawn(tmp_path, traced, basis, x[:1], output=1)
    change = float((model(x[:1]) - model(x).mean(0))[0, 1])
    assert sum(l["weight"] for l in plain["links"] if l["target"].startswith("2_")) == pytest.approx(change, rel=1e-4)
    assert {n["ctx_idx"] for n in plain["nodes"]} == {1}


def of_last(plain):
    return next(node for node in plain["nodes"] if node["is_target_logit"])


@pytest.mark.parametrize("width", [3, 2**14 + 1])
def test_of_a_last_site_with_features_of_its_own_the_output_is_explained(width, tmp_path):
    """Rotated, or too wide for coordinates of its own: the number is the output's, and so are name and probability."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, D), nn.Linear(D, width)).eval()
    x = torch.randn(50, 4)
    traced = libasis.trace(model, x, ["input", "0", "output"], dtype="float64")
    basis = libasis.fit(traced, [x], rotate_final=width == 3, progress=False)
    y, mean = model.double()(x.double()), model.double()(x.double()).mean(0)
    model.float()
    for asked in ({}, {"output": 2}):
        number = asked.get("output", int(y[0].argmax()))
        plain = drawn(tmp_path, traced, basis, x[:1], **asked)
        node = of_last(plain)
        assert (node["node_id"], node["clerp"].split(" (p=")[0]) == (f"2_{number}_1", f'Output "output {number}"')
        assert node["token_prob"] == pytest.approx(float(y[0].softmax(0)[number]), rel=1e-4)
        into = sum(link["weight"] for link in plain["links"] if link["target"] == node["node_id"])
        assert node["activation"] == pytest.approx(float((y[0] - mean)[number]), rel=1e-4, abs=1e-5)
        assert into == pytest.approx(node["activation"], rel=1e-4, abs=1e-5)  # the model is linear
    labels = {"labels": {"output:1": {"label": "mine"}}}
    graph = libasis.interactions(traced, basis, [x], progress=False).with_labels(labels)
    plain = drawn(tmp_path, traced, graph, x[:1], feature=1)
    node, value = of_last(plain), float(basis[-1].encode(y[0])[1])
    assert (node["clerp"], node["token_prob"]) == ('Output "mine" (p=1.000)', 1.0)
    into = sum(link["weight"] for link in plain["links"] if link["target"] == node["node_id"])
    assert (node["activation"], into) == (pytest.approx(value, rel=1e-4), pytest.approx(value, rel=1e-4))
    assert "mine" not in of_last(drawn(tmp_path, traced, graph, x[:1], output=1))["clerp"]
    for wrong, words in (
        ({"output": width}, f"output is {width}, but the last site 'output' has {width}"),
        ({"feature": basis[-1].k}, f"feature is {basis[-1].k}, but the last site 'output' has {basis[-1].k}"),
        ({"output": 0, "feature": 0}, "give one of them"),
    ):
        with pytest.raises(OptionError, match=words):
            drawn(tmp_path, traced, graph, x[:1], **wrong)


def test_an_input_of_which_no_position_counts_is_refused(made, tmp_path):
    traced, graph, x = made
    blind = traced.to(mask=lambda inputs: torch.zeros_like(inputs[0]))
    with pytest.raises(OptionError, match="No position of this input counts"):
        bridges.attribution_graph(tmp_path / "one.json", blind, graph, x)


def test_circuit_tracer_reads_it(made, tmp_path):
    models = pytest.importorskip("circuit_tracer.frontend.graph_models", reason="pip install --no-deps circuit-tracer")
    traced, graph, x = made
    plain = drawn(tmp_path, traced, graph, x)
    read = models.Model(**plain).model_dump()
    assert (read["nodes"], read["links"]) == (plain["nodes"], plain["links"])


def test_what_cannot_be_drawn_is_refused(made, tmp_path):
    traced, graph, x = made
    for options, words in (
        ({"output": 6}, "has 6, from 0 to 5"),
        ({"tokens": ["a"]}, "There are 1 tokens; give one for each of 4 positions"),
        ({"most": 0}, "at least one feature"),
    ):
        with pytest.raises(OptionError, match=words):
            bridges.attribution_graph(tmp_path / "one.json", traced, graph, x, **options)
    with pytest.raises(OptionError, match="There are 2 inputs"):
        bridges.attribution_graph(tmp_path / "one.json", traced, graph, torch.cat([x, x]))
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(libasis.LibasisError, match="not written by libasis"):
        bridges.attribution_graph(tmp_path / "mine.json", traced, graph, x)
