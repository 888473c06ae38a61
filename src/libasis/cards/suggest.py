"""Suggested labels: simple statistics of what a feature goes with, each with its effect size and p-value.

They are suggestions and no more: that a feature goes with a class does not say that the model uses it for that class.
Each kind tries many candidates and gives the best one; p-values are multiplied by the number of candidates and of
features (Bonferroni), so that chance alone makes any suggestion of one kind with probability `LEVEL` at most, as far as
the samples are independent (tokens of one text are not quite).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..numerics import two_sided_normal, two_sided_t, upper_f
from ..types import Matrix, Plain

LEVEL = 0.01
LEAST = 5
"""A class or token seen in fewer samples (or in all but fewer) is no candidate."""

ENOUGH = {"AUC": 0.5, "correlation": 0.4, "share of variance": 0.5, "share of squared effect": 0.5}
"""A statistic must be so strong, on a scale from 0 to 1 (an AUC of 0.75 and one of 0.25 are at 0.5)."""


@dataclass(frozen=True)
class Association:
    """The best candidate for each feature.

    Attributes:
        candidates: their number.
        best: the candidate, an index or label, per feature.
        effect: the statistic of the best, per feature.
        p: its p-value before any correction, per feature; None where there is none.
        n: number of values.
    """

    candidates: int
    best: list[int]
    effect: list[float]
    p: list[float] | None
    n: int

    def suggestions(self, kind: str, statistic: str, tests: int, name: Callable[[int], str]) -> list[Plain | None]:
        """For each feature the suggestion, or None where the best candidate is weak or could be chance."""
        out: list[Plain | None] = []
        for f, (best, effect) in enumerate(zip(self.best, self.effect, strict=True)):
            p = None if self.p is None else min(1.0, self.p[f] * self.candidates * tests)
            found = {"kind": kind, "value": name(best), "statistic": statistic, "effect": effect, "p": p, "n": self.n}
            weak = strength(found) < ENOUGH[statistic] or (p is not None and p > LEVEL)
            out.append(None if weak else found)
        return out


def strength(suggestion: Plain) -> float:
    """How strong a suggestion is, from 0 to 1."""
    effect = suggestion["effect"]
    return abs(2 * effect - 1) if suggestion["statistic"] == "AUC" else abs(effect)


def associated(rows: Tensor, labels: Tensor, values: Matrix, share: float = 1.0) -> Association | None:
    """The label whose rows have the highest or lowest values, by the area under the ROC curve.

    AUC = U / (n₁ n₂), the probability that a value with the label is above one without it, ties half. The p-value is
    that of the rank-sum test (normal approximation, corrected for ties by the variance of the ranks).

    Args:
        rows: number of the row for each of the labels; a row can have several, each of them once.
        labels: whole numbers, one for each of ``rows``.
        values: ``[n, features]``.
        share: of the rows that count as independent.
    """
    from scipy.stats import rankdata  # takes half a second to import

    n = len(values)
    known, index, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    usable = (counts >= LEAST) & (n - counts >= LEAST)
    if not bool(usable.any()):
        return None
    ranks = torch.from_numpy(rankdata(values.numpy(), axis=0))
    sums = torch.zeros(len(known), values.shape[1], dtype=torch.float64).index_add_(0, index, ranks[rows])
    n1 = counts[usable].to(torch.float64)[:, None]
    n2 = n - n1
    u = sums[usable] - n1 * (n1 + 1) / 2
    spread = (n1 * n2 / (n * (n - 1)) * (ranks - (n + 1) / 2).square().sum(0)).sqrt()
    auc = u / (n1 * n2)
    z = torch.where(spread > 0, (u - n1 * n2 / 2) / spread, torch.zeros_like(u))
    best = z.abs().argmax(0)
    at = (best, torch.arange(values.shape[1]))
    labels_kept = known[usable]
    p = [two_sided_normal(float(value)) for value in z[at] * share**0.5]
    return Association(len(labels_kept), labels_kept[best].tolist(), auc[at].tolist(), p, n)


def correlated(columns: Matrix, values: Matrix, among: Tensor | None = None, share: float = 1.0) -> Association | None:
    """The column ``[n, columns]`` with the largest Pearson correlation with each feature's values ``[n, features]``.

    ``among`` says of which columns a feature may be called, ``[columns, features]``; ``share`` is that of the rows that
    count as independent.
    """
    n = len(values)
    if n < LEAST:
        return None
    a, b = _standard(columns), _standard(values)
    r = (a.T @ b / n).clamp(-1, 1)
    if among is not None:
        r = torch.where(among, r, torch.zeros_like(r))
    best = r.abs().argmax(0)
    effect = r[best, torch.arange(values.shape[1])].tolist()
    known = n * share
    p = [two_sided_t(_t_of(value, known), known - 2) if known > 2 else 1.0 for value in effect]
    return Association(columns.shape[1], best.tolist(), effect, p, n)


def _standard(x: Matrix) -> Matrix:
    """Columns of mean 0 and variance 1; 0 where a column does not vary."""
    centred = x.to(torch.float64) - x.to(torch.float64).mean(0)
    deviation = centred.square().mean(0).sqrt()
    varies = deviation > 1e-9 * x.to(torch.float64).abs().amax(0)
    return torch.where(varies, centred / deviation, torch.zeros_like(centred))


def _t_of(r: float, n: float) -> float:
    rest = 1 - r * r
    return r * math.sqrt((n - 2) / rest) if rest > 0 else math.inf


def periodic(variables: Matrix, modulus: int, values: Matrix) -> Association | None:
    """The frequency that makes the largest share of each feature's variance.

    With ω = 2πk/modulus, the values are fitted by the cosines and sines of ω a (one variable), or of ω a, ω b, ω(a+b)
    and ω(a−b) (two); the effect is the share of the variance that these explain, corrected for their number (adjusted
    R²), and p that of the F test. Frequencies k run from 1 to half of the modulus.

    Args:
        variables: whole numbers from 0 to below the modulus, ``[n, 1 or 2]``.
        modulus: the period.
        values: ``[n, features]``.
    """
    n, terms = len(values), 8 if variables.shape[1] == 2 else 2
    if n < 4 * terms:
        return None
    a = variables.to(torch.float64)
    angles = a if terms == 2 else torch.stack([a[:, 0], a[:, 1], a[:, 0] + a[:, 1], a[:, 0] - a[:, 1]], 1)
    centred = values - values.mean(0)
    total = centred.square().sum(0)
    shares = []
    for k in range(1, modulus // 2 + 1):
        phase = angles * (2 * math.pi * k / modulus)
        basis = torch.cat([phase.cos(), phase.sin()], 1)
        basis = basis - basis.mean(0)
        u, s, _ = torch.linalg.svd(basis, full_matrices=False)
        explained = (u[:, s > 1e-9 * s[0]].T @ centred).square().sum(0)
        shares.append(torch.where(total > 0, explained / total, torch.zeros_like(total)))
    share = torch.stack(shares)
    best = share.argmax(0)
    raw = share[best, torch.arange(values.shape[1])].clamp(max=1)
    free = n - 1 - terms
    effect = (1 - (1 - raw) * (n - 1) / free).tolist()
    p = [upper_f(float(r / terms / ((1 - r) / free)) if r < 1 else math.inf, terms, free) for r in raw]
    return Association(len(share), (best + 1).tolist(), effect, p, n)


def single_output(effects: Matrix, n: int) -> Association | None:
    """The output on which a feature acts most, by its share of the squared effects ``[features, outputs]``.

    There is no p-value: the effects come from interventions, and their intervals are on the card.
    """
    if effects.shape[1] < 3:
        return None  # of one output it says nothing, of two (often opposite) next to nothing
    squares = effects.square()
    total = squares.sum(1)
    best = squares.argmax(1)
    share = torch.where(total > 0, squares[torch.arange(len(effects)), best] / total, torch.zeros_like(total))
    return Association(effects.shape[1], best.tolist(), share.tolist(), None, n)


def cyclic(tokens: Tensor, most: int = 512) -> tuple[list[int], int] | None:
    """The positions that hold whole numbers modulo something, and the modulus; None where there are none.

    One or two positions vary, all others are constant, and each of those that vary takes every value from 0 to one
    below the modulus.

    Args:
        tokens: ``[n, position]``.
        most: the largest modulus.
    """
    varying = [t for t in range(tokens.shape[1]) if bool((tokens[:, t] != tokens[0, t]).any())]
    if not 1 <= len(varying) <= 2:
        return None
    moduli = set()
    for t in varying:
        seen = torch.unique(tokens[:, t])
        if int(seen[0]) != 0 or len(seen) != int(seen[-1]) + 1:
            return None
        moduli.add(len(seen))
    modulus = moduli.pop()
    return (varying, modulus) if not moduli and 4 <= modulus <= most else None


def strongest(found: Sequence[Sequence[Plain | None]], feature: int, *, named: bool = False) -> list[Plain]:
    """All suggestions for one feature, the strongest first; of inputs with names a column before everything else.

    That a feature of a classifier goes with a class says little; which sensor it follows says what it is.
    """
    own = [kind[feature] for kind in found]
    return sorted(
        (s for s in own if s is not None), key=lambda s: (named and s["kind"] == "column", strength(s)), reverse=True
    )
