"""Arrays of NumPy as batches: values that are not there, or that torch has no dtype for, are told."""

import numpy as np
import pytest
import torch
from torch import nn

import libasis
from libasis.errors import BatchError

VALUES = np.arange(12.0, dtype=np.float32).reshape(4, 3) ** 2


@pytest.mark.parametrize(
    ("array", "told"),
    [(np.ma.masked_greater(VALUES, 50), "masked values"), (VALUES.astype(np.longdouble), "longdouble|float128")],
    ids=["masked", "long"],
)
@pytest.mark.parametrize("place", [0, 1])
def test_values_that_are_not_there(array, told, place):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).eval()
    traced = libasis.trace(model, torch.zeros(2, 3), sites=["0", "output"])
    batch = (array, VALUES) if place == 0 else (VALUES, array)
    with pytest.raises(BatchError, match=f"holds ({told})"):
        libasis.fit(traced, [batch])
    libasis.fit(traced, [(np.ma.masked_greater(VALUES, 1e9), VALUES)])  # nothing is masked there
