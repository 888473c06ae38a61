"""The verbs that go through several stages: `fit`, which may rotate what it fitted, and `build`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .ambient import neutral
from .arguments import typed
from .basis import METHODS, Basis, fit_basis
from .cut import Mask, SiteSpec, Traced, trace
from .data import first_inputs
from .errors import ON_TRACE, OptionError, renamed
from .graphs import InteractionGraph
from .importance import Fisher, Moments
from .interactions import interactions
from .measure import Records, keep, shares
from .sparse import sparsify

RELATIVE_ERROR = "it belongs to the rule: moments=libasis.rules.Auto(relative_error=...)"


@renamed(**ON_TRACE, relative_error=RELATIVE_ERROR)
@typed
@neutral
def fit(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    batches: Iterable[Any],
    method: str = "lib",
    *,
    sparse: bool = False,
    rotate_final: bool = False,
    truncation: str = "auto",
    moments: Moments = "auto",
    within: Any = None,
    readout: str | Fisher = "next",
    seed: int = 0,
    progress: bool | None = None,
    memory: int | str = "auto",
    spill: str | Path | None = None,
) -> Basis:
    r"""Fit a basis at every site.

    LIB, from the last site back (Bushnaq et al. 2024, arXiv 2405.10928): with the covariance
    :math:`G = U g U^T` of site l and the next site's :math:`C'`,
    :math:`M' = \frac1n \sum_{samples}\sum_{t,s} J_{ts}^T C'C'^T J_{ts}`,
    :math:`g^{1/2} U^T M' U g^{1/2} = V \Lambda V^T`, :math:`C = U g^{-1/2} V \Lambda^{1/2}`. At the last site C is
    the identity, or PCA with ``rotate_final``.

    Args:
        traced: from `trace` or `Chain`; it says in which dtype, on which device and with which mask.
        batches: a re-iterable of inputs or of pairs (inputs, targets), or what `keep` returned; only ``sparse`` looks
            at targets, where they are classes.
        method: ``"lib"``; ``"pca"`` (C = U); ``"neuron"`` (identity); ``"global"`` (LIB with the Jacobian to the last
            site in place of the next).
        sparse: rotate the LIB features of every site but the last so that fewer interactions carry their strength
            (`libasis.sparse`): same span, still uncorrelated, the importances' sum kept. The result's method is
            ``"sparse"``, ``basis.info["sparse"]`` has what was chosen and how it did on samples held out.
        rotate_final: PCA at the last site (``lib``, ``pca`` and ``global``). Of more than 16,384 outputs of a linear
            layer (logits) the last site has principal directions anyway, of all that the layer spans.
        truncation: ``"auto"`` drops what rounding alone could have made; ``"relative:1e-10"`` or ``"absolute:1e-6"``.
        moments: rule for M': ``"auto"`` takes a closed form where the section has one, otherwise the exact rule if it
            is cheap, otherwise the sketch; ``"closed_form"`` insists on one; ``"exact"`` takes one backward pass per
            output feature and position; ``"sketch"`` estimates from random probes. ``"probes"`` is ``"auto"``, but
            takes the two dear terms of attention with rotary embedding by random probes where these cost less than the
            exact terms; ``"auto"`` does so only where they are very dear (long sequences, many heads). Or a rule of
            `libasis.rules` with its options, such as ``rules.Auto(relative_error=0.05)``, or one of your own.
        within: a mapping from sites to directions ``[d, k]``, such as a dictionary's decoder, or a `Basis` of them: at
            these sites only the part of the activation in their span is explained, and what is outside it counts as
            dropped. It depends on the span alone. Not for ``"neuron"``, and not at the last site.
        readout: what importance is for: the features of the ``"next"`` site; those of the last site (``"output"``, as
            with ``method="global"``); or what a classifier or language model says, ``"fisher"``: the Fisher information
            of labels drawn from its own softmax, one backward pass for all sites, shrunk as held-out samples ask. Or
            ``rules.Fisher(draws=4, shrink="auto", seed=0)``. M' is then that of the readout: leave
            ``moments`` out.
        seed: of the random probes of rules that are given by name, and of the samples that ``sparse`` draws.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what one batch's products may hold, and for the activations kept between passes
            (where they need more, they go to ``spill``, or the model runs again for each section). ``"auto"`` is 1 GiB
            for each; on a GPU one tenth and six tenths of what is free there.
        spill: a folder for activations that do not fit into memory; they are removed when the fit is over.

    Returns:
        The basis. The result does not depend on how the data are split into batches, up to rounding: of equally
        important features the directions are chosen towards the coordinates, and `SiteBasis.ties` names them, and those
        whose order the errors of an estimate leave open.

    Raises:
        OptionError: an option is unknown.
        BatchError: the batches are empty, one-shot or of the wrong structure, or change between two passes.
        ActivationError: an activation is not finite or does not vary.
        SiteError: a site is too wide for this machine's memory.
    """
    if sparse and method != "lib":
        raise OptionError(f'sparse=True rotates the features of method="lib", but method is {method!r}; leave one out.')
    with Records.of(traced, batches, memory, spill, progress=progress) as records:
        memory = shares(memory, traced)[1]
        basis = fit_basis(
            records,
            method,
            rotate_final=rotate_final,
            truncation=truncation,
            moments=moments,
            within=within,
            readout=readout,
            seed=seed,
            memory=memory,
        )
        return sparsify(records, basis, seed=seed, memory=memory) if sparse else basis


@renamed(edges='write method="gradient" or "integrated"', nodes="it is n_steps now")
@typed
@neutral
def build(  # noqa: PLR0913 - keyword options of the public face
    model: nn.Module,
    batches: Iterable[Any],
    sites: Sequence[SiteSpec],
    *,
    basis: str = "lib",
    sparse: bool = False,
    rotate_final: bool = False,
    truncation: str = "auto",
    moments: Moments = "auto",
    within: Any = None,
    readout: str | Fisher = "next",
    method: str = "gradient",
    n_steps: int = 8,
    baseline: str = "mean",
    top_k: int | None = None,
    relative_error: float | str = "auto",
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    mask: Mask | None = None,
    seed: int = 0,
    progress: bool | None = None,
    memory: int | str = "auto",
    spill: str | Path | None = None,
) -> InteractionGraph:
    """Basis and interaction graph of a model: `trace`, `fit` and `interactions` in one.

    The first item of ``batches`` is the example: a pair is ``(inputs, targets)`` when the model's forward takes one
    positional input (or the pair's first element is a tuple or dict), otherwise it is two positional inputs.

    Args:
        model: any torch model in eval mode; it is not changed.
        batches: a re-iterable of inputs or of pairs (inputs, targets).
        sites: where to cut, see `trace`.
        basis: the ``method`` of `fit`.
        sparse: rotate the features of LIB so that fewer interactions are needed, see `fit`.
        rotate_final: see `fit`.
        truncation: see `fit`.
        moments: see `fit`.
        within: directions to which sites are confined, see `fit`.
        readout: what importance is for, see `fit`.
        method: ``"gradient"`` or ``"integrated"``, see `interactions`.
        n_steps: see `interactions`.
        baseline: see `interactions`.
        top_k: see `interactions`.
        relative_error: of edges that are estimated, see `interactions`; that of importances belongs to ``moments``.
        dtype: compute in this dtype instead of the model's own; accumulation is always float64.
        device: compute on this device.
        mask: which positions count, see `trace`.
        seed: see `fit` and `interactions`.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what one batch's products may hold, and for the activations kept between passes,
            see `fit`.
        spill: a folder for activations that do not fit into memory, see `fit`.
    """
    if method in METHODS:
        raise OptionError(f"method is {method!r}, which is a basis: write basis={method!r}.")
    traced = trace(model, first_inputs(model, batches), sites, mask=mask, dtype=dtype, device=device)
    kept = keep(traced, batches, memory=memory, spill=spill)
    try:
        found = fit(
            traced,
            kept,
            basis,
            sparse=sparse,
            rotate_final=rotate_final,
            truncation=truncation,
            moments=moments,
            within=within,
            readout=readout,
            seed=seed,
            progress=progress,
            memory=memory,
        )
        options = {"method": method, "n_steps": n_steps, "baseline": baseline, "top_k": top_k, "seed": seed}
        options |= {"relative_error": relative_error, "progress": progress, "memory": shares(memory, traced)[1]}
        return interactions(traced, found, kept, **options)
    finally:
        kept.close()
