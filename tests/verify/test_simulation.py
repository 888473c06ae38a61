"""Planted studies, a few of each kind with fixed seeds: what `make simulation` does at length."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from experiments import planted_models, simulate_verification  # noqa: E402 - found in the folder above


@pytest.fixture(scope="module")
def few():
    """The plants that are fast to make, with a smaller world."""
    world, planted_models.WORLD = planted_models.WORLD, 4000
    made = [
        planted_models.causes(16, 8),
        planted_models.labels(16, 8),
        planted_models.cancelling(16, "lognormal", 0.0),
        planted_models.grouped(16, "skewed", 0.5),
        planted_models.redundant(16),
    ]
    planted_models.WORLD = world
    return made


def test_no_false_supported_and_intervals_hold_in_a_few_studies(few):
    tally = simulate_verification.Tally()
    for seed in range(1, 7):
        tally.merge(simulate_verification.one_study(few, seed))
    families = tally.rows("families")
    assert sum(cases for _, cases, _ in families) == 6
    assert sum(hits for _, _, hits in families) <= 1  # 5% of 6; more than 1 has a chance of 3%
    for seed in range(24):
        tally.merge(simulate_verification.one_interval(few, seed))
    intervals = tally.rows("intervals")
    cases, held = (sum(row[i] for row in intervals) for i in (1, 2))
    assert cases > 24
    assert held / cases > 0.85
    found = tally.rows("found")
    assert sum(row[2] for row in found) > 0


def test_a_pair_is_found_where_neither_alone_shows_anything(few):
    """Of two copies each alone may go, both together not."""
    import libasis

    plant = few[-1]
    rng = simulate_verification.np.random.default_rng(0)
    data = plant.draw(rng, 150)
    claims = [
        libasis.Hypothesis("mid", list(f), plant.metric, "decrease", 0.3, name)
        for f, name in (((0, 1), "both"), ((0,), "one"), ((1,), "other"))
    ]
    plan = libasis.plan(plant.traced, plant.basis, data.batches, claims, progress=False)
    found = libasis.verify(plant.traced, plant.basis, data.batches, plan, progress=False)
    assert found.verdicts["both"] == "supported"
    assert not {found.verdicts[name] for name in ("one", "other")} & {"supported", "supported, below delta"}
    contrast = found["both"].beside["contrast"]
    assert contrast.high < -0.5


def test_the_tables_have_all_that_was_counted(few):
    tally = simulate_verification.Tally()
    tally.merge(simulate_verification.one_study(few, 5))
    tally.merge(simulate_verification.one_interval(few, 5))
    tally.merge(simulate_verification.one_power(few, (0, 0, 1.0, 0, 0.0)))
    tally.merge(simulate_verification.one_power(few, (0, 2, 1.0, 0, 0.03)))
    tables = simulate_verification.tables(tally)
    assert "| causes and decoys | 1 | 0.0% (0 of 1) |" in tables["families"]
    assert "causes and decoys: 0 |" in tables["power"]
    assert "causes and decoys: 2 (3.0%) |" in tables["matched"]
    assert " of 1) |" in tables["intervals"]
    page = (ROOT / "docs" / "verification.md").read_text(encoding="utf-8")
    assert set(tables) == {match[1] for match in simulate_verification.BLOCK.findall(page)}
