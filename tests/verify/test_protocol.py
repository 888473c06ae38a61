"""A plan is made before the data are looked at, is used once, and cannot be changed."""

import json
from dataclasses import replace

import pytest
import torch

import libasis
from libasis.errors import OptionError, StoreError
from verify.planted import DECOY, TRUE, WIDTH, Plant, Study, data


@pytest.fixture(scope="module")
def planted():
    return Study()


def claim(**options):
    return libasis.Hypothesis("mid", [TRUE], **{"direction": "decrease", "delta": 0.05, "name": "true", **options})


def part(outputs):
    return outputs[:, 1].abs()


def size(outputs, targets):
    return part(outputs)


def test_a_plan_is_one_file_that_people_can_read(planted, tmp_path):
    plan = planted.plan([claim(), claim(name="again")])
    path = plan.save(tmp_path / "plan.json")
    assert path.is_file()
    written = json.loads(path.read_text())["content"]
    assert [one["name"] for one in written["hypotheses"]] == ["true", "again"]
    assert (written["alpha"], written["seed"]) == (0.05, 0)
    assert written["data"]["digest"]
    assert written["info"]["basis"] == planted.basis.digest()
    assert written["info"]["versions"]["libasis"] == libasis.__version__
    for back in (libasis.load(path), libasis.Plan.load(path)):
        assert back.digest() == plan.digest()
        assert back.hypotheses == plan.hypotheses
    with pytest.raises(StoreError, match="exists already"):
        plan.save(path)


@pytest.mark.parametrize("part", range(12))
def test_a_file_changed_by_one_character_is_refused(planted, tmp_path, part):
    path = planted.plan(claim()).save(tmp_path / "plan.json")
    text = path.read_text()
    at = (len(text) * part + 7 * part) // 12
    for other in (" ", "7", ""):
        if text[at : at + 1] != other:
            path.write_text(text[:at] + other + text[at + 1 :])
            with pytest.raises(StoreError):
                libasis.load(path)


def test_the_same_plan_on_other_data_is_refused_by_name(planted):
    plan = planted.plan(claim())
    first = planted.verify(plan)
    other = data("true", 240, 99)
    with pytest.raises(OptionError, match=rf"used on other data \({first.info['data']['digest'][:8]}\)"):
        planted.verify(plan, other)


def test_a_second_run_is_marked_for_good(planted, tmp_path):
    plan = planted.plan(claim())
    path = plan.save(tmp_path / "plan.json")
    first, second = planted.verify(plan), planted.verify(libasis.load(path))
    assert (first.repeat, second.repeat) == (1, 2)
    assert first.verdicts == second.verdicts
    third = planted.verify(libasis.load(path))
    third.save(tmp_path / "third")
    back = libasis.load(tmp_path / "third")
    assert back.repeat == 3
    assert "run 3" in repr(back)
    assert set(back.to_dataframe()["repeat"]) == {3}
    assert [run["run"] for run in libasis.load(path).ledger] == [1, 2, 3]
    assert planted.verify(plan).repeat == 4


def test_another_plan_for_the_same_data_is_said(planted):
    planted.verify(planted.plan(claim()))
    notes = planted.verify(planted.plan(claim(delta=0.01))).notes
    assert any("other plans were verified on the same data" in note for note in notes)


def test_what_was_explored_cannot_confirm():
    planted = Study(seed=5)
    found = planted.explored()
    claim = found.hypothesis(0, delta=0.05)
    assert (claim.site, claim.features, claim.direction) == ("mid", (TRUE,), "decrease")
    plan = planted.plan(claim, planted.explore)
    with pytest.raises(OptionError, match="100% of these 240 samples were explored before"):
        planted.verify(plan, planted.explore)
    shuffled = planted.explore[2:] + planted.explore[:2]
    with pytest.raises(OptionError, match="explored before"):
        planted.verify(plan, shuffled)
    mixed = planted.explore[:1] + planted.confirm
    with pytest.raises(OptionError, match="21% of these 304 samples were explored"):
        planted.verify(plan, mixed)
    assert planted.verify(plan).verdicts == {claim.label: "supported"}


def test_exploring_is_remembered_in_the_plan(tmp_path):
    planted = Study(seed=6)
    found = planted.explored()
    found.save(tmp_path / "found")
    plan = planted.plan(claim(), planted.confirm, explored=libasis.load(tmp_path / "found"))
    back = libasis.load(plan.save(tmp_path / "plan.json"))
    assert [one.digest for one in back.explored] == [found.info["data"]["digest"]]
    with pytest.raises(OptionError, match="explored"):
        planted.verify(back, planted.explore)


def test_the_data_of_the_plan_may_confirm_but_a_part_of_them_may_not():
    planted = Study(seed=7)
    plan = planted.plan(claim(), planted.confirm)
    assert planted.verify(plan).verdicts == {"true": "supported"}
    with pytest.raises(OptionError, match="100% of these 128 samples are among the 240"):
        planted.verify(planted.plan(claim(), planted.confirm), planted.confirm[:2])


def test_samples_that_are_equal_by_nature_are_told_from_samples_seen_before():
    """Inputs of three bits come again in any data; the data explored do not."""
    planted = Study(seed=8)

    def bits(seed):
        x = torch.randint(0, 2, (200, WIDTH), generator=torch.Generator().manual_seed(seed)).double()
        x[:, 3:] = 0
        return [(x, Plant("true")(x - 0.5).argmax(1))]

    basis = libasis.fit(planted.traced, bits(0), method="neuron", progress=False)
    libasis.explore(planted.traced, basis, bits(1), progress=False)
    plan = libasis.plan(planted.traced, basis, bits(2), claim(), controls=19, progress=False)
    found = libasis.verify(planted.traced, basis, bits(2), plan, progress=False)
    assert any("as many as equal samples" in note for note in found.notes)
    plan = libasis.plan(planted.traced, basis, bits(2), claim(), controls=19, progress=False)
    with pytest.raises(OptionError, match="explored"):
        libasis.verify(planted.traced, basis, bits(1), plan, progress=False)


def test_another_model_basis_or_version_is_refused_by_name(planted):
    plan = planted.plan(claim())
    other = libasis.trace(Plant("both").eval(), planted.fit[0][0], ["mid", "output"])
    basis = libasis.fit(other, planted.fit, method="neuron", progress=False)
    with pytest.raises(OptionError, match=r"made for another model: (weights|computation) \w{8} \(Plant\)"):
        libasis.verify(other, basis, planted.confirm, plan, progress=False)
    pca = libasis.fit(planted.traced, planted.fit, method="pca", progress=False)
    with pytest.raises(OptionError, match=r"made for another basis: \w{8} \(neuron\) instead of \w{8} \(pca\)"):
        libasis.verify(planted.traced, pca, planted.confirm, plan, progress=False)
    old = replace(plan, info={**plan.info, "versions": {**plan.info["versions"], "libasis": "9.1.7"}})
    with pytest.raises(OptionError, match=rf"made by libasis 9\.1\.7, and this is {libasis.__version__}"):
        planted.verify(old)
    other = planted.traced.to(dtype="float64")
    with pytest.raises(OptionError, match="with the model in float32, and it computes in float64"):
        libasis.verify(other, planted.basis, planted.confirm, plan, progress=False)


def test_units_that_were_planned_are_asked_for(planted):
    units = [i // 4 for i in range(240)]
    plan = planted.plan(claim(), units=units)
    with pytest.raises(OptionError, match="made with units"):
        planted.verify(plan)
    found = planted.verify(plan, units=units)
    assert found["true"].kinds[0].effect.units == 60
    assert any("without units" in note for note in planted.verify(planted.plan(claim()), units=units).notes)


def test_a_metric_that_is_a_function(planted, tmp_path):
    plan = planted.plan(claim(metric=size, direction="any"))
    expected = planted.verify(plan).to_dataframe().drop(columns=["repeat"])
    back = libasis.load(plan.save(tmp_path / "plan.json"))
    with pytest.raises(OptionError, match="'size' is a function, which is not in its file"):
        planted.verify(back)
    with pytest.raises(OptionError, match="'size' is another function"):
        planted.verify(back, metrics={"size": lambda outputs, targets: outputs[:, 1]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "part", lambda outputs: outputs[:, 1])
        with pytest.raises(OptionError, match="'size' is another function"):
            planted.verify(back, metrics={"size": size})
    found = planted.verify(back, metrics={"size": size}).to_dataframe().drop(columns=["repeat"])
    assert found.equals(expected)


def test_exploring_gives_no_verdict():
    planted = Study(seed=9)
    found = planted.explored(pairs=2)
    assert found.screened[0].features in ((TRUE,), (DECOY, TRUE), (TRUE, DECOY))
    assert "supported" not in repr(found) + found.to_dataframe().to_string()
    q = [one.q for one in found.screened]
    assert q == sorted(q)
    assert all(one.p <= one.q <= 1 for one in found.screened)
    careful = planted.explored(pairs=2, dependent=True)
    assert all(a.q <= b.q for a, b in zip(found.screened, careful.screened, strict=True))
    with pytest.raises(OptionError, match="No feature"):
        found.hypothesis(("mid", 99))


def test_the_plan_shows_nothing_of_effects(planted):
    """Its table holds how effects vary: it is the same where every effect has the other sign."""
    x = planted.explore

    def up(outputs, targets):
        return outputs[:, 1]

    def down(outputs, targets):
        return -outputs[:, 1]

    tables = [planted.plan(claim(metric=m), x).to_dataframe().drop(columns="hypothesis") for m in (up, down)]
    assert tables[0].equals(tables[1])


def test_a_plan_says_how_many_units_are_needed(planted):
    """The formula, on a metric whose spread is known; with clusters of samples that say the same, by the unit."""
    plan = planted.plan(claim(metric="output[1]", delta=0.2, direction="decrease"))
    row = plan.to_dataframe().set_index("kind").loc["mean"]
    own = torch.cat([x[:, TRUE] for x, _ in planted.explore])
    spread, kurtosis = own.std().item(), ((own - own.mean()) ** 4).mean().item() / own.var(correction=0).item() ** 2
    assert row.deviation == pytest.approx(spread, rel=1e-9)
    unsure = 1 + 0.6745 * ((kurtosis - 1) / 240) ** 0.5  # other units may vary more than these
    both = 1.645  # 95% under each kind are 90% under both
    assert row.n_needed == pytest.approx((1.96 + both) ** 2 * spread**2 * unsure / 0.04 + 2, rel=0.02)
    doubled = [(x.repeat_interleave(2, 0), y.repeat_interleave(2, 0)) for x, y in planted.explore]
    units = [i // 2 for i in range(480)]
    twice = planted.plan(claim(metric="output[1]", delta=0.2), doubled, units=units).to_dataframe().set_index("kind")
    assert twice.loc["mean"].n_needed == row.n_needed
    assert twice.loc["mean"].design_effect == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: claim(direction="up"), "direction is 'up'; use one of"),
        (lambda: claim(delta=-1.0), "delta is -1.0; give a number above 0"),
        (lambda: claim(kinds=["mean", "mean"]), "kinds is"),
        (lambda: claim(metric=3), "metric is of type int"),
        (lambda: libasis.Hypothesis("mid"), "needs features or directions"),
        (lambda: libasis.Hypothesis("mid", [[1], [1]]), "none of them twice"),
        (lambda: Study().plan([claim(), claim()]), "Two hypotheses are called 'true'"),
        (lambda: Study().plan([]), "hypotheses is empty"),
        (lambda: Study().plan(claim(), alpha=1.5), "alpha is 1.5"),
        (lambda: Study().plan(claim(group="target = 3")), "no condition and no known group"),
        (lambda: Study().plan(claim(group="__import__('os').getcwd() == 'x'")), "no condition"),
        (lambda: Study().plan(claim(group="input[99] > 0")), r"input\[99\]"),
        (lambda: Study().plan(claim(metric="output[9]")), "has 2 outputs"),
        (lambda: Study().plan(claim(metric="mid[0]")), "which is not behind it"),
        (lambda: Study().plan(claim(metric="nowhere[0]")), "the sites are"),
        (lambda: Study().plan(claim(), units=[1, 2]), "units has 2 entries, but the data have 240"),
        (lambda: libasis.parts(data("true", 10), shares=[1, 2]), "shares is"),
        (lambda: libasis.parts(data("true", 10), units=[1, 2]), "units has 2 entries"),
    ],
)
def test_what_is_wrong_is_told(wrong, told):
    with pytest.raises(OptionError, match=told):
        wrong()
