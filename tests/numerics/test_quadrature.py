"""Gauss-Legendre quadrature on [0, 1]: exact to degree 2n - 1, and to no higher one."""

from math import factorial

import pytest
import torch

from libasis.errors import OptionError
from libasis.numerics import gauss_legendre


def average(nodes, degree):
    x, w = gauss_legendre(nodes)
    return float((w * x**degree).sum())


@pytest.mark.parametrize("nodes", [1, 2, 3, 5, 8, 16])
def test_exact_to_degree_2n_minus_1(nodes):
    for degree in range(2 * nodes):
        assert average(nodes, degree) == pytest.approx(1 / (degree + 1), abs=1e-14)


@pytest.mark.parametrize("nodes", [1, 2, 3, 4])
def test_the_error_at_degree_2n_is_the_known_one(nodes):
    missing = 1 / (2 * nodes + 1) - average(nodes, 2 * nodes)
    known = factorial(nodes) ** 4 / ((2 * nodes + 1) * factorial(2 * nodes) ** 2)
    assert missing == pytest.approx(known, rel=1e-6)


@pytest.mark.parametrize("nodes", [1, 7, 40])
def test_nodes_lie_inside_and_weights_are_positive(nodes):
    x, w = gauss_legendre(nodes)
    assert x.shape == w.shape == (nodes,)
    assert x.dtype == w.dtype == torch.float64
    assert ((x > 0) & (x < 1) & (w > 0)).all()


@pytest.mark.parametrize("nodes", [0, -3, 10**6])
def test_no_node_and_more_than_memory_holds_are_refused(nodes):
    with pytest.raises(OptionError, match=f"n_steps is {nodes}"):
        gauss_legendre(nodes)
