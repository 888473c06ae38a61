"""What the calls of this room return: plain data, with a page each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from .. import pages
from ..arguments import typed
from ..numerics import half_width
from ..store import Stored, listed
from ..types import Matrix, Plain, Vector

AGREE, PARTLY = 0.1, 0.5
"""Disagreements below are called agreement, and agreement in part."""


LEAST = 5
"""Samples for an interval."""


def _interval(values: Vector) -> tuple[float | None, float | None]:
    """The 95% interval of a mean over samples (Student's t); none for few."""
    if len(values) < LEAST:
        return None, None
    mean, width = float(values.mean()), half_width(len(values) - 1) * float(values.std()) / len(values) ** 0.5
    return mean - width, mean + width


class _Local(Stored):
    """What all of them can do."""

    @typed
    def to_html(self, path: str | Path, lang: str = "en") -> Path:
        """Write a self-contained page; ``"en"`` or ``"ja"``, which can be switched in it.

        Raises:
            OptionError: the language is unknown.
            StoreError: there is a file that is no page of libasis, or it cannot be written.
        """
        return pages.write_page(self, path, lang)


@dataclass(frozen=True, eq=False, repr=False)
class Contributions(_Local, kind="contributions"):
    """What each feature of a site adds to the change of an output from a baseline; with the rest they add up to it.

    Attributes:
        site: where the features are.
        output: what is explained, in words.
        baseline: from where, in words.
        samples: their numbers in the data ``[n]``.
        scores: the output of each sample ``[n]``.
        baseline_scores: the output at the baseline, the mean where there are several ``[n]``.
        contributions: of each feature ``[n, k]``.
        outside: of what the basis leaves out of the activation ``[n]``.
        moved: how far each feature is from the baseline, in its standard deviations on the data of the fit, the mean
            over the positions that count ``[n, k]``.
        places: of all features at each position of the site, for the samples shown, ``[position]`` each.
        missing: what contributions and rest miss of the change, as a part of it ``[n]``; at most 0.01.
        nodes: derivatives taken for each sample ``[n]``; more than the others where a sample bends.
        labels: of features, by number.
        shown: the first samples as a person sees them.
        info: data, basis, seed, model, versions.
    """

    site: str
    output: str
    baseline: str
    samples: Tensor
    scores: Vector
    baseline_scores: Vector
    contributions: Matrix
    outside: Vector
    moved: Matrix
    places: list[Tensor]
    missing: Vector
    nodes: Tensor
    labels: dict[int, str] = field(default_factory=dict)
    shown: list[Plain] = field(default_factory=list)
    info: Plain = field(default_factory=dict)

    @property
    def change(self) -> Vector:
        """How far the output is from that of the baseline ``[n]``."""
        return self.scores - self.baseline_scores

    @property
    def residual(self) -> Vector:
        """The change without all contributions and the rest ``[n]``."""
        return self.change - self.contributions.sum(1) - self.outside

    def rows(self) -> list[Plain]:
        """A row per feature, the largest mean contribution first; then what the basis leaves out, and the residual."""
        size = self.contributions.abs().mean(0)
        order = torch.sort(size, descending=True, stable=True).indices.tolist()
        found = [
            self._row(f"{self.site}:{i}", self.contributions[:, i], self.labels.get(i), self.moved[:, i]) for i in order
        ]
        return [
            *found,
            self._row("outside the basis", self.outside),
            self._row("residual", self.residual),
            self._row("change", self.change),
        ]

    def _row(self, name: str, values: Vector, label: str | None = None, moved: Vector | None = None) -> Plain:
        whole = float(self.change.mean())
        mean = float(values.mean())
        low, high = _interval(values)
        return {
            "part": name,
            "label": label,
            "contribution": mean,
            "low": low,
            "high": high,
            "share": mean / whole if whole else None,
            "moved_sd": None if moved is None else float(moved.mean()),
            "samples": len(values),
        }

    def flaw(self) -> str | None:
        """What makes it no such result; None if it is one."""
        n, k = self.contributions.shape if self.contributions.ndim == 2 else (-1, -1)
        one = ("samples", "scores", "baseline_scores", "outside", "missing", "nodes")
        if any(list(getattr(self, name).shape) != [n] for name in one) or list(self.moved.shape) != [n, k]:
            return "its numbers are not of one length"
        return None

    def __repr__(self) -> str:
        head = (
            f"Contributions({self.site!r} to {self.output}, {len(self.samples)} samples, change "
            f"{float(self.change.mean()):.4g} from {self.baseline}; residual {float(self.residual.mean()):.2g}, at "
            f"most {float(self.missing.max()):.2%} of a sample's change)"
        )
        return listed(head, [f"  {row['part']}: {row['contribution']:.4g}" for row in self.rows()[:-2]])


@dataclass(frozen=True, eq=False, repr=False)
class Counterfactuals(_Local, kind="counterfactuals"):
    """For each sample the smallest change found of few features that flips the model's decision.

    Attributes:
        site: where features were changed.
        decision: what decides, in words.
        found: one mapping for each sample: ``sample`` (its number), ``before`` and ``after`` (what the model decides,
            ``after`` None where no change within the range flips it), ``margin`` (what is missing to flip before any
            change), ``distance`` (of the change, in standard deviations), ``changes`` (for each feature changed
            ``feature``, ``from``, ``to``, ``sd`` (how far it moves, in standard deviations), ``low`` and ``high`` (the
            range observed)) and, where the site holds the inputs, ``inputs`` (``column``, ``from``, ``to``).
        most: features that could change together.
        labels: of features, by number.
        shown: the first samples as a person sees them.
        info: data, basis, model, versions.
    """

    site: str
    decision: str
    found: list[Plain]
    most: int
    labels: dict[int, str] = field(default_factory=dict)
    shown: list[Plain] = field(default_factory=list)
    info: Plain = field(default_factory=dict)

    def rows(self) -> list[Plain]:
        """A row for each feature changed of each sample; one row without a feature where none was found."""
        out = []
        for one in self.found:
            head = {key: one[key] for key in ("sample", "before", "after", "margin", "distance")}
            for change in one["changes"] or [{}]:
                number = change.get("feature")
                name = None if number is None else f"{self.site}:{number}"
                label = None if number is None else self.labels.get(number)
                told = {key: change.get(key) for key in ("from", "to", "sd", "low", "high")}
                out.append({**head, "feature": name, "label": label, **told})
        return out

    def __repr__(self) -> str:
        flipped = sum(one["after"] is not None for one in self.found)
        head = f"Counterfactuals({self.site!r}, {self.decision}: {flipped} of {len(self.found)} samples flip)"
        return listed(head, [f"  {_told(one, self.site)}" for one in self.found])


def _told(one: Plain, site: str) -> str:
    if one["after"] is None:
        return f"sample {one['sample']}: {one['before']}; none found within the range"
    moves = ", ".join(f"{site}:{c['feature']} by {c['sd']:+.2f} sd" for c in one["changes"])
    return f"sample {one['sample']}: {one['before']} becomes {one['after']} with {moves}"


@dataclass(frozen=True, eq=False, repr=False)
class InputSensitivity(_Local, kind="input-sensitivity"):
    """How features and an output change with the input: what a finite change does, and what the derivative says of it.

    Tokens that don't count are not replaced: of them the numbers are not a number.

    Attributes:
        quantities: names of the features and of the output, m of them.
        parts: names of the parts of the input (columns, patches, tokens), those of the longest sample.
        samples: numbers of the samples ``[n]``.
        finite: for each sample how much each quantity changes when a part is replaced, ``[parts, m]``.
        derivative: for each sample what the derivative says of the same change, ``[parts, m]``.
        slopes: where each part is one floating number: the derivative itself, in the units shown, ``[n, parts, m]``.
        noise: size of the noise, in standard deviations of each number.
        noise_finite: root mean square change with noise ``[n, m]``.
        noise_derivative: what the derivative says of it ``[n, m]``.
        disagreement: of each quantity, for parts and for noise ``[2, m]``: the size of the difference of both over the
            sum of their sizes, 0 where they are equal and 1 where one is nothing or the opposite of the other.
        boxes: of patches: top, left, height and width in pixels; None elsewhere.
        labels: of features, by quantity.
        shown: the first samples as a person sees them.
        info: what parts were replaced by, data, basis, seed, model, versions.
    """

    quantities: list[str]
    parts: list[str]
    samples: Tensor
    finite: list[Tensor]
    derivative: list[Tensor]
    slopes: Tensor | None
    noise: float
    noise_finite: Matrix
    noise_derivative: Matrix
    disagreement: Matrix
    boxes: list[tuple[int, int, int, int]] | None = None
    labels: dict[str, str] = field(default_factory=dict)
    shown: list[Plain] = field(default_factory=list)
    info: Plain = field(default_factory=dict)

    def rows(self) -> list[Plain]:
        """A row for each quantity and part of the input, and for each quantity with noise."""
        return [row for q in range(len(self.quantities)) for row in self._rows(q)]

    def _rows(self, q: int) -> Iterator[Plain]:
        head = {"quantity": self.quantities[q], "label": self.labels.get(self.quantities[q])}
        for p, part in enumerate(self.parts):
            there = [n for n, values in enumerate(self.finite) if p < len(values) and not values[p, q].isnan()]
            if not there:
                continue
            finite, derivative = (
                torch.stack([found[n][p, q] for n in there]) for found in (self.finite, self.derivative)
            )
            low, high = _interval(finite)
            yield {
                **head,
                "part": part,
                "finite": float(finite.mean()),
                "low": low,
                "high": high,
                "derivative": float(derivative.mean()),
                "slope": None if self.slopes is None else float(self.slopes[:, p, q].mean()),
                "disagreement": float(self.disagreement[0, q]),
                "samples": len(there),
            }
        yield {
            **head,
            "part": f"noise of {self.noise:g} sd",
            "finite": float(self.noise_finite[:, q].square().mean().sqrt()),
            "low": None,
            "high": None,
            "derivative": float(self.noise_derivative[:, q].square().mean().sqrt()),
            "slope": None,
            "disagreement": float(self.disagreement[1, q]),
            "samples": len(self.samples),
        }

    def said(self, quantity: int, kind: int = 0) -> str:
        """The disagreement of a quantity in a word: ``"agree"``, ``"partly"`` or ``"disagree"``."""
        value = float(self.disagreement[kind, quantity])
        return "agree" if value < AGREE else "partly" if value < PARTLY else "disagree"

    def flaw(self) -> str | None:
        """What makes it no such result; None if it is one."""
        m = len(self.quantities)
        shapes = [list(x.shape) for x in (*self.finite, *self.derivative)]
        if any(len(shape) != 2 or shape[1] != m or shape[0] > len(self.parts) for shape in shapes):
            return "its changes are not of its parts and quantities"
        return None if len(self.finite) == len(self.derivative) == len(self.samples) else "its samples are not as many"

    def __repr__(self) -> str:
        words = {
            "agree": "derivative and finite changes agree",
            "partly": "derivative and finite changes agree in part",
            "disagree": "derivative and finite changes disagree",
        }
        rows = [
            f"  {name}: {words[self.said(q)]} (disagreement {float(self.disagreement[0, q]):.2f}; with noise "
            f"{float(self.disagreement[1, q]):.2f})"
            for q, name in enumerate(self.quantities)
        ]
        return listed(f"InputSensitivity({len(self.samples)} samples, {len(self.parts)} parts of the input)", rows)
