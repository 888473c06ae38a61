"""How much of the alarm each input carries: what ranks them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .effects import Effects, Restored
from .exchange import evenly

ROWS, ORDERS, DONORS, RUNS = 96, 40, 3, 300_000
"""Rows, orders of the inputs, donors, and runs of the model at most (of images a fifth), for the shares."""
WEIGHT = 0.4
"""Of the shares beside the two alarm rates."""
RESAMPLES = 200


def shares(effects: Effects, inputs: Sequence[int], seed: int) -> np.ndarray:
    """By input and row what share of a row's excess score it makes, ``[inputs, rows]``: a Shapley value by sampling.

    Each row goes from its nearest normal row to itself, one input after the other, in random orders; the share is the
    mean step, over the whole way, between -1 and 1. A row far out of the ordinary counts no more than any other.
    """
    change = effects.exchange
    at = evenly(len(change.rows), ROWS)
    rows, rng = change.rows[at], np.random.default_rng(seed)
    near = change.nearest(0, DONORS)[at]
    runs = RUNS // 5 if change.groups.image else RUNS
    orders = max(4, min(ORDERS, runs // (len(rows) * (len(inputs) + 1))))
    rest = [i for i in range(len(change.groups.parts)) if i not in set(inputs)]
    total = np.zeros((len(inputs), len(rows)))
    for _ in range(orders):
        donor = near[torch.arange(len(rows)), torch.from_numpy(rng.integers(0, near.shape[1], len(rows)))]
        now = change.normal[donor].clone()
        if rest:
            now[:, change.columns(rest)] = rows[:, change.columns(rest)]
        order, path = rng.permutation(len(inputs)), [now]
        for i in order:
            now, own = now.clone(), change.groups.parts[inputs[i]]
            now[:, own] = rows[:, own]
            path.append(now)
        scores = change.scores(torch.cat(path), 0, at).reshape(len(path), -1).numpy()
        way = np.abs(scores[-1] - scores[0])
        size = np.where(way > 1e-12 * np.abs(scores).max(initial=1e-300), way, np.inf)
        total[order] += ((scores[1:] - scores[:-1]) / size).clip(-1, 1) / orders
    return total


def importances(effects: Effects, found: Sequence[Restored], share: np.ndarray) -> np.ndarray:
    """What inputs are ranked by, ``[inputs]``.

    How much of the alarm goes when the input alone is set to normal, and how much more comes when it alone is as in the
    anomalous rows than when it is as in other normal rows, both in alarm rates (or in parts of the groups' difference
    in score), plus `WEIGHT` times its share.
    """
    gone = np.array([float((one.before - one.after).mean()) for one in found])
    return (gone + _come(found)) / effects.size + WEIGHT * share.mean(1)


def stability(effects: Effects, found: Sequence[Restored], share: np.ndarray, seed: int, top: int = 3) -> np.ndarray:
    """By input the share of resamples of the anomalous units in which it is among the first three, ``[inputs]``."""
    rng = np.random.default_rng(seed)
    at = evenly(len(effects.exchange.rows), ROWS).numpy()
    drops = np.stack([one.before - one.after for one in found])
    units = found[0].units if found else np.zeros(0)
    members = [np.flatnonzero(units == u) for u in np.unique(units)]
    column = {int(row): k for k, row in enumerate(at)}
    come, hits = _come(found), np.zeros(len(found))
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        own = [column[r] for r in rows.tolist() if r in column]
        part = share[:, own].mean(1) if own else share.mean(1)
        value = (drops[:, rows].mean(1) + come) / effects.size + WEIGHT * part
        hits[np.argsort(-value, kind="stable")[:top]] += 1
    return hits / RESAMPLES


def _come(found: Sequence[Restored]) -> np.ndarray:
    return np.array([one.alone - one.foreign for one in found])
