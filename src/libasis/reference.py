"""The method in one sitting: dense, float64, one sample at a time. Slow on purpose; tests hold it for the truth.

Everything follows Bushnaq et al. 2024 (arXiv 2405.10928) literally, with full Jacobians. ``functions`` are the sections
as plain callables from ``[position, feature]`` of one sample to the same; ``data`` is one batch of inputs of the first,
``[batch, position, feature]``. Nothing here is shared with the package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import jacrev

Functions = Sequence[Callable[[Tensor], Tensor]]


def activations(functions: Functions, data: Tensor) -> list[Tensor]:
    """Activations at every site, each ``[batch, position, feature]``."""
    sites = [data.to(torch.float64)]
    for function in functions:
        sites.append(torch.stack([function(x) for x in sites[-1]]))
    return sites


def pulled_importance(function: Callable[[Tensor], Tensor], x: Tensor, readout: Tensor) -> Tensor:
    """``(1/n) sum J_ts^T C'C'^T J_ts`` with the full Jacobian ``[t, out, s, in]`` of every sample."""
    total = torch.zeros(x.shape[-1], x.shape[-1], dtype=torch.float64)
    for sample in x:
        J = jacrev(function)(sample)
        CJ = torch.einsum("ok,tosd->tksd", readout, J)
        total += torch.einsum("tksd,tkse->de", CJ, CJ)
    return total / (x.shape[0] * x.shape[1])


def lib(functions: Functions, data: Tensor, absolute: float = 1e-9) -> list[dict[str, Tensor]]:
    """Mean, C, C_pinv and importances at every site; ``absolute`` cuts both spectra."""
    sites = activations(functions, data)
    last = sites[-1].flatten(0, 1)
    eye = torch.eye(last.shape[1], dtype=torch.float64)
    variances = last.var(0, correction=0)
    found = [{"mean": last.mean(0), "C": eye, "C_pinv": eye, "importances": variances}]
    for function, x in zip(reversed(functions), reversed(sites[:-1]), strict=True):
        flat = x.flatten(0, 1)
        mean = flat.mean(0)
        centred = flat - mean
        g, U = torch.linalg.eigh(centred.T @ centred / len(flat))
        U, root = U[:, g > absolute], g[g > absolute].sqrt()
        M = root[:, None] * (U.T @ pulled_importance(function, x, found[0]["C"]) @ U) * root
        importances, V = torch.linalg.eigh(M)
        order = importances.argsort(descending=True)
        order = order[importances[order] > absolute]
        importances, V = importances[order], V[:, order]
        C = U / root @ V * importances.sqrt()
        C_pinv = (V / importances.sqrt()).T @ (root[:, None] * U.T)
        found.insert(0, {"mean": mean, "C": C, "C_pinv": C_pinv, "importances": importances})
    return found


def edges(
    function: Callable[[Tensor], Tensor], x: Tensor, source: dict[str, Tensor], target: dict[str, Tensor]
) -> Tensor:
    """``(1/n) sum_samples sum_t (sum_s df'_tj/df_si f_si)^2``, ``[k_out, k_in]``."""
    total = torch.zeros(target["C"].shape[1], source["C"].shape[1], dtype=torch.float64)
    for sample in x:
        features = (sample - source["mean"]) @ source["C"]
        J = torch.einsum("oj,tosd,id->tjsi", target["C"], jacrev(function)(sample), source["C_pinv"])
        total += torch.einsum("tjsi,si->tji", J, features).square().sum(0)
    return total / (x.shape[0] * x.shape[1])


def masked(
    function: Callable[[Tensor], Tensor], x: Tensor, source: dict[str, Tensor], target: dict[str, Tensor], mask: Tensor
) -> Tensor:
    """The next activation with only the masked edges ``[k_out, k_in]`` kept, one output feature at a time."""
    out = []
    for sample in x:
        features = (sample - source["mean"]) @ source["C"]
        columns = []
        for j, row in enumerate(mask):
            y = function(source["mean"] + (features * row) @ source["C_pinv"])
            columns.append((y - target["mean"]) @ target["C"][:, j])
        out.append(target["mean"] + torch.stack(columns, -1) @ target["C_pinv"])
    return torch.stack(out)
