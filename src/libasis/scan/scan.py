"""`scan`: all sites at which a model can be cut, what the data do there, and a cut that is worth its cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..ambient import neutral
from ..arguments import typed
from ..cut import Mask, SiteRow, SiteTable, Traced, presets, survey
from ..data import first_inputs
from ..errors import OptionError, SiteError, printable
from ..files import write_text
from ..measure import shares
from ..provenance import versions
from ..store import Stored
from ..types import Plain
from .outliers import Outlier, advice, outliers
from .picture import MARK, picture
from .sites import with_rules
from .sums import SiteSums, add, curves

SHARE = 0.9
"""Of the importance that the features counted make up."""
WIDEST = 8192
"""Features of the widest site that is looked into; of others the width alone is given."""


@dataclass(frozen=True)
class SiteScan:
    """One site.

    Attributes:
        site: its name.
        features: its width d.
        effective_rank: how many directions share the variance, its square over the sum of squares.
        lib_features: how many leading directions of LIB (here the importance is that for the model's output, as of
            ``method="global"``) have 90% of the importance, on samples that did not choose them: with few vectors for
            so wide a site the number is too high rather than too low, and ``difference`` too low.
        pca_features: how many leading principal components have as much.
        difference: the share of LIB's importance that as many principal components as ``lib_features`` miss.
        rule: that computes the importances of the section from here to the next site that cuts.
        cost: what the rule takes.
        recommended: whether the site is one of the recommended cut.
    """

    site: str
    features: int
    effective_rank: float | None
    lib_features: int | None
    pca_features: int | None
    difference: float | None
    rule: str
    cost: str
    recommended: bool


@dataclass(frozen=True, eq=False, repr=False)
class Scan(Stored, kind="scan"):
    """What `scan` found.

    Attributes:
        sites: every site that alone cuts the model, in the model's order.
        recommended: names of the sites of a cut, to be given to `trace`.
        outliers: positions and coordinates with an outsize share of the variance.
        advice: what to do about them, in sentences.
        info: how it was made.
    """

    sites: tuple[SiteScan, ...]
    recommended: list[str]
    outliers: tuple[Outlier, ...]
    advice: list[str]
    info: Plain = field(default_factory=dict)

    def rows(self) -> list[Plain]:
        """One plain row per site."""
        return [dict(vars(site)) for site in self.sites]

    def to_svg(self, path: str | Path, lang: str = "en") -> Path:
        """Write the picture: at every site how many directions of LIB and of PCA have 90% of the importance.

        Args:
            path: of the file.
            lang: of its words, ``"en"`` or ``"ja"``.

        Raises:
            OptionError: another language.
            StoreError: the file cannot be written.
        """
        return write_text(path, picture(self.rows(), lang), MARK)

    def _repr_html_(self) -> str:
        return picture(self.rows())

    def __repr__(self) -> str:
        heads = ("", "site", "features", "eff. rank", "LIB 90%", "PCA 90%", "missed by PCA", "rule from here", "cost")
        cells = [heads, *(_cells(site) for site in self.sites)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        return "\n".join(map(printable, [*lines, "* recommended", *self.advice]))


def _cells(site: SiteScan) -> tuple[str, ...]:
    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    numbers = shown(site.effective_rank, ".1f"), shown(site.lib_features, "d"), shown(site.pca_features, "d")
    missed = shown(site.difference, ".1%")
    return "*" if site.recommended else "", site.site, str(site.features), *numbers, missed, site.rule, site.cost


@typed
@neutral
def scan(  # noqa: PLR0913 - keyword options of the public face
    model: nn.Module | Traced,
    batches: Iterable[Any],
    *,
    budget: int | None = None,
    vectors: int = 2048,
    mask: Mask | None = None,
    seed: int = 0,
    memory: int | str = "auto",
) -> Scan:
    r"""Look at all sites that cut a model, in one cheap pass, and recommend a cut.

    Two passes forward and one backward of a little data: the gradient of :math:`\sum\pm y`, y the model's output, is
    at every site a sample of the sensitivity to everything that follows. With the covariance there it gives the
    importances that ``fit(..., method="global")`` estimates; PCA's directions are held against them.

    The recommended cut has the sites of the residual stream (`presets.residual_stream`), or where there is none the
    sites before each nonlinear part.

    Args:
        model: any torch model, in eval mode, or one that is cut already.
        batches: as for `fit`; targets are not looked at.
        budget: how many sites the cut may have, at least 2: then it has those neighbouring sites at which PCA misses
            most. None for all.
        vectors: how many vectors (positions of samples) at least are looked at, where there are so many.
        mask: which positions count, see `trace`.
        seed: of the signs.
        memory: bound in bytes for the sums, ``"auto"`` as in `fit`; where they need more, the data are gone through
            several times.

    Raises:
        OptionError: an option is out of range.
        SiteError: no two sites cut the model.
        LibasisError: as for `trace` and `fit`.
    """
    if budget is not None and budget < 2:
        raise OptionError(f"budget is {budget}; give at least 2 sites, or None for all.")
    if vectors < 2:
        raise OptionError(f"vectors is {vectors}; give at least 2.")
    table, traced, stream = _opened(model, batches, mask)
    names = [site.name for site in traced.sites]
    sums, counted = _summed(traced, batches, vectors, seed, shares(memory, traced)[1])
    found = {names[l]: one for l, own in sums.items() if (one := _facts(own)) is not None}
    recommended = _within(budget, stream, {name: one["difference"] for name, one in found.items()})
    none = {"effective_rank": None, "lib_features": None, "pca_features": None, "difference": None}
    rows = {row.name: row for row in table}
    sites = tuple(
        SiteScan(
            site.name,
            site.features,
            rule=rows[site.name].rule,
            cost=rows[site.name].cost,
            recommended=site.name in recommended,
            **found.get(site.name, none),
        )
        for site in traced.sites
    )
    strange = tuple(one for l, own in sums.items() for one in outliers(names[l], own))
    info = {"vectors": counted, "seed": seed, "budget": budget, "traced": traced.facts(), "versions": versions()}
    return Scan(sites, recommended, strange, advice(strange), info)


def _opened(
    model: nn.Module | Traced, batches: Iterable[Any], mask: Mask | None
) -> tuple[SiteTable, Traced, list[str]]:
    """The table with rules, the model cut at all sites that cut it, and the sites to choose from."""
    if isinstance(model, Traced):
        record = next(model.stream(batches))
        rows = SiteTable(SiteRow(site.name, (site.features,), "", True, "") for site in model.sites)
        return with_rules(rows, model, record), model, [site.name for site in model.sites]
    example = first_inputs(model, batches)
    table, traced = survey(model, example, mask)
    if traced is None:
        raise SiteError(
            f"No two sites cut the model ({type(model).__name__}); libasis.find_sites(model, example) says why."
        )
    stream = presets.stream_of(model, traced.program)
    return with_rules(table, traced, traced.record(example)), traced, stream


def _summed(
    traced: Traced, batches: Iterable[Any], vectors: int, seed: int, memory: int
) -> tuple[dict[int, SiteSums], int]:
    """The sums of all sites but the last that are not too wide, and the vectors counted at the first site."""
    sums: dict[int, SiteSums] = {}
    done = 0
    for group in _groups([site.features for site in traced.sites[:-1]], memory):
        now, done = {l: SiteSums(traced.sites[l].features) for l in group}, 0
        for record in traced.stream(batches):
            add(now, record, seed)
            done += record.count(0)
            if done >= vectors:
                break
        sums.update(now)
    return sums, done


def _groups(widths: list[int], memory: int) -> Iterator[list[int]]:
    """Sites whose sums fit into memory together."""
    group, size = [], 0
    for l, d in enumerate(widths):
        if d > WIDEST:
            continue
        if group and size + 24 * d**2 > memory:
            yield group
            group, size = [], 0
        group, size = [*group, l], size + 24 * d**2
    if group:
        yield group


def _facts(sums: SiteSums) -> dict[str, Any] | None:
    """The numbers of a site; None where nothing varies or matters."""
    G = sums.moments.covariance.cpu()
    if not (float(G.trace()) > 0 and float(sums.pulled.sum(0).trace()) > 0):
        return None
    g, pca, lib = curves(G, list(sums.pulled))
    enough = min(int((lib < SHARE).sum()) + 1, len(lib))
    return {
        "effective_rank": float(g.sum().square() / g.square().sum()),
        "lib_features": enough,
        "pca_features": min(int((pca < SHARE).sum()) + 1, len(pca)),
        "difference": max(0.0, 1 - float(pca[enough - 1] / lib[enough - 1])) if float(lib[enough - 1]) > 0 else 0.0,
    }


def _within(budget: int | None, names: list[str], difference: dict[str, float]) -> list[str]:
    """As many neighbouring sites as the budget has, where PCA misses most."""
    if budget is None or len(names) <= budget:
        return names
    gains = torch.tensor([difference.get(name, 0.0) for name in names])
    return names[(first := int(gains.unfold(0, budget, 1).sum(1).argmax())) : first + budget]
