"""Edges as matrices, dense or sparse."""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import Matrix


def sparse(places: Tensor, values: Tensor, shape: tuple[int, int]) -> Matrix:
    """A sparse matrix of values at places ``[2, m]``, (row, column) ascending."""
    return torch.sparse_coo_tensor(places, values, shape, is_coalesced=True, check_invariants=True)
