"""What suggestions are based on: features of samples drawn at random, with their classes, tokens and columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..measure.draw import Draw, Item
from ..numerics import Sums
from ..types import Counted, Matrix, Plain
from .contents import Contents
from .independent import Independent
from .suggest import Association, associated, correlated, cyclic, periodic

SAMPLES = 4096
VALUES = 2**16
"""At most so many samples and (sample, position) pairs are drawn."""

COLUMNS = 1024
"""Of wider inputs no column is suggested."""

PLACES = 8
"""At a site of one position, tokens are told apart by their place in texts of at most so many tokens."""


class Evidence(Sums):
    """A draw of samples and what can be read off it: features per site, tokens or columns, classes."""

    sums = ("draw",)

    def __init__(self, contents: Contents, length: int, seed: int) -> None:
        self.contents = contents
        self.draw = Draw(min(SAMPLES, max(64, VALUES // max(length, 1))), seed)

    def add(
        self, numbers: Tensor, features: list[Tensor], counted: list[Counted | None], inputs: Tensor, targets: Any
    ) -> None:
        """Look at samples with these numbers; ``features`` are those of each site."""
        size = len(inputs)
        classes = targets.long() if isinstance(targets, Tensor) and not targets.is_floating_point() else None
        if classes is not None and (classes.ndim not in (1, 2) or len(classes) != size):
            classes = None
        text = self.contents.kind == "text"
        lengths = {
            inputs.shape[1] if text and inputs.ndim > 1 else 1,
            *(classes.shape[1:2] if classes is not None else ()),
        }
        held = [_held(z, c, lengths) for z, c in zip(features, counted, strict=True)]
        small = text or (self.contents.kind in ("table", "number") and inputs.ndim == 2 and inputs.shape[1] <= COLUMNS)

        def make(row: int) -> Item:
            item: Item = {f"features.{place}": z[row].clone() for place, z in enumerate(held)}
            if small:
                item["shown"] = inputs[row].to("cpu", copy=True)
            if classes is not None:
                item["target"] = classes[row].to("cpu", copy=True)
            return item

        self.draw.add(numbers, make)

    def found(
        self,
        site: int,
        tests: int,
        name: Callable[[int], str],
        read: Tensor | None = None,
        independent: Independent | None = None,
    ) -> list[list[Plain | None]]:
        """Suggestions of each kind for each feature of a site; of columns those ``read``, ``[columns, feature]``."""
        share = self._share(independent)
        drawn = [item for _, item in self.draw.items()]
        key = f"features.{site}"
        shapes = {(item[key].shape, item["shown"].shape if "shown" in item else None) for item in drawn}
        if len(drawn) < 2 or len(shapes) > 1:
            return []
        values = torch.stack([item[key] for item in drawn])
        out: list[list[Plain | None]] = []

        def suggest(found: Association | None, kind: str, statistic: str, named: Callable[[int], str]) -> None:
            if found is not None:
                out.append(found.suggestions(kind, statistic, tests, named))

        if all("target" in item for item in drawn):
            suggest(_by_label(torch.stack([item["target"] for item in drawn]), values, share), "class", "AUC", name)
        if "shown" not in drawn[0]:
            return out
        shown = torch.stack([item["shown"] for item in drawn])
        if self.contents.kind == "text":
            self._text(shown.reshape(len(shown), -1), values, suggest)
        else:
            columns = self.contents.columns or [str(i) for i in range(shown.shape[1])]
            pooled = _pooled(values)
            suggest(correlated(shown, pooled, read, share), "column", "correlation", lambda i: columns[i])
        return out

    def _share(self, independent: Independent | None) -> float:
        """Of the samples drawn, the share that counts as independent."""
        numbers = torch.tensor([number for number, _ in self.draw.items()], dtype=torch.int64)
        codes = None if independent is None else independent.of(numbers)
        return 1.0 if codes is None else len(set(codes.tolist())) / max(1, len(numbers))

    def _text(self, tokens: Tensor, values: Tensor, suggest: Callable[..., None]) -> None:
        per_token = values.ndim == 3 and values.shape[1] == tokens.shape[1]
        if per_token:
            suggest(_by_label(tokens, values), "token", "AUC", lambda t: self._token(tokens, t, None))
        else:
            base = int(tokens.max()) + 1 if tokens.shape[1] <= PLACES else None
            rows, labels = _distinct(tokens if base is None else tokens + base * torch.arange(tokens.shape[1]))
            found = associated(rows, labels, _pooled(values))
            suggest(found, "token", "AUC", lambda t: self._token(tokens, t, base))
        wheel = cyclic(tokens)
        if wheel is None:
            return
        varying, modulus = wheel
        if per_token:
            own = values[:, varying] - values[:, varying].mean(0)
            found = periodic(tokens[:, varying].reshape(-1, 1), modulus, own.flatten(0, 1))
        else:
            found = periodic(tokens[:, varying], modulus, _pooled(values))
        suggest(found, "frequency", "share of variance", lambda k: f"{k} of {modulus}")

    def _token(self, tokens: Tensor, label: int, base: int | None) -> str:
        """The text of a token, named within a sample that has it: its name may depend on its place."""
        place, token = (None, label) if base is None else divmod(label, base)
        where = tokens == token
        if place is not None:
            where[:, :place] = False
            where[:, place + 1 :] = False
        row, at = torch.nonzero(where)[0].tolist()
        return self.contents.tokens(tokens[row])[at]


def _held(z: Tensor, counted: Counted | None, lengths: set[int]) -> Tensor:
    """Features of each position where the positions are those of tokens or targets, else the mean over positions."""
    if z.shape[1] > 1 and z.shape[1] in lengths:
        return z if counted is None else z.masked_fill(~counted[..., None], torch.nan)
    if counted is None:
        return z.mean(1)
    weight = counted.to(z)[..., None]
    total = weight.sum(1)
    return torch.where(total > 0, (z * weight).sum(1) / total, torch.full_like(total, torch.nan))


def _pooled(values: Tensor) -> Matrix:
    return values if values.ndim == 2 else values.nanmean(1)


def _by_label(labels: Tensor, values: Tensor, share: float = 1.0) -> Association | None:
    """Labels ``[n]`` or ``[n, position]`` beside values ``[n, features]`` or ``[n, position, features]``."""
    if labels.ndim == 2 and values.ndim == 3 and labels.shape[1] == values.shape[1]:
        labels, values = labels.flatten(), values.flatten(0, 1)
    elif labels.ndim == 1:
        values = _pooled(values)
    else:
        return None
    counted = (labels >= 0) & ~values.isnan().any(1)
    labels, values = labels[counted], values[counted]
    return associated(torch.arange(len(labels)), labels, values, share) if len(labels) > 1 else None


def _distinct(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's labels, each of them once: numbers of the rows, and the labels."""
    rows = torch.arange(len(labels))[:, None].expand_as(labels)
    pairs = torch.unique(torch.stack([rows, labels]).flatten(1), dim=1)
    return pairs[0], pairs[1]
