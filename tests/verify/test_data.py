"""Parts of the data, groups, units, and that nothing depends on how the data are cut into batches."""

import numpy as np
import pytest
import torch

import libasis
from verify.planted import TRUE, Plant, Study, data, rows


def together(part):
    return torch.cat([x for x, _ in part])


def test_three_parts_by_content_whatever_the_batches():
    whole = data("true", 400)
    found = libasis.parts(whole, seed=1)
    sizes = [len(together(part)) for part in found]
    assert sum(sizes) == 400
    assert [n / 400 for n in sizes] == pytest.approx([0.5, 0.25, 0.25], abs=0.07)
    assert len({tuple(row) for part in found for row in together(part).tolist()}) == 400
    again = libasis.parts(data("true", 400, size=7), seed=1)
    for one, other in zip(found, again, strict=True):
        assert torch.equal(together(one), together(other))
    assert not torch.equal(together(found.fit)[:50], together(libasis.parts(whole, seed=2).fit)[:50])


def test_no_unit_is_in_two_parts():
    whole, units = data("true", 400), [f"patient {i // 8}" for i in range(400)]
    found = libasis.parts(whole, units=units)
    sets = [set(part.units) for part in found]
    assert set.union(*sets) == set(units)
    assert sum(map(len, sets)) == 50
    for part in found:
        assert len(part.units) == len(together(part)) == len(part.of(range(400)))


def test_units_come_along_with_a_part():
    planted, units = Study(), [i // 4 for i in range(800)]
    parts = libasis.parts(data("true", 800, 3), units=units)
    plan = planted.plan(planted.hypothesis([TRUE], direction="decrease", name="true"), parts.explore)
    found = planted.verify(plan, parts.confirm)
    assert plan.clustered
    assert found["true"].kinds[0].effect.units == len(set(parts.confirm.units))


def test_groups_in_words_by_name_and_by_function():
    planted = Study()
    x, y = (torch.cat(some) for some in zip(*planted.confirm, strict=True))
    wanted = {
        "target == 1": y == 1,
        "target in [0, 7] and not input[3] > 0.5": (y == 0) & ~(x[:, 3] > 0.5),
        "-1 < input[2] <= 1 or prediction != target": (x[:, 2] > -1) & (x[:, 2] <= 1),
        "first": torch.arange(240) < 100,
        "by function": x[:, 5] > 0,
    }
    groups = {"first": [i < 100 for i in range(240)], "by function": lambda inputs, targets: inputs[:, 5] > 0}
    claims = [planted.hypothesis([TRUE], metric="output[1]", group=name, name=name) for name in wanted]
    found = planted.verify(planted.plan(claims, groups=groups, controls=19), groups=groups)
    mean = float(planted.basis["mid"].mean[TRUE])
    for name, which in wanted.items():
        effect = found[name].kinds[0].effect
        assert effect.n == int(which.sum())
        assert effect.value == pytest.approx(float((mean - x[which, TRUE]).mean()), abs=1e-9)


def test_units_by_list_by_function_and_by_column_are_one():
    planted = Study(seed=2)
    for part in (planted.explore, planted.confirm):
        for x, _ in part:
            x[:, 9] = (x[:, 9] * 8).round() + 0.0  # the column of the unit
    column = torch.cat([x[:, 9] for x, _ in planted.confirm])
    labels = [f"unit {v}" for v in column.tolist()]
    ways = [labels, "input[9]", lambda inputs, targets: [f"u{v}" for v in inputs[:, 9].tolist()]]
    tables = []
    for units in ways:
        plan = planted.plan(planted.hypothesis([TRUE], name="true"), planted.confirm, units=units)
        tables.append(planted.verify(plan, units=units).to_dataframe())
    assert tables[0].units[0] == len(set(labels)) < 240
    for table in tables[1:]:
        assert table.equals(tables[0])


def test_units_in_a_list_need_an_order():
    planted = Study()
    x, y = rows("true", 240)
    loader = torch.utils.data.DataLoader(list(zip(x, y, strict=True)), batch_size=64, shuffle=True)
    with pytest.raises(libasis.LibasisError, match="units lists the samples in their order"):
        planted.plan(planted.hypothesis([TRUE]), loader, units=list(range(240)))


@pytest.mark.parametrize("size", [1, 7, 240])
def test_batches_do_not_matter(size):
    planted = Study(n=240)
    claims = [
        planted.hypothesis([TRUE, 3], direction="decrease", delta=0.05, name="a"),
        planted.hypothesis([4], metric="output[1]", group="target == 0", name="b"),
    ]
    one = planted.verify(planted.plan(claims, controls=49))
    planted.explore, planted.confirm = (data("true", 240, part, size) for part in (1, 2))
    other = planted.verify(planted.plan(claims, controls=49))
    assert one.verdicts == other.verdicts
    a, b = (v.to_dataframe().select_dtypes(np.number).to_numpy() for v in (one, other))
    np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-12)


def test_memory_does_not_matter():
    planted = Study()
    claims = planted.hypothesis([TRUE, 3], direction="decrease", delta=0.05, name="a")
    one = planted.verify(planted.plan(claims, controls=49))
    other = planted.verify(planted.plan(claims, controls=49, memory=5000), memory=5000)
    a, b = (v.to_dataframe().select_dtypes(np.number).to_numpy() for v in (one, other))
    np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-12)


def test_the_model_and_the_data_are_as_before():
    model, batches = Plant("true").eval(), data("true", 100)
    before = [x.clone() for x, _ in batches]
    traced = libasis.trace(model, batches[0][0], ["mid", "output"])
    basis = libasis.fit(traced, batches, method="neuron", progress=False)
    plan = libasis.plan(traced, basis, batches, libasis.Hypothesis("mid", [0]), controls=19, progress=False)
    libasis.verify(traced, basis, batches, plan, progress=False)
    assert all(torch.equal(a, b) for a, (b, _) in zip(before, batches, strict=True))
    assert not any(module._forward_hooks for module in model.modules())


def test_kept_batches_serve_all_three_calls():
    planted = Study()
    with libasis.keep(planted.traced, planted.confirm) as kept:
        plan = planted.plan(planted.hypothesis([TRUE], name="true"), kept)
        found = planted.verify(plan, kept)
    assert found.to_dataframe().equals(planted.verify(planted.plan(plan.hypotheses)).to_dataframe())


def test_rows_that_lie_column_by_column_in_memory():
    """As pandas gives the values of a table; what lies how in memory changes no verdict."""
    planted = Study()
    claim = planted.hypothesis([TRUE], direction="decrease", name="true")
    tables = [(x.T.contiguous().T, y) for x, y in planted.confirm]
    assert not tables[0][0].is_contiguous()
    plan = planted.plan(claim, controls=19)
    found, usual = planted.verify(plan, tables), planted.verify(plan)
    assert found["true"].verdict == usual["true"].verdict == "supported"
    assert found["true"].kinds[0].effect.value == pytest.approx(usual["true"].kinds[0].effect.value)
