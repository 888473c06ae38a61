"""How much worse a score may get, and which counts keep it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from libasis.errors import OptionError
from libasis.intervene import Allowance, stable, stable_counts


def test_a_loss_of_exactly_max_drop_is_allowed():
    """0.8 - 0.7 is a little more than 0.1 in floats."""
    assert Allowance(0.1).passes(0.8, 0.7)
    assert not Allowance(0.1).passes(0.8, 0.69)
    assert Allowance(0.1, higher_is_better=False).passes(0.7, 0.8)
    assert not Allowance(0.1, higher_is_better=False).passes(0.7, 0.81)
    base, scores = torch.tensor([0.8], dtype=torch.float64), torch.tensor([[0.7], [0.6]], dtype=torch.float64)
    assert Allowance(0.1).passes(base, scores).tolist() == [[True], [False]]


@pytest.mark.parametrize("max_drop", [math.nan, math.inf, -math.inf, "little", None])
def test_what_is_no_number_is_refused(max_drop):
    with pytest.raises(OptionError, match="max_drop is"):
        Allowance(max_drop)


@pytest.mark.parametrize(
    ("points", "higher", "needed"),
    [
        ({0: 0.1, 1: 0.9, 2: 0.5, 3: 0.899, 4: 0.95}, True, 3),
        ({0: 0.1, 4: 0.898}, True, None),
        ({0: 0.9, 4: 0.9}, True, 0),
        ({0: 2.0, 1: 0.901, 2: 0.5}, False, 1),
        ({0: 2.0, 1: math.nan, 2: 0.5}, False, 2),
        ({}, True, None),
    ],
)
def test_the_smallest_count_from_which_every_larger_one_passes(points, higher, needed):
    assert Allowance(0.001, higher).stable(0.9, points) == needed


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=9), min_size=1, max_size=5))
def test_many_at_once_are_each_alone(columns):
    longest = max(map(len, columns))
    passed = torch.tensor([[True] * (longest - len(c)) + c for c in columns]).T
    counts = [3 * i + 1 for i in range(longest)]
    alone = [stable(counts, column) for column in passed.T.tolist()]
    assert stable_counts(counts, passed).tolist() == [np.inf if count is None else count for count in alone]
