"""`build`: trace, fit and interactions in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..basis import DEFAULT_MEMORY, fit
from ..cut import Mask, SiteSpec, keep, trace
from ..cut.batches import first_inputs
from .edges import interactions
from .graph import InteractionGraph


def build(  # noqa: PLR0913 - keyword options of the public face
    model: nn.Module,
    batches: Iterable[Any],
    sites: Sequence[SiteSpec],
    *,
    method: str = "lib",
    sparse: bool = False,
    rotate_final: bool = False,
    truncation: str = "auto",
    moments: str = "auto",
    edges: str = "gradient",
    nodes: int = 8,
    baseline: str = "mean",
    top_k: int | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    mask: Mask | None = None,
    seed: int = 0,
    progress: bool | None = None,
    memory: int = DEFAULT_MEMORY,
    spill: str | Path | None = None,
    relative_error: float = 0.01,
    within: Any = None,
) -> InteractionGraph:
    """Basis and interaction graph of a model: `trace`, `fit` and `interactions` in one.

    The first item of ``batches`` is the example: a pair is ``(inputs, targets)`` when the model's forward takes one
    positional input (or the pair's first element is a tuple or dict), otherwise it is two positional inputs.

    Args:
        model: any torch model in eval mode; it is not changed.
        batches: a re-iterable of inputs or of pairs (inputs, targets).
        sites: where to cut, see `trace`.
        method: the basis, see `fit`.
        sparse: rotate the features of LIB so that fewer interactions are needed, see `fit`.
        rotate_final: see `fit`.
        truncation: see `fit`.
        moments: see `fit`.
        edges: ``"gradient"`` or ``"integrated"``, the ``method`` of `interactions`.
        nodes: see `interactions`.
        baseline: see `interactions`.
        top_k: see `interactions`.
        dtype: compute in this dtype instead of the model's own; accumulation is always float64.
        device: compute on this device.
        mask: which positions count, see `trace`.
        seed: recorded; random rules draw from it.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what one batch's products may hold, and for the activations kept between passes.
        spill: a folder for activations that do not fit into memory, see `fit`.
        relative_error: where random probes are enough, see `fit`.
        within: directions to which sites are confined, see `fit`.
    """
    traced = trace(model, first_inputs(model, batches), sites, mask=mask, dtype=dtype, device=device)
    kept = keep(traced, batches, memory=memory, spill=spill)
    try:
        basis = fit(
            traced,
            kept,
            method,
            sparse=sparse,
            rotate_final=rotate_final,
            truncation=truncation,
            moments=moments,
            seed=seed,
            progress=progress,
            memory=memory,
            relative_error=relative_error,
            within=within,
        )
        return interactions(
            traced,
            basis,
            kept,
            method=edges,
            nodes=nodes,
            baseline=baseline,
            top_k=top_k,
            seed=seed,
            progress=progress,
            memory=memory,
        )
    finally:
        kept.close()
