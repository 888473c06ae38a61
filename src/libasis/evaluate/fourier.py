"""Labels for the features of modular addition: which frequency of the two numbers each of them carries."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..basis import Basis
from ..cut import Traced
from ..types import Matrix, Plain

CHUNK = 1024


def power(values: Tensor) -> Tensor:
    r"""Power of a function of two numbers by frequency: :math:`|\hat z(k_a, k_b)|^2 / p^4`, their sum the mean square.

    Args:
        values: z(a, b) for a and b from 0 to p - 1, ``[..., p, p]``.
    """
    p = values.shape[-1]
    return torch.fft.fft2(values.to(torch.float64)).abs().square() / p**4


def by_frequency(spectrum: Tensor) -> dict[str, Matrix]:
    r"""Power of each frequency k = 1 ... (p - 1)/2, by what it is a function of, each ``[..., (p - 1)/2]``.

    ``one``: a alone or b alone, :math:`(\pm k, 0)` and :math:`(0, \pm k)`; ``sum``: a + b, :math:`(\pm k, \pm k)` with
    equal signs; ``difference``: a - b. All that is left has two different frequencies.

    Args:
        spectrum: of `power`, ``[..., p, p]``, p odd.
    """
    p = spectrum.shape[-1]
    k = torch.arange(1, (p - 1) // 2 + 1)
    both = (k, p - k)
    one = [spectrum[..., f, 0] + spectrum[..., 0, f] for f in both]
    return {
        "one": one[0] + one[1],
        "sum": spectrum[..., k, k] + spectrum[..., p - k, p - k],
        "difference": spectrum[..., k, p - k] + spectrum[..., p - k, k],
    }


def label(spectrum: Tensor) -> Plain:
    """The frequency that carries most of a feature's power, over all positions.

    Args:
        spectrum: of `power`, ``[positions, p, p]``, the mean of the feature over prompts and positions removed.

    Returns:
        ``frequency``, its ``share`` of the power, what it is mostly a function of (``kind``: ``"one"`` number,
        ``"sum"``, ``"difference"``), that kind's share of the power, ``positions`` (the share that only tells positions
        apart) and ``mixed`` (the share of two different frequencies).
    """
    total = float(spectrum.sum())
    kinds = {name: values.sum(0) for name, values in by_frequency(spectrum).items()}
    each = torch.stack(list(kinds.values())).sum(0)
    best = int(each.argmax())
    kind = max(kinds, key=lambda name: float(kinds[name][best]))
    constant = float(spectrum[..., 0, 0].sum())
    return {
        "frequency": best + 1,
        "share": float(each[best]) / total,
        "kind": kind,
        "kind_share": float(kinds[kind][best]) / total,
        "positions": constant / total,
        "mixed": max(0.0, 1 - (constant + float(each.sum())) / total),
    }


def label_by_frequency(traced: Traced, basis: Basis, prompts: Tensor, p: int, sites: Sequence[str] = ()) -> Plain:
    """Label every feature of a model of two numbers modulo p, and say how pure each site's features are.

    Args:
        traced: the model.
        basis: its basis.
        prompts: all p² prompts, that of a and b in row a p + b.
        p: an odd prime.
        sites: which ones; all but the last by default.

    Returns:
        ``features`` (by ``"site:index"`` what `label` gives) and ``sites`` (rows: ``site``, the ``share`` of the power
        in one frequency, its mean over features weighted by importance, and the same mean of ``mixed``, ``positions``).
    """
    chosen = [i for i, site in enumerate(basis) if site.name in (sites or [s.name for s in basis.sites[:-1]])]
    values = _features(traced, basis, prompts, chosen)
    features: Plain = {}
    rows = []
    for i in chosen:
        site, z = basis.sites[i], values[i]
        z = z - z.mean((0, 1), keepdim=True)
        found = [label(power(z[..., j].T.unflatten(1, (p, p)))) for j in range(site.k)]
        features.update({f"{site.name}:{j}": row for j, row in enumerate(found)})
        weights = site.importances / site.importances.sum()
        means = {
            key: float(weights @ torch.tensor([row[key] for row in found], dtype=torch.float64))
            for key in ("share", "mixed", "positions")
        }
        rows.append({"site": site.name, **means, "frequencies": _shares(found, weights)})
    return {"features": features, "sites": rows}


def _features(traced: Traced, basis: Basis, prompts: Tensor, chosen: Sequence[int]) -> dict[int, Tensor]:
    """Features of every prompt, ``[prompts, positions, k]``, by site."""
    parts: dict[int, list[Tensor]] = {i: [] for i in chosen}
    for batch in prompts.split(CHUNK):
        record = traced.record(batch)
        for i in chosen:
            parts[i].append(basis.sites[i].encode(record.activations[i]).to(torch.float64))
    return {i: torch.cat(found) for i, found in parts.items()}


def _shares(found: Sequence[Plain], weights: Tensor) -> dict[str, float]:
    """Importance by frequency, largest first: that of the features labelled with it, as a share."""
    total: dict[str, float] = {}
    for row, weight in zip(found, weights.tolist(), strict=True):
        total[str(row["frequency"])] = total.get(str(row["frequency"]), 0.0) + weight
    return dict(sorted(total.items(), key=lambda item: -item[1]))
