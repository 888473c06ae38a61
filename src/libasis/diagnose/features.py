"""Features inside the model that carry the alarm: named by the inputs that they read, tested as inputs are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..basis import SiteBasis
from ..build import fit
from ..cut import Record, trace
from ..errors import OptionError
from ..measure import Records
from ..numerics import rank_p
from ..scan import scan
from ..types import Plain
from .alarm import AnomalyScore
from .effects import CONTROL_ROWS, CONTROLS, FEWEST, SURE, Effects, Restored, Tested, tested
from .exchange import DONORS, evenly

SCANNED = 256
"""Rows of each group by which sites are chosen."""
PER_SITE = 12
"""Features of a site that are tested, the most important ones."""
READ, LEAST, NAMES = 0.3, 0.3, 3
"""An input is read where setting it to normal moves the feature by this part of what the first one does, and that by so
many standard deviations; at most so many are named."""


def recommended(effects: Effects) -> list[str]:
    """The sites inside the model that `scan` recommends for these rows, at most two.

    Raises:
        LibasisError: the model cannot be cut.
    """
    change = effects.exchange
    model = change.alarm.model.model if isinstance(change.alarm.model, AnomalyScore) else change.alarm.model
    some = torch.cat([rows[evenly(len(rows), SCANNED)] for rows in (change.normal, change.rows)])
    found = scan(model, [change.alarm.runs.samples(some)], budget=4).recommended
    return [name for name in found if name not in ("input", "output")][:2]


def features_tested(
    effects: Effects, sites: Sequence[str], inputs: Sequence[int], delta: float | None
) -> list[tuple[str, int, list[str], Tested]]:
    """Site, number, inputs that are read and verdict of the most important features of each site, the surest first.

    Args:
        effects: of the inputs.
        sites: names of sites of the model.
        inputs: that features may be said to read.
        delta: the smallest change of interest.

    Raises:
        SiteError: a site is unknown or no cut.
        OptionError: the output is named, of which there is nothing to set.
    """
    if "output" in sites:
        raise OptionError('sites names "output", whose features are the alarm itself; name sites inside the model.')
    inside = Inside(effects, sites)
    named = [(l, i) for l, site in enumerate(inside.sites) for i in range(min(site.k, PER_SITE))]
    found = [inside.effect(l, i) for l, i in named]
    tests = tested(found, delta, [lambda place=place: inside.specific(*place, len(found)) for place in named])
    reads = [inside.reads(l, inputs) for l in range(len(inside.sites))]
    rows = [(sites[l], i, reads[l][i], test) for (l, i), test in zip(named, tests, strict=True)]
    return sorted(rows, key=lambda row: (row[3].verdict not in SURE, row[3].effect.estimate.value))


class Inside:
    """The rows of both groups at the sites of the model.

    Args:
        effects: of the inputs.
        sites: their names.
    """

    def __init__(self, effects: Effects, sites: Sequence[str]) -> None:
        self.effects = effects
        change = effects.exchange
        self.samples = change.alarm.runs.samples
        wrapped = change.alarm.kind == "reconstruction"  # its error is of the input, which goes around every site
        names = [f"model.{name}" if wrapped and name != "input" else name for name in sites]
        around = "hold" if wrapped else "refuse"
        self.traced = trace(change.alarm.model, self.samples(change.normal[:8]), [*names, "output"], around=around)
        both = torch.cat([change.normal, change.rows[evenly(len(change.rows), len(change.normal))]])
        self.basis = fit(self.traced, [self.samples(both)], progress=False)
        self.sites: list[SiteBasis] = list(self.basis)[:-1]
        self.records = [self._run(change.rows), self._run(change.normal)]
        nearest = [change.nearest(group, DONORS) for group in (0, 1)]
        self.donors = [[change.normal[near[:, k]] for k in range(near.shape[1])] for near in nearest]
        self._donated = [[self._run(rows) for rows in group] for group in self.donors]
        self.drawn = [change.drawn(group) for group in (0, 1)]

    def _run(self, rows: Tensor) -> Record:
        return next(iter(Records(self.traced, [self.samples(rows)], 1, progress=False).stream()))

    def _features(self, record: Record, l: int, i: int | slice = slice(None)) -> Tensor:
        """Features at a site, ``[rows, position, k]``, or one alone, ``[rows, position]``."""
        x, site = record.activations[l], self.sites[l]
        C = site.C[:, i].to(x).double()
        return x.double() @ C - site.mean.to(x).double() @ C

    def _scores(self, group: int, l: int, change: Tensor, i: int) -> Tensor:
        """Scores of a group's rows with feature i changed by so much, ``[rows, position]``."""
        record = self.records[group]
        x = record.activations[l]
        with torch.no_grad():
            out = record.rest(l, x + change.to(x)[..., None] * self.sites[l].C_pinv[i].to(x))
        targets = self.effects.exchange.targets[group]
        return self.effects.exchange.alarm.score(out, targets).double().cpu()

    def effect(self, l: int, i: int) -> Restored:
        """Feature i of site l at its values in matched normal rows."""
        own, alarms = self.effects, self.effects.exchange.alarm.alarms
        calm, fault = (self._features(self.records[group], l, i) for group in (1, 0))
        own_amounts = (fault, calm)

        def scored(group: int, to: Tensor) -> Tensor:
            return self._scores(group, l, to - own_amounts[group], i)

        scores, normal = (
            torch.stack([scored(group, self._features(record, l, i)) for record in self._donated[group]])
            for group in (0, 1)
        )
        typical = alarms(scored(0, calm.mean(0, keepdim=True)))
        taken_from = (fault[self.drawn[0]], calm[self.drawn[1]])
        alone, foreign = (float(alarms(scored(1, one)).mean()) for one in taken_from)
        score, moved = scores.mean(0).numpy(), (alarms(normal).mean(0) - own.normal_before).numpy()
        before, after = own.before.numpy(), alarms(scores).mean(0).numpy()
        units = own.units_of((score, after - before), (normal.mean(0).numpy(), moved))
        return Restored((), before, after, typical.numpy(), score, moved, *units, alone, foreign)

    def specific(self, l: int, i: int, tests: int) -> float | None:
        """The rank among random directions of the site's standardised features, see `Effects.specific`."""
        site = self.sites[l]
        if site.k < FEWEST:
            return None
        change = self.effects.exchange
        at = evenly(len(change.rows), CONTROL_ROWS // (4 if change.groups.image else 1))
        record, given = self._run(change.rows[at]), self._run(self.donors[0][0][at])
        x, z, donated = record.activations[l], self._features(record, l), self._features(given, l)
        spread = site.variances.clamp(min=0).sqrt().to(z)
        size = (donated - z)[..., i] / spread[i].clamp(min=1e-12)
        usual, targets = float(self.effects.normal_base.median()), change.targets[0]
        targets = None if targets is None else targets[at]
        written = site.C_pinv.to(z)

        def reached(moved: Tensor) -> float:
            with torch.no_grad():
                out = record.rest(l, x + (moved * spread @ written).to(x))
            return float(change.alarm.score(out, targets).double().clamp(min=usual).mean())

        count = max(CONTROLS // 5, int(tests / 0.05 * 1.25))
        one = torch.zeros(site.k).to(z)
        one[i] = 1
        wanted = reached(size[..., None] * one)
        generator = torch.Generator().manual_seed(change.seed + 1)
        drawn = torch.randn(count, site.k, generator=generator, dtype=torch.float64).to(z)
        return rank_p(-wanted, np.array([-reached(size[..., None] * v / v.norm()) for v in drawn]))[0]

    def reads(self, l: int, inputs: Sequence[int]) -> list[list[str]]:
        """By feature of a site the inputs that move it most when they are set to normal on the anomalous rows.

        At the position where each moves it most: an input is part of what some positions see. By a patch of an image
        moved to one side over all rows: images differ from each other everywhere.
        """
        change, site = self.effects.exchange, self.sites[l]
        now = self._features(self.records[0], l)
        spread = site.variances.clamp(min=1e-24).sqrt().to(now)
        edited = (self._features(self._run(change.matched([i], 0)[0]), l) for i in inputs)
        changes = ((now - one) / spread for one in edited)
        image = change.groups.image
        means = [(one.mean(0).abs() if image else one.abs().mean(0)).amax(0) for one in changes]
        moved = torch.stack(means).cpu().numpy()
        out = []
        for column in moved.T:
            order = [k for k in np.argsort(-column, kind="stable")[:NAMES] if column[k] >= READ * column.max()]
            out.append([change.groups.names[inputs[k]] for k in order] if column.max() >= LEAST else [])
        return out


def feature_rows(effects: Effects, found: Sequence[tuple[str, int, list[str], Tested]]) -> list[Plain]:
    """One plain row per feature."""
    rows = [
        {
            "feature": f"{site}:{i}",
            "site": site,
            "name": ", ".join(reads),
            "reads": reads,
            "verdict": one.verdict,
            "before": float(one.effect.before.mean()),
            "after": float(one.effect.after.mean()),
            "low": effects.within(one.effect.estimate.low),
            "high": effects.within(one.effect.estimate.high),
            "effect": one.effect.estimate.value,
            "p": one.p,
            "p_specific": one.p_specific,
            "n": one.effect.estimate.n,
            "units": one.effect.estimate.units,
            "collateral": float(one.effect.normal.mean()),
            "alone": one.effect.alone,
            **one.reason(),
        }
        for site, i, reads, one in found
    ]
    return [effects.turned(row) for row in rows]
