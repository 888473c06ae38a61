"""Which features get a card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..basis import Basis
from ..errors import OptionError
from ..intervene import most_important

Features = int | str | Iterable[str] | Mapping[str, int | Iterable[int]] | None


def chosen_features(basis: Basis, features: Features, labels: Mapping[str, str]) -> dict[int, list[int]]:
    """Numbers of features by the number of their site.

    Args:
        basis: whose features.
        features: so many of each site, the most important, or all (None); or those named, see `collect`.
        labels: what people call features, by id.

    Raises:
        OptionError: there is no such feature, or none is named.
    """
    if features is None or (isinstance(features, int) and not isinstance(features, bool) and features > 0):
        return {l: most_important(site, features) for l, site in enumerate(basis)}
    ids = {f"{site.name}:{i}": (l, i) for l, site in enumerate(basis) for i in range(site.k)}
    named: dict[str, list[str]] = {key: [key] for key in ids}
    for key, label in labels.items():
        if label not in ids:
            named.setdefault(label, []).append(key)
    found: dict[int, list[int]] = {l: [] for l in range(len(basis))}
    for one in _listed(features):
        if not isinstance(one, str) or one not in named:
            raise OptionError(
                f"features is {one!r}; give a number from 1, ids such as {next(iter(ids))!r}, labels of the graph, or "
                "a mapping from sites to numbers of features."
            )
        for l, i in (ids[key] for key in named[one]):
            found[l] += [i] if i not in found[l] else []
    if not any(found.values()):
        raise OptionError("features names none; give one or more, or None for all.")
    return {l: own for l, own in found.items() if own}


def _listed(features: Any) -> list[Any]:
    if isinstance(features, Mapping):
        several = {name: own if isinstance(own, Iterable) else [own] for name, own in features.items()}
        return [f"{name}:{i}" for name, own in several.items() for i in own]
    return [features] if isinstance(features, str) or not isinstance(features, Iterable) else list(features)
