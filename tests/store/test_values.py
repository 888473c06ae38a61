"""Any result comes back as it was, and what could not be read again is not saved."""

import json
import math
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import libasis
from libasis.errors import StoreError
from store.results import Point, Sample, Steps, forge, sample


def same(a, b):
    """Equal in type and value; nan equals nan, a tuple in plain data a list."""
    if isinstance(a, torch.Tensor):
        return a.layout == b.layout and a.dtype == b.dtype and torch.equal(a.to_dense(), b.to_dense())
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, dict | Steps):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return (a == b and type(b) in (type(a), float)) or (a != a and b != b)


def test_a_bit_of_everything_comes_back(tmp_path):
    before = sample()
    after = libasis.load(before.save(tmp_path / "sample"))
    assert type(after) is Sample
    assert same(before, after)
    assert isinstance(after.points, tuple)
    assert isinstance(after.steps, Steps)
    assert list(after.by_number) == [7]
    assert after.matrix.is_sparse
    assert sorted(p.name for p in (tmp_path / "sample").iterdir()) == ["manifest.json", "tensors.safetensors"]


def test_a_result_without_tensors_is_one_file(tmp_path):
    path = Sample("plain", points=(Point("a", (1, 2.0)),)).save(tmp_path / "sample")
    assert [p.name for p in path.iterdir()] == ["manifest.json"]
    assert Sample.load(path).points == (Point("a", (1, 2.0)),)


def test_the_same_result_is_the_same_bytes(tmp_path):
    one = sample()
    for name in ("one", "two"):
        one.save(tmp_path / name)
    for file in ("manifest.json", "tensors.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=True)
texts = st.text() | st.sampled_from(["$float", "$map", "\ud83d", "\u2028</script>", "\x00"])
plain = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(texts, inner, max_size=4)
        | st.dictionaries(st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(plain)
def test_plain_data_of_any_form_come_back(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("plain") / "sample"
    after = libasis.load(Sample("x", info={"value": value}).save(path)).info["value"]
    assert same(value, after)


def test_tensors_that_share_memory_or_a_name_do_not_get_mixed_up(tmp_path):
    base = torch.rand(4, 4)
    before = sample(
        by_number={1: {"a": base, "b": base.T, "c": base[:, 1]}}, info={"t": {"a.b": base, "a": {"b": -base}}}
    )
    assert same(libasis.load(before.save(tmp_path / "sample")), before)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"info": {"path": {"deep": object()}}}, "info.path.deep is of type object"),
        ({"info": {"set": {1}}}, "info.set is of type set"),
        ({"info": {(1, 2): 3}}, "info has keys"),
        ({"info": {"big": 10**400}}, "info.big is a whole number beyond"),
        ({"array": np.array(["text"])}, "array is an array of"),
        ({"matrix": torch.ones(2, dtype=torch.complex128)}, "not saved"),
        ({"counts": {"x": 1.5}}, r"counts\['x'\] is 1.5, but it must be of type int"),
        ({"counts": {"x": True}}, "is True, but it must be of type int"),
        ({"counts": {3: 1}}, "a key of counts is 3, but it must be of type str"),
        ({"points": [Point("a", (1,))]}, r"points\[0\].place is \[1\]"),
        ({"side": "up"}, "side is 'up'"),
        ({"share": "0.5"}, "share is '0.5', but it must be of type float"),
        ({"steps": {}}, None),
        ({"steps": Steps({1: "x"})}, "must be of type float"),
        ({"title": ""}, "its title is empty"),
    ],
)
def test_what_would_not_load_is_not_saved(tmp_path, changes, words):
    path = sample().save(tmp_path / "sample")
    before = {p.name: p.read_bytes() for p in path.iterdir()}
    broken = Sample(**{**vars(sample()), **changes})
    if words is None:
        broken.save(path, force=True)
        return
    with pytest.raises(StoreError, match=words) as caught:
        broken.save(path, force=True)
    assert "test-sample is not saved" in str(caught.value)
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before


def test_what_is_nested_too_deeply_is_not_saved(tmp_path):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(StoreError, match="nested too deeply"):
        Sample("x", info={"deep": deep}).save(tmp_path / "sample")
    while deep:  # taken apart step by step, or the interpreter does it in one recursion
        deep = deep.pop()
    assert not (tmp_path / "sample").exists()


def change(key, value):
    return lambda plain: plain["content"].__setitem__(key, value)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (change("title", 3), "title is 3, but it must be of type str"),
        (change("title", ""), "its title is empty"),
        (change("counts", [["x", 1]]), "counts is"),
        (change("points", {}), "points is {}"),
        (change("unknown", 1), "unknown field 'unknown'"),
        (lambda plain: plain["content"].pop("title"), "lacks 'title'"),
        (change("share", None), "share is None"),
        (change("matrix", {"$tensor": "none"}), "cannot be read"),
        (change("matrix", {"$nothing": 1}), "cannot be read"),
        (change("share", {"$float": "0.5"}), "cannot be read"),
        (change("steps", {"$map": [[[1], 2.0]]}), "cannot be read"),
        (change("matrix", None), "nothing needs its tensor 'matrix"),
        (lambda plain: plain["content"]["matrix"].__setitem__("shape", [2, 2]), "cannot be read"),
        (lambda plain: plain["tensors"]["array"].__setitem__("shape", [3, 2]), "not those that its manifest names"),
        (lambda plain: plain["tensors"]["array"].__setitem__("dtype", "float64"), "not those that its manifest names"),
        (lambda plain: plain["tensors"]["points.0.weights"].__setitem__("finite", False), "not those"),
        (lambda plain: plain["tensors"].pop("array"), "not those that its manifest names"),
        (lambda plain: plain.__setitem__("tensors", []), "tensors is"),
        (lambda plain: plain.__setitem__("content", None), "is None"),
    ],
)
def test_a_manifest_that_says_something_else_is_damaged(tmp_path, edit, words):
    """Also where its checksum is right."""
    before = sample()
    path = before.save(tmp_path / "sample")
    forge(path, lambda plain: None)
    assert same(before, libasis.load(path))
    forge(path, edit)
    with pytest.raises(StoreError, match="is damaged") as caught:
        libasis.load(path)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_field_with_a_default_may_be_missing(tmp_path):
    """So that a class may get a field and still read what was saved before."""
    path = Sample("x", share=0.25).save(tmp_path / "sample")
    forge(path, lambda plain: plain["content"].pop("share"))
    assert libasis.load(path).share == 0.5


def test_plain_data_for_people():
    found = sample(points=(Point("a", (1, math.nan)),)).to_plain()
    assert found["format"] == "libasis-test-sample"
    assert found["points"] == [{"name": "a", "place": [1, "nan"], "weights": None}]
    assert found["steps"] == [[0, 0.5], [12, "inf"]]
    assert not {"matrix", "array", "by_number"} & set(found)
    assert json.loads(json.dumps(found, allow_nan=False))["info"]["nested"] == [[3, [True, None, "-inf"]]]
