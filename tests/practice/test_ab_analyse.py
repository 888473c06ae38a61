"""A/B tests that are read: the split first, then effects that are right, verdicts that may be read daily."""

import math

import numpy as np
import pandas as pd
import pytest

import libasis
from libasis.errors import LibasisError, OptionError, SourceError
from libasis.practice import ABMetric, SampleRatioError, ab_analyse, ab_design


def table(seed=0, n=4000, effect=0.0, rate=0.2, days=30):
    draw = np.random.default_rng(seed)
    arm = draw.permutation(n) % 2
    return {
        "group": np.array(["control", "new"], dtype=object)[arm],
        "day": np.sort(draw.integers(0, days, n)),
        "bought": (draw.random(n) < rate + effect * arm).astype(int),
        "wait": draw.gamma(4, 5, n),
        "bad": np.arange(n) % 2,
    }


def read(data, **options):
    return ab_analyse(data, **{"success": "bought", "arm": "group", **options})


# the split


def test_a_split_that_is_not_as_planned_stops_it():
    data = pd.DataFrame(table())
    lost = data[(data.group == "new") | (np.arange(len(data)) % 5 > 0)]
    with pytest.raises(SampleRatioError, match=r"expected \(chi-square p = .*find the cause") as caught:
        read(lost)
    assert isinstance(caught.value, LibasisError)
    assert str(caught.value).count(". ") == 0
    assert read(lost, share=5 / 9).ratio_p > 0.001
    assert read(data).ratio_p > 0.001


def test_ratio_p_is_the_chi_square():
    data = {"group": ["control"] * 510 + ["new"] * 490, "bought": [0, 1] * 500}
    assert read(data).ratio_p == pytest.approx(math.erfc(math.sqrt(20**2 / 1000 / 2)), rel=1e-9)


# effects


def test_two_sources_or_one_with_a_column_are_the_same(tmp_path):
    data = pd.DataFrame(table(effect=0.05))
    one = read(data)
    parts = [data[data.group == name].drop(columns="group") for name in ("control", "new")]
    for part, name in zip(parts, ("before.csv", "after.csv"), strict=True):
        part.to_csv(tmp_path / name, index=False, sep=";", decimal=",")
    data.to_parquet(tmp_path / "all.parquet")
    two = ab_analyse(*parts, success="bought")
    files = ab_analyse(tmp_path / "before.csv", str(tmp_path / "after.csv"), success="bought", time="day")
    packed = read(tmp_path / "all.parquet")
    for other in (two, files, packed):
        assert other.metrics[0].effect == pytest.approx(one.metrics[0].effect)
        assert other.metrics[0].low == pytest.approx(one.metrics[0].low)
    assert "cannot be seen whether both groups ran at the same time" in two.warnings[0]
    assert not files.warnings


def test_groups_of_different_days_are_told():
    data = pd.DataFrame(table(effect=0.1))
    before = data[data.group == "control"].assign(day="2026-01-05")
    after = data[data.group == "new"].assign(day="2026-02-05 10:11")
    found = ab_analyse(before, after, success="bought", time="day")
    assert "different days" in found.warnings[0]


def test_values_are_those_of_the_textbook():
    data = table(n=4000, effect=0.05)
    arm, bought = data["group"] == "new", data["bought"]
    found = read(data, analysis="fixed").metrics[0]
    p1, p0 = bought[arm].mean(), bought[~arm].mean()
    error = math.sqrt(p1 * (1 - p1) / arm.sum() + p0 * (1 - p0) / (~arm).sum())
    assert found.effect == pytest.approx(p1 - p0)
    assert (found.low, found.high) == pytest.approx((p1 - p0 - 1.96 * error, p1 - p0 + 1.96 * error), abs=2e-4)
    from scipy.stats import ttest_ind

    welch = ttest_ind(data["wait"][arm], data["wait"][~arm], equal_var=False)
    found = read(data, success="wait", analysis="fixed").metrics[0]
    assert found.p == pytest.approx(welch.pvalue)
    assert (found.low, found.high) == pytest.approx(welch.confidence_interval(0.95))


def test_a_covariate_takes_out_what_it_tells():
    draw = np.random.default_rng(0)
    before, arm = draw.standard_normal(2000), draw.integers(0, 2, 2000)
    data = {"group": np.where(arm, "new", "control"), "before": before}
    data["spent"] = 3 * before + draw.standard_normal(2000) + 0.2 * arm
    plain = read(data, success="spent", analysis="fixed").metrics[0]
    less = read(data, success="spent", analysis="fixed", covariate="before").metrics[0]
    assert (less.high - less.low) / (plain.high - plain.low) == pytest.approx(1 / math.sqrt(10), rel=0.05)
    assert less.low <= 0.2 <= less.high


def clustered(seed, users=120):
    draw = np.random.default_rng(seed)
    visits = draw.integers(1, 30, users)
    user, arm = np.repeat(np.arange(users), visits), draw.permutation(np.arange(users) % 2)
    level = draw.beta(1, 4, users)
    return {
        "group": np.where(arm, "new", "control")[user],
        "user": user,
        "clicks": (draw.random(len(user)) < level[user]).astype(float),
        "views": 1.0 + draw.integers(0, 3, len(user)),
    }


def test_rows_of_one_user_are_not_independent():
    held = narrow = 0
    for seed in range(80):
        data = clustered(seed)
        one = read(data, success="clicks", unit="user", analysis="fixed").metrics[0]
        held += one.low <= 0 <= one.high
        naive = ab_analyse(
            data, success="clicks", arm="group", analysis="fixed", share=float((data["group"] == "new").mean())
        ).metrics[0]
        narrow += naive.low <= 0 <= naive.high
    assert held / 80 >= 0.9
    assert narrow / 80 < 0.8


def test_a_ratio_of_two_columns_is_that_of_their_sums():
    data = clustered(0)
    found = read(data, success="clicks/views", unit="user").metrics[0]
    new = data["group"] == "new"
    assert found.treatment == pytest.approx(data["clicks"][new].sum() / data["views"][new].sum())
    with pytest.raises(OptionError, match="divides by 'zero'"):
        read(data | {"zero": np.zeros(len(new))}, success="clicks/zero", unit="user")


def test_units_in_both_groups_are_left_out_or_refused():
    data = clustered(0, users=400)
    often = np.bincount(data["user"]).argmax()
    data["group"] = np.where((data["user"] == often) & (np.arange(len(data["user"])) % 2 == 0), "new", data["group"])
    data["group"] = np.where(
        (data["user"] == often) & (np.arange(len(data["user"])) % 2 == 1), "control", data["group"]
    )
    found = read(data, success="clicks", unit="user")
    assert found.control + found.treatment == 399
    assert "1 of 400 units were in both groups" in found.warnings[0]
    data["user"] = data["user"] % 20
    with pytest.raises(OptionError, match="20 of 20 units are in both groups"):
        read(data, success="clicks", unit="user")


# verdicts


def test_each_verdict():
    assert read(table(effect=0.08)).verdict == "win"
    assert read(table(effect=-0.08)).verdict == "harm"
    assert read(table(effect=-0.08), success=ABMetric("bought", better="lower")).verdict == "win"
    assert read(table(), delta=0.08).verdict == "no difference above delta"
    open_one = read(table(), delta=0.02)
    assert open_one.verdict == "undecided"
    assert open_one.more > 4000
    assert f"{open_one.more} more units" in repr(open_one)
    assert read(table()).more is None


def test_guardrails_decide_with():
    good = table(effect=0.08)
    wait = ABMetric("wait", margin=2.0, better="lower")
    assert read(good, guardrails=wait).verdict == "win"
    slow = good | {"wait": good["wait"] + 4.0 * (good["group"] == "new")}
    broken = read(slow, guardrails=wait)
    assert broken.verdict == "harm"
    assert broken.metrics[1].judgement == "broken"
    tight = read(good, guardrails=ABMetric("wait", margin=0.2, better="lower"))
    assert tight.verdict == "undecided"
    assert tight.metrics[1].judgement == "undecided"
    assert tight.more > 0


def test_the_units_that_are_still_needed_decide():
    first = read(table(n=1500), delta=0.05)
    total = first.control + first.treatment + first.more
    decided = [read(table(seed, n=total, days=1), delta=0.05).verdict for seed in range(1, 31)]
    assert np.mean([one == "no difference above delta" for one in decided]) >= 0.7


def test_the_planned_units_win_as_often_as_planned():
    win, guard = ABMetric("a", sd=1.0, effect=0.5), ABMetric("b", sd=1.0, margin=0.5)
    design = ab_design(win, guard, power=0.8)
    found = []
    for seed in range(300):
        draw = np.random.default_rng(seed)
        parts = [{"a": draw.standard_normal(n) + shift, "b": draw.standard_normal(n)}
                 for n, shift in ((design.control, 0.0), (design.treatment, 0.5))]  # fmt: skip
        found.append(ab_analyse(*parts, design=design).verdict)
    assert found.count("win") / 300 == pytest.approx(0.82, abs=0.06)  # 0.9 for each, 0.81 for both


def test_the_only_column_is_the_metric():
    data = table(effect=0.08)
    one = ab_analyse({"group": data["group"], "bought": data["bought"]}, arm="group")
    assert one.metrics[0].metric == "bought"


def test_a_fixed_analysis_waits_for_its_units():
    data = table(effect=0.08)
    early = read(data, analysis="fixed", planned=9000)
    assert early.verdict == "undecided"
    assert early.more == 5000
    assert "4000 of 9000 planned units" in repr(early)
    assert read(data, analysis="fixed", planned=4000).verdict == "win"


def test_a_design_brings_its_settings():
    design = ab_design(
        ABMetric("bought", baseline=0.2, effect=0.05),
        ABMetric("wait", sd=10.0, margin=2.0, better="lower"),
        share=0.5,
        analysis="always-valid",
    )
    found = read(table(effect=0.08), success=None, design=design)
    assert [one.metric for one in found.metrics] == ["bought", "wait"]
    assert (found.analysis, found.planned) == ("always-valid", design.total)
    assert found.metrics[0].limit == 0.05


def wins(kind, studies=80):
    """Shares of studies without an effect that win, or differ, on any of 30 days."""
    always = win = plain = held = 0
    for seed in range(studies):
        found = read(table(seed, n=900), success="wait", time="day", planned=900, analysis=kind)
        looks, end = found.looks, found.metrics[0]
        assert len(looks) == 30
        win += found.verdict == "win"
        always += any(look.always_low > 0 or look.always_high < 0 for look in looks)
        plain += any(look.low > 0 or look.high < 0 for look in looks)
        held += end.low <= 0 <= end.high
    return win / studies, always / studies, plain / studies, held / studies


def test_daily_looks_do_not_make_wins():
    win, always, plain, held = wins("always-valid")
    assert win <= 0.05
    assert always <= 0.05
    assert plain > 0.2
    assert 0.91 <= held <= 0.99


def test_exact_looks_hold_for_rare_events():
    for seed in range(20):
        found = read(table(seed, n=600, rate=0.01), time="day", analysis="exact")
        assert found.verdict in ("undecided", "no difference above delta")
        assert all(look.always_low <= 0 <= look.always_high for look in found.looks)
    assert read(table(effect=0.15, n=6000), analysis="exact").verdict == "win"
    with pytest.raises(OptionError, match="no rate of single rows"):
        read(table(), success="wait", analysis="exact")


def test_no_interval_has_no_width():
    same = {"group": ["control", "new"] * 100, "bought": [0.0, 1.0] * 100}
    for kind in ("fixed", "always-valid", "exact"):
        one = read(same, analysis=kind)
        row = one.metrics[0]
        assert one.verdict == "win"
        assert row.low < row.effect <= row.high
        assert row.always_low < row.effect <= row.always_high
    still = read({"group": ["control", "new"] * 100, "bought": [2.5] * 200}, delta=0.1)
    assert still.verdict == "undecided"
    assert still.metrics[0].low == -math.inf


@pytest.mark.parametrize("start", ["2026-11-01", 1.79e9, 1.79e12, 3])
def test_times_are_dates_seconds_or_days(start):
    step = {str: "D", float: None, int: None}[type(start)]
    if step:
        days = np.datetime64(start) + np.repeat(np.arange(10), 20)
    else:
        days = start + np.repeat(np.arange(10), 20) * (1 if start == 3 else 86400.0 if start < 1e11 else 86400e3)
    data = {"group": ["control", "new"] * 100, "bought": np.random.default_rng(0).random(200), "day": days}
    found = read(data, time="day")
    assert len(found.looks) == 10
    assert found.looks[0].control_units == 10


def test_too_few_units_say_nothing_at_every_look():
    few = read(table(n=60, effect=0.5))
    assert few.metrics[0].always_low == -math.inf
    assert few.verdict == "undecided"
    assert "too few for an interval" in repr(few)


# what is refused


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        ({}, {"success": "bougth"}, "no column 'bougth' .did you mean 'bought'"),
        ({}, {"success": None}, "success is not given.*of 'day', 'bought', 'wait', 'bad'"),
        ({}, {"success": []}, "success is empty"),
        ({}, {"arm": None}, "Give two sources"),
        ({}, {"arm": "group", "after": {"bought": [1, 0]}}, "Give two sources"),
        ({}, {"control": "controll"}, "did you mean 'control'"),
        ({"group": ["x", "y"] * 2000}, {}, "Which groups are compared is not clear.*'x', 'y'; give control"),
        ({"group": ["control", "b", "c", "d"] * 1000}, {}, "is not clear"),
        ({"bought": ["yes", "no"] * 2000}, {}, "'bought' holds 'yes', which is no number"),
        ({"bought": [math.nan] + [1.0] * 3999}, {}, "1 of 4000 values that are missing"),
        ({"day": ["soon"] * 4000}, {"time": "day"}, "'soon', which is no day"),
        ({"day": [None] * 4000}, {"time": "day"}, "'day' has missing values"),
        ({}, {"delta": -1.0}, "delta is -1"),
        ({}, {"delta": 1.0}, "smallest change of 'bought' is 1, but it is a rate, now 0.2.*0.05 for 5 points"),
        ({"bought": [0, 0, 1, 1] * 1000}, {"delta": 0.9}, "a rate, now 0.4"),
        ({"day": range(4000)}, {"unit": "day", "guardrails": [ABMetric("bad", margin=5)]}, "'bad' is 5, but it is a"),
        ({}, {"alpha": 0.0}, "alpha is 0"),
        ({}, {"share": 1.0}, "share is 1"),
        ({}, {"planned": 1}, "planned is 1"),
        ({}, {"guardrails": ["wait"]}, "'wait' has no margin"),
        ({}, {"analysis": "daily"}, "'always-valid'"),
    ],
)
def test_bad_input_is_one_sentence(change, options, match):
    with pytest.raises(OptionError, match=match) as caught:
        read(table() | change, **options)
    assert str(caught.value).count(". ") == 0


def test_bad_files_are_one_sentence(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        ab_analyse(tmp_path / "gone.csv", success="bought", arm="group")
    (tmp_path / "a.csv").write_text("group,bought\ncontrol,1\nnew,\n", "utf-8")
    with pytest.raises(SourceError, match="'bought', row 2 is empty"):
        ab_analyse(tmp_path / "a.csv", success="bought", arm="group")
    (tmp_path / "b.csv").write_text("group,bought\ncontrol,1\nnew,0\n", "utf-8")
    with pytest.raises(OptionError, match="1 and 1 units"):
        ab_analyse(tmp_path / "b.csv", success="bought", arm="group")


def test_an_outcome_is_saved(tmp_path):
    found = read(table(), time="day")
    found.save(tmp_path / "outcome")
    assert libasis.load(tmp_path / "outcome").to_plain() == found.to_plain()
    assert list(found.to_dataframe().metric) == ["bought"]
