"""Sizes of A/B tests against textbooks and statsmodels."""

import math

import pytest
from scipy.stats import norm

import libasis
from libasis.errors import OptionError
from libasis.practice import ABMetric, ab_design, exact_rate
from libasis.practice.sequences import wider


def test_a_mean_needs_sixteen_variances_over_the_square_of_the_effect():
    found = ab_design(ABMetric("time", sd=10.0, effect=1.0))
    assert found.control == found.treatment
    assert found.control == pytest.approx(16 * 100, rel=0.02)  # Kohavi, Tang and Xu: n = 16 s^2 / d^2
    assert ab_design(ABMetric("time", sd=10.0, effect=10.0)).control == 17  # t, not z: tables of Cohen for d = 1
    assert ab_design(ABMetric("time", sd=1.0, effect=100.0)).control == 2


@pytest.mark.parametrize(
    ("low", "effect", "known"),
    [(0.05, 0.005, 31_234), (0.10, 0.02, 3_841), (0.5, 0.1, 388), (0.9, -0.05, 686)],  # R: power.prop.test
)
def test_a_rate_needs_what_r_says(low, effect, known):
    better = "higher" if effect > 0 else "lower"
    found = ab_design(ABMetric("rate", baseline=low, effect=abs(effect), better=better))
    assert abs(found.control - known) <= 1


def test_it_agrees_with_statsmodels():
    from statsmodels.stats.power import NormalIndPower, TTestIndPower
    from statsmodels.stats.proportion import proportion_effectsize

    metric = ABMetric("rate", baseline=0.05, effect="10%")
    for power, alpha, ratio in ((0.8, 0.05, 1.0), (0.9, 0.01, 3.0)):
        found = ab_design(metric, power=power, alpha=alpha, share=ratio / (1 + ratio))
        h = proportion_effectsize(0.055, 0.05)
        theirs = NormalIndPower().solve_power(h, alpha=alpha, power=power, ratio=ratio)
        assert found.control == pytest.approx(theirs, rel=0.02)
        assert found.treatment == pytest.approx(ratio * found.control, rel=1e-3)
    found = ab_design(ABMetric("x", sd=3.0, effect=1.0), power=0.9)
    assert found.control == math.ceil(TTestIndPower().solve_power(1 / 3, alpha=0.05, power=0.9))


def test_guardrails_take_of_beta_and_successes_of_alpha():
    win, guard = ABMetric("win", sd=1.0, effect=0.1), ABMetric("guard", sd=1.0, margin=0.1, better="lower")
    found = ab_design([win, ABMetric("other", sd=1.0, effect=0.1)], [guard])
    rows = {row["metric"]: row for row in found.rows()}
    assert rows["win"]["alpha"] == 0.025
    assert rows["guard"]["alpha"] == 0.05
    assert all(row["power"] == pytest.approx(0.9) for row in rows.values())
    z = norm.ppf(1 - 0.025 / 2) + norm.ppf(0.9)
    assert rows["win"]["control"] == pytest.approx(2 * z**2 / 0.01, rel=0.005)
    z = norm.ppf(0.975) + norm.ppf(0.9)
    assert rows["guard"]["control"] == pytest.approx(2 * z**2 / 0.01, rel=0.005)
    assert found.control == rows["win"]["control"]
    assert any("share the risk" in text for text in found.warnings)


def test_a_covariate_and_units_change_the_variance():
    def size(**more):
        return ab_design(ABMetric("x", sd=10.0, effect=0.5, **more)).control

    assert size(correlation=0.6) == pytest.approx(size() * 0.64, rel=1e-3)
    assert size(per_unit=5, icc=0.25) == pytest.approx(size() * 2, rel=1e-3)
    rate = ab_design(ABMetric("r", baseline=0.1, effect=0.01, correlation=0.5)).control
    assert rate == pytest.approx(0.75 * ab_design(ABMetric("r", baseline=0.1, effect=0.01)).control, rel=1e-3)


def test_an_analysis_at_every_look_needs_more_and_time_is_in_whole_weeks():
    metric = ABMetric("x", sd=10.0, effect=1.0)
    fixed, always = (ab_design(metric, analysis=kind, traffic=150) for kind in ("fixed", "always-valid"))
    z = wider(1, 1, 0.05)
    assert z == pytest.approx(3.035, abs=0.001)
    assert always.total / fixed.total == pytest.approx(((z + 0.8416) / (1.96 + 0.8416)) ** 2, rel=1e-3)
    assert (fixed.days, always.days) == (21, 42)
    assert "fewer where the effect is larger" in repr(always)
    assert fixed.rows()[0]["control_always_valid"] == always.control


def test_the_intervals_for_every_look_are_those_of_ville():
    ville = pytest.importorskip("ville")
    for alpha, planned, n in ((0.05, 1000, 1000), (0.05, 1000, 400), (0.01, 500, 5000)):
        theirs = ville.normal_mixture(float(n), alpha, ville.best_rho(planned, alpha)) / math.sqrt(n)
        assert wider(n, planned, alpha) == pytest.approx(theirs, rel=1e-5)
    for hits, n in ((7, 100), (0, 30), (30, 30), (450, 1000)):
        stream = [1.0] * hits + [0.0] * (n - hits)
        theirs = ville.BernoulliCS(0.05, intersect=False).fit(stream).interval()
        assert exact_rate(hits, n) == pytest.approx(theirs, abs=1e-9)


def test_an_exact_rate_has_the_likelihood_it_says():
    from scipy.special import betaln

    low, high = exact_rate(7, 100)
    for rate in (low, high):
        assert 7 * math.log(rate) + 93 * math.log1p(-rate) == pytest.approx(math.log(0.05) + betaln(8, 94))
    assert exact_rate(0, 0) == (0.0, 1.0)
    with pytest.raises(OptionError, match="0 to n hits"):
        exact_rate(5, 3)


@pytest.mark.parametrize(
    ("metric", "options", "match"),
    [
        ({"baseline": 0.5}, {}, "has no effect"),
        ({"effect": 0.1}, {}, "neither baseline nor sd"),
        ({"baseline": 0.95, "effect": 0.1}, {}, "from 0.95 to 1.05, but a rate is between 0 and 1"),
        ({"sd": 1.0, "effect": 1.0}, {"guardrails": [ABMetric("g", baseline=0.05, margin=5)]}, "from 0.05 to -4.95"),
        ({"baseline": 5.0, "effect": 0.1}, {}, "give sd if it is a number"),
        ({"baseline": 0.5, "effect": -0.1}, {}, "above 0; in which direction is said by better"),
        ({"baseline": 0.5, "effect": "much"}, {}, 'a share of the baseline such as "10%"'),
        ({"sd": 1.0, "effect": "10%"}, {}, "needs a baseline that is not 0"),
        ({"sd": 0.0, "effect": 1.0}, {}, "sd of the metric 'm' is '0.0'"),
        ({"sd": 1.0, "effect": 1.0, "correlation": 1.0}, {}, "ends excluded"),
        ({"sd": 1.0, "effect": 1.0, "per_unit": 0.5}, {}, "per_unit"),
        ({"sd": 1e9, "effect": 1e-9}, {}, "would need 2e.37 units"),
        ({"sd": 1.0, "effect": 1.0}, {"power": 1.0}, "power is 1"),
        ({"sd": 1.0, "effect": 1.0}, {"traffic": 0.0}, "traffic is 0"),
        ({"sd": 1.0, "effect": 1.0}, {"guardrails": ["m"]}, "both success and guardrail"),
        ({"sd": 1.0, "effect": 1.0}, {"guardrails": ["g"]}, "'g' has no margin"),
        ({"sd": 1.0, "effect": 1.0, "better": "up"}, {}, "'higher' or 'lower'"),
    ],
)
def test_bad_designs_are_one_sentence(metric, options, match):
    with pytest.raises(OptionError, match=match) as caught:
        ab_design(ABMetric("m", **metric), **options)
    assert str(caught.value).count(". ") == 0


def test_metrics_as_they_are_written_on_the_command_line():
    found = ABMetric.parse("latency, baseline=200, sd=80, margin=2%, better=lower")
    assert found == ABMetric("latency", baseline=200.0, sd=80.0, margin="2%", better="lower")
    assert found.change("margin") == 4
    for text, match in (
        ("", "has no name"),
        ("a,efect=1", "did you mean 'effect'"),
        ("a,effect", "write it as name,baseline"),
        ("a,sd=wide", "'wide' where a number is expected"),
    ):
        with pytest.raises(OptionError, match=match):
            ABMetric.parse(text)


def test_a_design_is_saved(tmp_path):
    found = ab_design(ABMetric("x", sd=10.0, effect=1.0), ABMetric("g", baseline=0.2, margin=0.02), traffic=100)
    found.save(tmp_path / "design")
    assert libasis.load(tmp_path / "design").to_plain() == found.to_plain()
    assert list(found.to_dataframe().role) == ["success", "guardrail"]
