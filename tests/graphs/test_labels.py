"""Names of features travel with the graph, and only names of its own features do."""

import json

import pytest

import chains
import libasis
from libasis import Label
from libasis.errors import LabelError
from libasis.graphs.labels import MAX_NAME, MAX_NOTE

HOSTILE = '</script><img src=x onerror=alert(1)>"\x00\u202e\U0001f600 値\n'


@pytest.fixture(scope="module")
def graph():
    sections, x = chains.SECTIONS["mlp"](), chains.data("mlp")
    traced = chains.chain(sections)
    return libasis.interactions(traced, libasis.fit(traced, [x], progress=False), [x], progress=False)


def file_of(labels=None, modules=None, **changes):
    tables = {"labels": labels, "modules": modules}
    named = {key: table for key, table in tables.items() if table is not None}
    return {"format": "libasis-labels", "version": 1, **named, **changes}


@pytest.fixture
def labelled(graph):
    return graph.with_labels(
        file_of({"s0:0": {"label": HOSTILE, "note": "a" * MAX_NOTE}, "output:1": {"label": "b"}}, {"s1:2": HOSTILE})
    )


def test_the_graph_itself_stays_without_labels(graph, labelled):
    assert labelled.labels == {"s0:0": Label(HOSTILE, "a" * MAX_NOTE), "output:1": Label("b")}
    assert labelled.modules == {"s1:2": HOSTILE}
    assert (graph.labels, graph.modules) == ({}, {})
    assert labelled.edges is graph.edges


def test_labels_survive_saving_and_loading(graph, labelled, tmp_path):
    back = libasis.load(labelled.save(tmp_path / "graph"))
    assert (back.labels, back.modules) == (labelled.labels, labelled.modules)
    plain = graph.save(tmp_path / "plain")
    assert libasis.load(plain).labels == {}


def test_labels_survive_their_own_file(graph, labelled, tmp_path):
    path = labelled.save_labels(tmp_path / "labels.json")
    for source in (path, str(path), json.loads(path.read_text())):
        back = graph.with_labels(source)
        assert (back.labels, back.modules) == (labelled.labels, labelled.modules)


def test_what_is_given_replaces_and_what_is_not_stays(labelled):
    assert labelled.with_labels(file_of({"s0:1": {"label": "x"}})).labels == {"s0:1": Label("x")}
    assert labelled.with_labels(file_of({"s0:1": {"label": "x"}})).modules == labelled.modules
    assert labelled.with_labels(file_of(modules={})).labels == labelled.labels
    more = labelled.with_labels({**labelled.labels, "s0:1": "x", "s0:2": Label("y", "z")})
    assert more.labels == {**labelled.labels, "s0:1": Label("x"), "s0:2": Label("y", "z")}


def test_labels_are_shown_wherever_features_are(labelled, tmp_path):
    nodes = {node["id"]: node for node in labelled.nodes()}
    assert (nodes["s0:0"]["label"], nodes["s0:1"]["label"], nodes["s1:2"]["module"]) == (HOSTILE, "", HOSTILE)
    assert labelled.to_networkx().nodes["output:1"]["label"] == "b"
    frame = labelled.to_dataframe()
    assert set(frame[frame.target == "output:1"].target_label) == {"b"}
    assert set(frame[frame.source == "s0:0"].source_label) == {HOSTILE}
    written = json.loads(labelled.to_json(tmp_path / "graph.json").read_text())
    assert {node["id"]: node["label"] for node in written["nodes"]}["s0:0"] == HOSTILE


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"s9:0": "x"}, "'s9:0', but the graph has the features s0:0 to s0:5"),
        ({"s0:6": "x", "s0:7": "y"}, "'s0:6' and 1 more"),
        ({"s0:-1": "x"}, "'s0:-1'"),
        ({"s0:01": "x"}, "'s0:01'"),
        ({"s0:²": "x"}, "'s0:²'"),
        ({"s0": "x"}, "'s0'"),
        ({0: "x"}, "the feature 0"),
        ({"s0:" + "9" * 10_000: "x"}, "99..."),
        ({"s0:0": 3}, "must be a text or"),
        ({"s0:0": {"label": "x", "why": "y"}}, "must be a text or"),
        ({"s0:0": {"label": None}}, "label of 's0:0' is None"),
        ({"s0:0": {"label": "x", "note": ["y"]}}, "note of 's0:0'"),
        ({"s0:0": "x" * (MAX_NAME + 1)}, "1,001 characters"),
        ({"s0:0": Label("x", "y" * (MAX_NOTE + 1))}, "100,001 characters"),
        ({"s0:0": "\ud83d"}, "half a character"),
        (file_of(modules={"s0:0": {"label": "x"}}), "module of 's0:0'"),
        (file_of(modules={"s0:7": "x"}), '"modules" names the feature'),
        (file_of(labels=["s0:0"]), "must map features"),
        (file_of({}, format="other"), "\"format\" is 'other'"),
        (file_of({}, version=2), "upgrade libasis"),
        (file_of({}, version="1"), "\"version\" is '1'"),
        (file_of({}, version=True), '"version" is True'),
        (file_of({}, lables={}), "unknown key 'lables'"),
        (7, "of type int"),
    ],
)
def test_wrong_labels_are_told(graph, source, words):
    with pytest.raises(LabelError) as caught:
        graph.with_labels(source)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", '"format" is not'),
        ('{"labels": {}}', '"format" is not'),
        ('{"format": "libasis-labels"}', 'lacks "version"'),
        (b"\xff\xfe", "not JSON"),
        ('{"format": "libasis-labels", "version": ' + "9" * 5000 + "}", "5,000 digits"),
        ('{"format": "libasis-labels", "version": NaN}', "not JSON"),
        (None, "no such file"),
    ],
)
def test_wrong_files_are_told(graph, tmp_path, text, words):
    path = tmp_path / "labels.json"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LabelError, match=words):
        graph.with_labels(path)
