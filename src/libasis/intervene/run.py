"""`intervene`: replace something at a site, run the rest of the model, score each sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..ambient import neutral
from ..arguments import typed
from ..basis import Basis, check_fits
from ..cut import Record, Traced
from ..errors import OptionError
from ..measure import Records, measure, shares
from ..provenance import versions
from .intervention import Intervention
from .metrics import MetricSpec, parse_metric
from .preparation import Preparation, SiteRuns
from .registry import KINDS
from .result import InterventionResult
from .scores import Scores


@typed
@neutral
def intervene(
    traced: Traced,
    basis_or_graph: Any,
    batches: Iterable[Any],
    interventions: Intervention | Sequence[Intervention],
    metric: MetricSpec = "accuracy",
    *,
    progress: bool | None = None,
    memory: int | str = "auto",
) -> InterventionResult:
    """What each sample scores when something at a site is replaced and the rest of the model is run.

    Each intervention is a run of its own. Many of them go through the model together, as far as ``memory`` allows, and
    sites, kinds and positions may differ between them. Scores are those of the model from the site on: what comes
    before it is run once.

    The data are read once, or twice where something of them has to be known beforehand (donors, quantiles, standard
    deviations). The result does not depend on how they are split into batches, up to rounding, nor on ``memory``.

    Args:
        traced: from `trace` or `Chain`.
        basis_or_graph: whose features are replaced; an `InteractionGraph` stands for its basis.
        batches: pairs (inputs, targets), as in `ablate_nodes`, or what `keep` returned.
        interventions: what to do, one or several.
        metric: ``"accuracy"``, ``"cross_entropy"``, ``"mse"``, ``"output_mse"`` (the mean squared change of the output,
            which needs no targets) or a function ``(outputs, targets) -> scores [batch]``.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what goes through the model together, and for the activations kept between passes;
            ``"auto"`` as in `fit`.

    Raises:
        OptionError: an intervention names what is not there, or an option is not allowed.
        BatchError: the batches are empty or one-shot, or have no targets where the metric needs them.
    """
    measured = parse_metric(metric)
    kept, memory = shares(memory, traced)
    basis = getattr(basis_or_graph, "basis", basis_or_graph)
    if not isinstance(basis, Basis):
        raise OptionError(f"Interventions need a basis or a graph, but got {type(basis_or_graph).__name__}.")
    asked = [interventions] if isinstance(interventions, Intervention) else list(interventions)
    if not asked:
        raise OptionError("interventions is an empty list; give at least one Intervention.")
    for one in asked:
        one.check(basis)
    model = check_fits(traced, basis)
    twice = any(KINDS[one.to].needs_of(one) for one in asked)
    records = Records.of(traced, batches, kept if twice else 1, progress=progress)  # what is read once is not kept
    known = Preparation(records, basis)
    known.learn(asked)
    order, runs = _by_site(known, asked, memory)

    def outputs(record: Record) -> Iterator[Tensor]:
        yield record.output
        for site in runs:
            yield from site.outputs(record)

    counts, sums = measure(
        records, Scores(measured, outputs, 1 + len(asked), per_sample=True), f"{len(asked)} interventions"
    ).by_sample()
    means = sums / torch.where(counts > 0, counts, torch.nan)
    back = torch.tensor(order).argsort()
    info = {
        "basis": basis.method,
        "data": records.facts(),
        **known.facts(),
        "stands_on": {"basis": basis.digest()},
        "traced": model,
        "versions": versions(),
    }
    return InterventionResult(
        tuple(asked), means[0], means[1:][back], counts, measured.name, measured.higher_is_better, info
    )


def _by_site(known: Preparation, asked: Sequence[Intervention], memory: int) -> tuple[list[int], list[SiteRuns]]:
    """The interventions of each site together, and the order that this puts them in."""
    sites: dict[str, list[int]] = {}
    for place, one in enumerate(asked):
        sites.setdefault(one.site, []).append(place)
    runs = [SiteRuns(known.index[s], [known.of(asked[p]) for p in places], memory) for s, places in sites.items()]
    return [place for places in sites.values() for place in places], runs
