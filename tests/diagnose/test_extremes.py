"""Values that stand for no value are told; faults, steps, heavy tails and states are not taken for them."""

import numpy as np
import pytest

import libasis
from diagnose.rows import COLUMNS, FAULT, one, rows

WORD = "if it stands for no value"


def said(normal, fault):
    return [text for text in libasis.check(one(), normal, fault, COLUMNS) if WORD in text]


@pytest.mark.parametrize(
    ("value", "places"),
    [(-999, [3]), (-999, range(40)), (-9999, [3, 50]), (9999, [7]), (1e30, [3, 90]), (-999.9, [1]), (65535, range(9)),
     (1234.5, [3, 8]), (-5e4, [11])],
)  # fmt: skip
@pytest.mark.parametrize("group", [0, 1])
def test_a_value_far_from_all_others_is_named_with_its_rows(value, places, group):
    both = rows(), rows(shift=FAULT, seed=1)
    both[group][list(places), 3] = value
    (text,) = said(*both)
    assert text.startswith(f"'level' holds {value:.6g} in {len(places)} of 240 rows, ")
    assert "leave these cells empty and have them filled in (impute)" in text


def test_two_codes_in_both_groups_are_told_beside_a_large_fault():
    both = rows(), rows(shift={"valve": 60.0}, seed=1)
    both[0][[1, 2], 0], both[1][[1, 2, 3], 0] = -999, 9999
    assert [text[:22] for text in said(*both)] == ["'valve' holds 9999 in ", "'valve' holds -999 in "]


def test_rows_of_one_kind_are_looked_at_too():
    x = rows()
    x[4:6, 2] = -999
    assert any(WORD in text for text in libasis.check(one(), x, columns=COLUMNS))


@pytest.mark.parametrize("seed", range(20))
def test_faults_steps_tails_and_states_are_none(seed):
    draw = np.random.default_rng(seed)
    normal, fault = rows(300, seed=2 * seed), rows(300, shift={"valve": 6, "flow": 80}, seed=2 * seed + 1)
    fault[draw.integers(300, size=3), 3] += 6 * np.ones(3)
    fault[200:, 1] += 5.0  # a step of 250 standard deviations
    fault[100:, 4] = 0.0  # at rest
    for x in (normal, fault):
        x[:, 5] = draw.standard_t(1, size=300) if seed % 2 else draw.lognormal(0, 2, size=300)
    assert said(normal, fault) == []
    normal[:, 1], normal[:, 3] = draw.random(300) < 0.02, draw.poisson(0.1, size=300)
    normal[:, 4] = np.where(draw.random(300) < 0.03, 100.0, 5.0)
    normal[:, 2] = np.clip(normal[:, 2], None, 9.1)
    normal[:, 5] = draw.pareto(1.5, size=300).round(1)
    assert said(normal, normal[::-1].copy()) == []
