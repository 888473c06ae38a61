"""Names for the shapes that travel through the package.

Canonical activations are ``[batch, position, feature]``. A model without positions has one position.
"""

from typing import Annotated, Any

from torch import Tensor

Activations = Annotated[Tensor, "batch position feature"]
"""Activations at a site in canonical layout."""

Vector = Annotated[Tensor, "feature"]
Matrix = Annotated[Tensor, "row column"]

Counted = Annotated[Tensor, "batch position, bool"]
"""Which (sample, position) pairs count; padding does not."""

Plain = dict[str, Any]
"""JSON-serialisable facts about a result."""
