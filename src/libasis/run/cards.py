"""Feature cards for the page: collected once, kept beside the graph, used again while nothing has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cards import FeatureCards, collect
from ..errors import LibasisError
from ..graphs import InteractionGraph
from ..store import digest_of
from ..types import Plain
from .config import Config
from .data import Data, FileBatches, open_source, train_and_test
from .errors import SourceError
from .models import hugging_face_directory
from .objects import load_object
from .text import open_tokenizer

if TYPE_CHECKING:
    from .pipeline import Opened

COUNTS = {"features", "examples", "effects", "samples", "tested", "controls", "kind", "seed"}
NAMES = {"outputs", "columns", "image_shape"}
SHARED = {"dtype", "device", "memory", "progress"}
"""Options that the cards have in common with the ablations."""


def cards_of(
    config: Config, file: Path, folder: Path, graph: InteractionGraph, open_run: Callable[[], Opened]
) -> FeatureCards:
    """The cards in ``file``, or new ones where there are none or they are of other settings or another graph.

    Args:
        config: the settings.
        file: the folder where the cards are kept.
        folder: the saved graph.
        graph: the same, loaded.
        open_run: opens model and data, if need be.

    Raises:
        SourceError: a group cannot be opened.
        LibasisError: whatever is wrong with the model, the data or the options.
    """
    made_of = _made_of(config, folder)
    if file.exists():
        try:
            saved = FeatureCards.load(file)
        except LibasisError:  # a page is replaced, and what it is made of too
            saved = None
        if saved is not None and saved.info.get("settings") == made_of:
            return saved
    opened = open_run()
    section = config.report
    options: dict[str, Any] = section.model_dump(include=COUNTS | NAMES)
    options.update(config.ablate.model_dump(include=SHARED))
    if section.metric is not None:
        options["metric"] = load_object(section.metric, "report.metric") if ":" in section.metric else section.metric
    if section.vocabulary is not None:
        options["vocabulary"] = load_object(section.vocabulary, "report.vocabulary")
    _name(options, config, opened.data, opened.traced.sites[-1].features)
    groups = {name: _group(name, source, config) for name, source in (section.groups or {}).items()}
    cards = collect(opened.traced, graph, opened.data.test, groups=groups, **options)
    cards = replace(cards, info={**cards.info, "held_out": opened.data.held_out, "settings": made_of})
    cards.save(file, force=True)
    return cards


def _made_of(config: Config, folder: Path) -> Plain:
    """The settings that decide what the cards are, and the checksum of the graph."""
    out = config.model_dump(mode="json", include={"sites", "model", "data", "fit", "interactions"})
    out["report"] = config.report.model_dump(
        mode="json", exclude={"lang", "path", "title", "question", "labels", "cards"}
    )
    return {**out, "dtype": config.ablate.dtype, "graph": digest_of(folder)}


def _name(options: dict[str, Any], config: Config, data: Data, outputs: int) -> None:
    """Names that the data bring along, where the settings name nothing."""
    test = data.test
    if isinstance(test, FileBatches):
        if options["columns"] is None and test.columns is not None and options["image_shape"] is None:
            options["columns"] = test.columns
        if options["outputs"] is None and test.classes is not None and len(test.classes) == outputs:
            options["outputs"] = test.classes
    if options.get("vocabulary") is None and hugging_face_directory(config.model.source) is not None:
        try:
            options["tokenizer"] = open_tokenizer(config, "Naming tokens")
        except SourceError:  # a model of something else than text, or one without names: numbers will do
            options["tokenizer"] = None


def _group(name: str, source: str, config: Config) -> Any:
    opened = open_source(source, config, f"report.groups.{name}")
    if train_and_test(opened):
        raise SourceError(f"report.groups.{name} is {source!r}, which returns two data sets; return one.")
    return opened
