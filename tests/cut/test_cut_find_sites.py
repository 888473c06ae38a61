"""The table of sites tells the truth: what it offers can be cut, what it does not has its reason."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import libasis
from cut.cutting import F64, assert_close, call, calls, randn
from libasis.cut.check import section_context
from libasis.cut.site_table import SiteTable, site_table
from libasis.errors import LibasisError, SiteError
from models import ZOO


def named(table):
    """Rows by every name."""
    return {name: row for row in table for name in row.names}


@pytest.fixture(scope="module")
def tables(zoo):
    """As find_sites makes them, of programs that are already there."""
    return {name: site_table(*traced._programs.values()) for name, (_, _, traced) in zoo.items()}


@pytest.fixture(params=ZOO, ids=lambda c: c.name)
def case(request):
    return request.param


def test_every_offered_site_cuts_the_model(case, tables, zoo):
    """As trace does it, on the program that is already there."""
    _, model, traced = zoo[case.name]
    (cut,) = traced._cuts.values()
    expected = call(model, case.example())
    for row in tables[case.name]:
        if row.name == "output":
            continue
        if row.ok:
            record = type(cut)(cut.program, [row.name, "output"], None, None).record([case.example()])
            activations, contexts = record[0], record[1]
            assert activations[0].shape[1:].numel() == torch.Size(row.shape).numel()
            assert_close(contexts[0](activations[0]).flatten(), expected.flatten())
        else:
            with pytest.raises(LibasisError):
                type(cut)(cut.program, [row.name, "output"], None, None)


@pytest.mark.usefixtures("one_export")
def test_the_public_calls(tables, zoo):
    case, model, _ = zoo["mlp"]
    table = libasis.find_sites(model, case.example())
    plain = SiteTable(replace(row, rule="", cost="") for row in table)
    assert plain == tables["mlp"]
    assert all(row.rule.startswith("closed form") and row.cost == "a few passes" for row in table[:-1])
    for row in table[:-1]:
        libasis.trace(model, case.example(), [row.name, "output"])


def test_every_module_is_listed_in_order(case, tables):
    names = [name for row in tables[case.name] for name in row.names]
    leaves = [n for n, m in case.model().named_modules() if n and not list(m.children())]
    expected = {f"{n}:{end}" for n in leaves for end in ("in", "out")} - {"embed:in"}  # takes integers
    assert expected <= set(names)
    assert tables[case.name][-1].name == "output"
    assert len(set(names)) == len(names)
    positions = [tables[case.name].index(tables[case.name].row(s)) for s in case.sites]
    assert positions == sorted(positions)


def test_shapes_and_classes(tables):
    rows = named(tables["residual_cnn"])
    assert (rows["input"].shape, rows["input"].module) == ((2, 4, 6), "input")
    assert (rows["block1.relu#2:in"].shape, rows["block1.relu#2:in"].module) == ((4, 4, 6), "ReLU")
    assert rows["head:out"].shape == (3,)


def test_reasons(tables):
    rows = named(tables["residual_cnn"])
    assert not rows["block1.bn1:out"].ok
    assert "bypassed by relu:out" in rows["block1.bn1:out"].reason
    assert all(bool(row.reason) != row.ok for table in tables.values() for row in table)


@pytest.mark.usefixtures("one_export")
def test_reasons_of_every_kind():
    def run(m, x):
        m.aside(x)
        merged = m.merged(x.flatten(0, 1)).unflatten(0, (-1, 5))
        return m.out(merged + m.prior(m.seed)), m.side(merged)

    parts = {n: nn.Linear(6, 6) for n in ("aside", "merged", "prior", "out", "side")}
    model = calls(run, **parts, seed=nn.Parameter(torch.ones(6)))
    table = libasis.find_sites(model, randn(4, 5, 6))
    reasons = {name: row.reason for name, row in named(table).items()}
    assert reasons["aside:out"] == "the output does not depend on it"
    assert reasons["merged:out"] == "batch and other dimensions are merged here"
    assert reasons["prior:out"] == "does not depend on the inputs"
    assert reasons["out:in"] == reasons["output"] == reasons["output[0]"] == ""
    assert reasons["side:out"] == reasons["output[1]"] == ""  # one tensor, as the last site
    libasis.trace(model, randn(4, 5, 6), ["side:in", "output[1]"])
    for row in table:
        if row.ok and not row.name.startswith("output"):
            libasis.trace(model, randn(4, 5, 6), [row.name, "output"])


def test_the_output_site_by_its_other_names():
    model = calls(lambda m, x: {"logits": m.a(x)}, a=nn.Linear(6, 3))
    names = [*named(libasis.find_sites(model, randn(4, 6)))]
    assert {"output", "output.logits", "a:out"} <= set(names)
    traced = libasis.trace(model, randn(4, 6), ["a", "output.logits"])
    record = traced.record(randn(4, 6))
    assert_close(traced.sections[0](record.activations[0], record), record.activations[0])


def test_the_table_prints_and_becomes_plain_data(tables):
    table = tables["mlp"]
    lines = str(table).splitlines()
    assert len(lines) == len(table) + 1
    assert lines[0].split() == ["site", "shape", "module", "cut", "why", "not,", "or", "other", "names"]
    assert len({line.index("]") < line.index("yes") for line in lines[1:]}) == 1
    facts = {"name": "input", "shape": [6], "module": "input", "ok": True, "reason": "", "rule": "", "cost": ""}
    assert table.to_dicts()[0] == {**facts, "aliases": ["input.x", "fc1:in"]}
    assert repr(table) == str(table)


def test_a_section_of_unconnected_sites_is_refused(zoo):
    _, _, traced = zoo["mlp"]
    (program,) = traced._programs.values()
    marks = program.site_nodes()
    with pytest.raises(SiteError, match="out of order"):
        section_context(program, ("b", [marks["fc2:out"]]), ("a", [marks["fc1:out"]]))


def test_dict_examples():
    model = nn.Sequential(nn.Linear(6, 3)).to(F64).eval()
    rows = libasis.find_sites(model, {"input": randn(4, 6)})
    assert [row.names for row in rows] == [("input", "input.input", "0:in"), ("output", "0:out")]
