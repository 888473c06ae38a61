"""Feature cards for the page: collected once, kept beside the graph, used again while nothing has changed."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..cards import FeatureCards, collect
from ..data import FileBatches
from ..errors import SourceError, StoreError
from ..graphs import InteractionGraph
from ..measure import is_first
from ..store import check_target
from .data import open_source, train_and_test
from .objects import load_object
from .opened import Opened

COUNTS = {"features", "examples", "effects", "samples", "tested", "controls", "kind", "reference", "seed"}
NAMES = {"outputs", "columns", "image_shape"}
SHARED = {"memory", "progress"}
"""Options that the cards have in common with the ablations."""


def cards_of(opened: Opened, folder: Path, graph: InteractionGraph, digest: str) -> FeatureCards:
    """The cards in ``folder``, or new ones where there are none or they were made of something else.

    Raises:
        SourceError: a group cannot be opened.
        LibasisError: whatever is wrong with the model, the data or the options.
    """
    config = opened.config
    section = config.report
    groups = groups_of(opened)
    of = opened.made_of("cards", groups, graph=digest)
    with contextlib.suppress(StoreError):  # there are none, or they are damaged
        saved = FeatureCards.load(folder)
        if of.difference(saved.info.get("made_of")) is None:
            return saved
    if is_first():
        check_target(folder, force=True)
    options: dict[str, Any] = section.model_dump(include=COUNTS | NAMES)
    options.update(config.ablate.model_dump(include=SHARED))
    if section.metric is not None:
        options["metric"] = load_object(section.metric, "report.metric") if ":" in section.metric else section.metric
    if section.vocabulary is not None:
        options["vocabulary"] = load_object(section.vocabulary, "report.vocabulary")
    _name(options, opened)
    cards = collect(opened.traced, graph, opened.data.test, groups=groups, **options)
    cards = replace(cards, info={**cards.info, "held_out": opened.data.held_out, "made_of": of.to_plain()})
    if is_first():
        cards.save(folder, force=True)
    return cards


def groups_of(opened: Opened) -> dict[str, Any]:
    """The data of the groups that are compared.

    Raises:
        SourceError: one of them cannot be opened.
    """
    sources = opened.config.report.groups or {}
    return {name: _group(name, source, opened) for name, source in sources.items()}


def _name(options: dict[str, Any], opened: Opened) -> None:
    """Names that the data bring along, where the settings name nothing."""
    test = opened.data.test
    if isinstance(test, FileBatches):
        if options["columns"] is None and test.columns is not None and options["image_shape"] is None:
            options["columns"] = test.columns
        outputs = opened.traced.sites[-1].features
        if options["outputs"] is None and test.classes is not None and len(test.classes) == outputs:
            options["outputs"] = test.classes


def _group(name: str, source: str, opened: Opened) -> Any:
    found = open_source(source, opened.config, f"report.groups.{name}", like=opened.data.train, group=True)
    if train_and_test(found):
        raise SourceError(f"report.groups.{name} is {source!r}, which returns two data sets; return one.")
    return found
