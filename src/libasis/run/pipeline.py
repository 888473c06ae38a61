"""The verbs as functions of the settings. Each stage reads what the stage before it saved, and saves its own.

The output folder holds ``basis/``, ``graph/``, ``ablation/``, ``cards/``, ``report.html`` and ``config.toml``, the
settings of the last command with every default written out. ``basis/`` and ``graph/`` carry the settings that made them
in a ``config.toml`` of their own, ``ablation/`` in its info: no stage goes on from results of other settings; it says
which setting differs. Nothing is ever deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ..cut import SiteRow, SiteTable, Traced, find_sites, trace
from ..data.batches import first_inputs
from ..errors import LibasisError
from ..files import write_text
from . import toml
from .config import Config, parse_config
from .data import Data, FileBatches, open_data
from .errors import ConfigError, RunError
from .models import open_model
from .objects import load_object

if TYPE_CHECKING:
    from ..ablation import Ablations
    from ..basis import Basis
    from ..cards import FeatureCards
    from ..evaluate import GraphDiff
    from ..graphs import InteractionGraph

BASIS_SECTIONS = ("sites", "model", "data", "fit")
GRAPH_SECTIONS = (*BASIS_SECTIONS, "interactions")
WRITERS = {"csv": "to_csv", "graphml": "to_graphml", "json": "to_json", "attribution": "to_attribution_json"}
ENDINGS = {".csv": "csv", ".graphml": "graphml", ".json": "json"}
FREE = {"device", "progress", "memory", "batch_size"}  # may change between stages: they do not change what is computed


class Output:
    """The paths in the output folder.

    Raises:
        RunError: the path exists and is no folder.
    """

    def __init__(self, config: Config) -> None:
        self.root = Path(config.output)
        self.basis = self.root / "basis"
        self.graph = self.root / "graph"
        self.ablation = self.root / "ablation"
        self.cards = self.root / "cards"
        self.report = Path(config.report.path) if config.report.path else self.root / "report.html"
        if self.root.exists() and not self.root.is_dir():
            raise RunError(f"output is {config.output!r}, which is a file; name a folder.")

    def record(self, config: Config, folder: Path) -> None:
        """Save the settings that made what is in the folder."""
        text = "# The settings of these results, written by libasis; every default is spelled out.\n\n"
        for place in (folder, self.root):
            write_text(place / "config.toml", text + config.to_toml())

    def refuse(self, path: Path, force: bool) -> None:
        """Raise where ``path`` would be overwritten without ``force``."""
        if path.exists() and not force:
            raise RunError(f"{path} already exists; give --force to replace it, or another output.")


@dataclass(frozen=True)
class Opened:
    """Model and data of the settings, and the model cut at the sites."""

    data: Data
    traced: Traced


def sites(config: Config) -> SiteTable:
    """Every place at which the model can be cut."""
    model, data = open_model(config.model.source, config.model.arguments), open_data(config)
    if isinstance(model, Traced):
        model.record(_example(model, data))
        return SiteTable([SiteRow(s.name, (s.features,), "Chain", True, "") for s in model.sites])
    return find_sites(model, _example(model, data))


def fit(config: Config, *, force: bool = False) -> Basis:
    """Fit the basis and save it in ``basis/``.

    Raises:
        RunError: there is a basis already and ``force`` is false.
    """
    output = Output(config)
    output.refuse(output.basis, force)
    return _fit(config, output, open_run(config), force=force)


def graph(config: Config, *, force: bool = False) -> InteractionGraph:
    """Measure the interactions and save them in ``graph/``, fitting the basis first if none is saved.

    Raises:
        RunError: there is a graph already, or a basis of other settings, and ``force`` is false.
    """
    import libasis

    output = Output(config)
    output.refuse(output.graph, force)
    changed = _changed_since(output.basis, config, BASIS_SECTIONS) if output.basis.exists() else None
    if changed and not force:
        raise RunError(f"{output.basis} was made with other settings: {changed}; give --force or another output.")
    opened = open_run(config)
    reuse = output.basis.exists() and not changed
    basis = libasis.Basis.load(output.basis) if reuse else _fit(config, output, opened, force=force)
    found = libasis.interactions(opened.traced, basis, opened.data.train, **config.interactions.model_dump())
    found.save(output.graph, force=force)
    output.record(config, output.graph)
    return found


def ablate(config: Config, *, force: bool = False) -> Ablations:
    """Ablate nodes and edges of the saved graph on the test data and save the scores in ``ablation/``.

    Raises:
        RunError: there is no graph, or one of other settings, or there are scores already and ``force`` is false.
        ConfigError: neither nodes nor edges are asked for.
    """
    import libasis
    from libasis.ablation import Ablations

    section = config.ablate
    if not (section.nodes or section.edges):
        raise ConfigError("ablate.nodes and ablate.edges are both false; set at least one of them to true.")
    output = Output(config)
    measured = _saved_graph(output)
    if changed := _changed_since(output.graph, config, GRAPH_SECTIONS):
        raise RunError(
            f"{output.graph} was made with other settings: {changed}; repeat that setting, run libasis graph "
            "--force, or name another output."
        )
    output.refuse(output.ablation, force)
    opened = open_run(config)
    test = opened.data.test
    shared = section.model_dump(include={"max_drop", "dtype", "device", "seed", "progress"})
    shared["metric"] = load_object(section.metric, "ablate.metric") if ":" in section.metric else section.metric
    nodes = edges = None
    if section.nodes:
        options = section.model_dump(include={"sites", "schedule", "replacement"})
        nodes = libasis.ablate_nodes(opened.traced, measured, test, **options, **shared)
    if section.edges:
        options = section.model_dump(include={"sections", "search", "stable", "memory"})
        edges = libasis.ablate_edges(opened.traced, measured, test, **options, **shared)
    info = {"settings": config.model_dump(exclude_none=True)}
    result = Ablations(nodes, edges, opened.data.held_out, info)
    result.save(output.ablation, force=force)
    output.record(config, output.root)
    return result


def report(config: Config) -> Path:
    """Write the page of the saved graph, with the ablation if there is one; an older page is replaced.

    Its cards are collected on the test data, unless ``cards/`` has those of these settings and this graph.

    Raises:
        RunError: there is no graph, or it or the ablation is of other settings.
        LabelError: the labels do not fit the graph.
    """
    from ..report import suggested_groups, write_page

    output = Output(config)
    measured = labelled_graph(config)
    saved = _saved_ablations(output)
    cards = _cards(config, output, measured) if config.report.cards else None
    return write_page(
        output.report,
        [measured],
        lang=config.report.lang,
        node_ablations=[saved.nodes] if saved.nodes else [],
        edge_ablations=[saved.edges] if saved.edges else [],
        title=config.report.title,
        question=config.report.question,
        cards=cards,
        communities=suggested_groups(measured),
    )


def labelled_graph(config: Config) -> InteractionGraph:
    """The saved graph, with the labels that the settings name.

    Raises:
        RunError: there is no graph.
        LabelError: the labels do not fit it.
    """
    measured = _saved_graph(Output(config))
    return measured.with_labels(config.report.labels) if config.report.labels else measured


def export(config: Config, paths: Sequence[Path], kind: str | None = None) -> list[Path]:
    """Write the saved graph for other programs, in the format of each file's ending or that of ``kind``.

    Raises:
        RunError: there is no graph, or a format is unknown.
    """
    kinds = [kind or ENDINGS.get(path.suffix.lower(), "csv" if not path.suffix else "") for path in paths]
    for path, found in zip(paths, kinds, strict=True):
        if found not in WRITERS:
            raise RunError(
                f"{path} has no format that libasis writes: end it in one of {sorted(ENDINGS)}, name a folder for "
                f"tables, or give --format with one of {sorted(WRITERS)}."
            )
    measured = labelled_graph(config)
    return [getattr(measured, WRITERS[found])(path) for path, found in zip(paths, kinds, strict=True)]


def _cards(config: Config, output: Output, measured: InteractionGraph) -> FeatureCards:
    from .cards import cards_of

    if changed := _changed_since(output.graph, config, GRAPH_SECTIONS):
        raise RunError(
            f"{output.graph} was made with other settings: {changed}; repeat that setting, run libasis graph --force, "
            "or leave the cards out: --set report.cards=false."
        )
    return cards_of(config, output.cards, output.graph, measured, lambda: open_run(config))


def diff(a: Path, b: Path, **options: Any) -> GraphDiff:
    """What differs between two saved graphs, each given as its folder or as the folder of its run.

    Raises:
        StoreError: there is no saved graph, or it is damaged.
    """
    import libasis

    one, two = (path / "graph" if (path / "graph" / "manifest.json").is_file() else path for path in (a, b))
    return libasis.diff(libasis.InteractionGraph.load(one), libasis.InteractionGraph.load(two), **options)


def _saved_ablations(output: Output) -> Ablations:
    from ..ablation import Ablations

    if not output.ablation.exists():
        return Ablations(None, None, False)
    saved = Ablations.load(output.ablation)
    made_with = parse_config(saved.info.get("settings", {}), where=str(output.ablation))
    if changed := _changed_since(output.graph, made_with, GRAPH_SECTIONS):
        raise RunError(
            f"{output.ablation} belongs to a graph of other settings: {changed}; run libasis ablate --force first."
        )
    return saved


def open_run(config: Config) -> Opened:
    """Open model and data and cut the model.

    Raises:
        ConfigError: the settings name no sites.
        LibasisError: whatever is wrong with the model, the data or the sites.
    """
    model, data = open_model(config.model.source, config.model.arguments), open_data(config)
    if isinstance(model, Traced):
        if config.sites:
            raise ConfigError("sites is given, but the model is a libasis.Chain, which has its own; remove sites.")
        return Opened(data, model)
    if not config.sites:
        raise ConfigError("sites is empty; list at least two sites (the command libasis sites shows all names).")
    return Opened(data, trace(model, _example(model, data), config.sites, mask=config.data.mask))


def _example(model: nn.Module | Traced, data: Data) -> Any:
    if isinstance(data.train, FileBatches):
        return data.train.example()
    return first_inputs(model if isinstance(model, nn.Module) else nn.Identity(), data.train)


def _fit(config: Config, output: Output, opened: Opened, *, force: bool) -> Basis:
    import libasis

    basis = libasis.fit(opened.traced, opened.data.train, **config.fit.model_dump())
    basis.save(output.basis, force=force)
    output.record(config, output.basis)
    return basis


def _saved_graph(output: Output) -> InteractionGraph:
    import libasis

    if not output.graph.exists():
        raise RunError(f"{output.graph} does not exist; run libasis graph first.")
    return libasis.InteractionGraph.load(output.graph)


def _changed_since(folder: Path, config: Config, sections: tuple[str, ...]) -> str | None:
    """The first setting that is not as it was when a folder was filled, in words."""
    path = folder / "config.toml"
    try:
        saved = parse_config(toml.read(path), where=str(path))
    except LibasisError:
        return f"{path} is missing or cannot be read"
    return _difference(saved, config, sections)


def _difference(saved: Config, config: Config, sections: tuple[str, ...]) -> str | None:
    old, new = _deciding(saved, sections), _deciding(config, sections)
    for key in old:
        if old[key] != new[key]:
            return f"{key} was {old[key]!r} and is {new[key]!r} now"
    return None


def _deciding(config: Config, sections: tuple[str, ...]) -> dict[str, Any]:
    """The settings that decide what a stage computes, by dotted key."""
    out: dict[str, Any] = {}
    for section, value in config.model_dump(include=set(sections)).items():
        table = value if isinstance(value, dict) else {"": value}
        out.update({f"{section}.{key}".rstrip("."): item for key, item in table.items() if key not in FREE})
    if "data.test_source" in out:  # which data the ablation uses is free; whether some are held out is not
        out["data.test_source"] = "given" if out["data.test_source"] else "not given"
    return out
