"""`collect`: one pass over the data, then interventions on samples drawn from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from ..ambient import neutral
from ..arguments import typed
from ..basis import Basis, check_fits
from ..cut import Traced
from ..cut.trace import GraphTrace
from ..data import tokenizer_beside
from ..errors import ON_TRACE, BatchError, OptionError, renamed
from ..graphs import InteractionGraph, basis_of
from ..intervene import MetricSpec, parse_metric
from ..measure import Records, measure, shared, shares
from ..numerics.means import Mean
from ..provenance import versions
from ..verify import listed, units_in
from .choice import Features, chosen_features
from .compose import PASSED, KnownOfSamples, cards, facts
from .contents import Naming
from .effects import LEAST, CardEffects, SiteEffects, moved_and_held, random_units
from .gather import Asked, Gathered, Limits
from .groups import GroupMeans, Reference
from .independent import Independent
from .reads import reads_of
from .result import FeatureCards


@renamed(**ON_TRACE)
@typed
@neutral
def collect(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    graph_or_basis: InteractionGraph | Basis,
    batches: Iterable[Any],
    *,
    groups: Mapping[str, Iterable[Any]] | None = None,
    reference: str | None = None,
    features: Features = 24,
    examples: int = 8,
    effects: int = 10,
    samples: int = 512,
    tested: int = 12,
    controls: int | None = None,
    kind: str = "auto",
    metric: MetricSpec | None = None,
    outputs: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    tokenizer: Any = None,
    vocabulary: Sequence[str] | Callable[[list[int]], Sequence[str]] | None = None,
    image_shape: Sequence[int] | None = None,
    coordinates: Mapping[str, Sequence[str]] | None = None,
    times: Sequence[Any] | None = None,
    units: Sequence[Any] | Callable[[Any, Any], Any] | str | None = None,
    seed: int = 0,
    progress: bool | None = None,
    memory: int | str = "auto",
) -> FeatureCards:
    r"""What a person needs to understand each feature: a card for each of the most important ones.

    The data are read once; what `keep` returned is not run again. Memory is bounded by the batch, the number of
    features with a card, and ``samples``. The result does not depend on how the data are split into batches, up to
    rounding. A card has

    - ``reads``, where the samples are rows of a table: the columns that move the feature, the strongest first. Each has
      its ``weight``, by how many of its standard deviations the feature moves on average when the column goes up by
      ``step``, its standard deviation in these samples, the rest unchanged, measured by running the model; and what is
      usual in the column, ``mean`` and ``std`` in its own unit, in these samples or in the group ``reference``;
    - mean, standard deviation, range and histogram of the feature over all counted (sample, position) pairs;
    - ``top`` and ``bottom``: the samples at which it is largest and smallest, at most one position of each sample,
      equal values in the order of the samples. Positions that the mask leaves out are never examples. At a site whose
      positions are those of the tokens, a text has the feature's value at each token (None where it is not counted)
      and ``at``, the place of the maximum; at other sites all of them are None;
    - ``effects``: the change of each output, in its own units, when the feature is moved up by one standard deviation
      at all counted positions of the sample, by running the rest of the model; mean over samples (of the mean over the
      output's counted positions) with its 95% interval;
    - ``direction``: row i of :math:`C^+` times the standard deviation: the change of the site's coordinates that goes
      with that step. It is the direction in which the feature is written, and moved by the interventions; the column
      of C, by which it is read, is another one unless C is orthogonal;
    - ``ablation``: the change of the score when the feature is held at its mean, that of the fit, at all counted
      positions (``Intervention(site, [i])``), or at that of the group ``reference``, with its 95% interval over
      samples, each paired with itself. KnownOfSamples it
      the same for controls: random directions, uniform in the standardised features of the site, so that each has the
      variance that a standardised feature has. ``passed`` is true where p ≤ 0.05 after Holm's correction for all
      features tested. p is the larger one of two p-values, as in `verify`: of the change being 0, by the signs of
      samples, and of the change being one more like the controls', by rank. ``tested`` is false, with a ``reason``,
      where that could not be told: too few other directions, or too few controls for the number of tests. None for the
      last site, and for features that were not to be tested;
    - ``suggestions``: labels by simple statistics. They are suggestions; see `libasis.cards.suggest`. Of a table a
      column that the feature reads comes before a class.

    Where the model is no better on these samples than one answer for all of them, no ablation has passed: what such a
    model does without a feature says nothing (``info["ablation"]["one_answer"]``).

    Effects and ablations are measured on ``samples`` samples drawn at random from the data (all of them, where there
    are no more), after the pass. They take (features + tested + controls) runs of the rest of the model for each site.

    Args:
        traced: from `trace` or `Chain`.
        graph_or_basis: whose features to describe.
        batches: a re-iterable of inputs or of pairs (inputs, targets), best not those of the fit; or what `keep`
            returned.
        groups: batches by the name of a group, to compare: mean and standard error of features and outputs in each.
        reference: the name of the group whose means stand in where features and controls are held, ``"normal"`` say,
            and from which the columns of examples are counted in standard deviations. None takes the means of the fit,
            and the data themselves for the columns.
        features: cards for so many of each site's features, the most important; None for all. Or for those named: ids
            such as ``"fc1:in:3"``, labels of the graph, or a mapping from sites to numbers of features.
        examples: samples at each end of each feature.
        effects: outputs listed for each feature, those of the strongest effects.
        samples: samples for effects and ablations.
        tested: features of each site to ablate, the first of those with a card.
        controls: random directions for each site, at most. By default as many as the correction needs (the number of
            tests over 0.05); of a model where these are dear fewer, at least 20. At each site they end when ten did as
            much as each of its features.
        kind: ``"text"``, ``"image"``, ``"table"`` or ``"number"``: how samples are shown. ``"auto"`` decides by the
            first batch: images of one or three channels, whole numbers as tokens, rows of a table where ``columns`` are
            given, otherwise numbers. ``info["content"]`` says what was decided, and why.
        metric: of the ablation, as in `ablate_nodes`. By default ``"accuracy"`` for targets of whole numbers, ``"mse"``
            for others, and without targets (or where they do not fit the outputs) ``"output_mse"``, the mean squared
            change of the output itself.
        outputs: names of the model's outputs; classes have the same names.
        columns: names of the inputs' columns.
        tokenizer: has a method ``decode``, as those of transformers. By default, and without a ``vocabulary``, the one
            in the local folder from which a model of transformers was loaded; nothing is downloaded.
        vocabulary: texts of the tokens in the order of their numbers, or a function from the token numbers of one
            sample to their texts.
        image_shape: ``[height, width]`` or ``[channels, height, width]`` of images given as flat numbers.
        times: of each sample, in the order of the data: when it was, shown with the examples. Of `libasis.data.read`
            with ``time`` they are known.
        units: what each sample belongs to (a run, a device), as in `libasis.verify`; of `libasis.data.read` with
            ``unit`` they are known. Without them rows of a table that clearly depend on those before them (by the
            features, within each class) are taken in blocks 2.5 times as long as they remember, and intervals and tests
            are over blocks.
        coordinates: names of a site's coordinates, by the site's name. Where a site holds the inputs themselves they
            are named by themselves: pixels or columns.
        seed: of the draws and the random directions.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what goes through the model together; ``"auto"`` as in `fit`.

    Raises:
        OptionError: an option is not allowed or does not fit the data.
        BatchError: the batches are empty, one-shot or of the wrong structure, or have no targets where ``metric``
            needs them.
    """
    limits = Limits(examples, effects, samples, tested, controls)
    if tokenizer is None and vocabulary is None and isinstance(traced, GraphTrace):
        tokenizer = tokenizer_beside(traced.model)
    naming = Naming(kind, columns, tokenizer, vocabulary, image_shape)
    asked = Asked(naming, outputs, None if metric is None else parse_metric(metric))
    basis = basis_of(graph_or_basis)
    labels = graph_or_basis.labels if isinstance(graph_or_basis, InteractionGraph) else {}
    chosen = chosen_features(basis, features, {key: label.label for key, label in labels.items()})
    names = _coordinates(basis, coordinates)
    model = check_fits(traced, basis)
    records = Records.of(traced, batches, 1, progress=progress)  # what is read once is not kept
    others = {str(name): Records.of(traced, own, 1, progress=progress) for name, own in (groups or {}).items()}
    if reference is not None and reference not in others:
        raise OptionError(f"reference is {reference!r}, but the groups are {list(others)}; name one of them in groups.")
    first = records.first() if shared() else None  # of a part of the data another batch would come first
    gathered = measure(records, Gathered(basis, chosen, limits, asked, seed, first), "cards")
    held = None
    if reference is not None:
        group = measure(others[reference], Reference(gathered.sites, gathered.contents.emptied()), f"group {reference}")
        held, gathered.contents.reference = group.means, group.contents.rows
    independent = _independent(records, batches, units, gathered)
    sites = _to_measure(gathered, basis, limits, held, memory=shares(memory, traced)[1], seed=seed)
    for site in sites:
        site.dependent = not independent.alone
    drawn = independent
    if records.lasting or gathered.fixed:
        acting = measure(records, CardEffects(sites, gathered.metric, gathered.rows.numbers), "effects")
    else:  # only the samples drawn are run
        again = Records(traced, list(gathered.rows.batches()), 1, progress=progress)
        acting = measure(again, CardEffects(sites, gathered.metric, None), "effects")
        drawn = Independent(independent.of(gathered.rows.numbers))
    reads = None if gathered.fixed else reads_of(traced, gathered.contents, gathered.rows, gathered.sites)
    when = getattr(batches, "times", None) if times is None else times
    when = None if when is None else listed(when, records, "times")
    known = KnownOfSamples(len(basis) - 1, reads, when, independent, drawn)
    found, used = cards(gathered, acting, limits, names, known)
    speak = gathered.answers.listed(used)
    sources = {name: getattr((groups or {})[name], "units", None) for name in others}
    shown = (gathered.sites, speak, gathered.contents)
    beside = [measure(own, GroupMeans(name, *shown, sources[name]), f"group {name}") for name, own in others.items()]
    info = {**facts(gathered, acting, limits, independent, reference), "basis": basis.method, "seed": seed}
    info.update(data=records.facts(), stands_on={"basis": basis.digest()}, traced=model, versions=versions())
    return FeatureCards(gathered.contents.kind, [gathered.answers.name(o) for o in speak], found, beside, info)


def _independent(records: Records, batches: Any, units: Any, gathered: Gathered) -> Independent:
    """Which samples belong together: by units that are given or that the data bring, or by what the features show.

    Raises:
        OptionError: there are not as many units as samples.
    """
    units = getattr(batches, "units", None) if units is None else units
    if isinstance(units, str) or callable(units):
        return Independent.given(units_in(records.traced, batches, units))
    if units is None:
        return Independent(None, gathered.series.block())
    return Independent.given(listed(units, records, "units"))


def _to_measure(
    gathered: Gathered, basis: Basis, limits: Limits, held: Sequence[Mean] | None, *, memory: int, seed: int
) -> list[SiteEffects]:
    """The interventions of all sites with cards.

    Raises:
        BatchError: no position of a site counts.
    """
    sites = []
    tests = sum(len(site.chosen[: limits.tested]) for site in gathered.sites if site.index < len(basis) - 1)
    needed = max(LEAST, math.ceil(tests / PASSED) - 1)
    for number, site in enumerate(gathered.sites):
        if not site.all.n:
            raise BatchError(f"No position counts at site {site.site.name!r}; give a mask that leaves some.")
        spread = torch.zeros(site.site.k, dtype=torch.float64)
        spread[site.summed] = site.all.deviation()
        tested = site.chosen[: limits.tested] if site.index < len(basis) - 1 else []
        units = random_units(limits.controls or needed, site.site.k, seed, site.index)
        mean = None if held is None else held[number].mean
        options = {"most": limits.controls, "samples": min(limits.samples, gathered.samples)}
        sites.append(moved_and_held(site.index, site.site, site.chosen, tested, units, spread, memory, mean, **options))
    return sites


def _coordinates(basis: Basis, given: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
    """The user's names of coordinates, checked.

    Raises:
        OptionError: a site does not exist, or has another number of coordinates.
    """
    sites = {site.name: site for site in basis}
    out = {str(name): [str(c) for c in own] for name, own in (given or {}).items()}
    for name, own in out.items():
        if name not in sites:
            raise OptionError(f"coordinates names the site {name!r}, but the sites are {list(sites)}.")
        if len(own) != sites[name].d:
            raise OptionError(f"coordinates of {name!r} has {len(own)} names for {sites[name].d} coordinates.")
    return out
