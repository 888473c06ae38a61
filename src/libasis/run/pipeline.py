"""The verbs as functions of the settings. Each stage reads what the stage before it saved, and saves its own.

The output folder holds ``basis/``, ``graph/``, ``ablation/``, ``cards/``, ``report.html`` and ``config.toml``, the
settings of the last command with every default written out. Every result says what it was made of (`MadeOf`), and no
stage goes on from one that was made of other settings, data or weights: it says what changed. Nothing is ever deleted.
One command at a time works in the folder. ``config.toml`` is never that of another result than the last: it is removed
before a result is replaced and written after it, and a result holds its text, so that the next command can restore it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..ablation import Ablations, ablate_edges, ablate_nodes
from ..basis import Basis
from ..build import fit as fit_basis
from ..cut import SiteRow, SiteTable, Traced
from ..errors import LibasisError, StoreError
from ..files import alone, check_file, sync, told, write_text
from ..graphs import InteractionGraph
from ..importance import rules
from ..interactions import interactions
from ..measure import checkpoints, distributed, is_first
from ..provenance import versions
from ..scan import Scan, find_sites
from ..scan import scan as scan_sites
from ..store import Stored, check_target, digest_of, load, tidy
from .errors import ConfigError, RunError
from .made_of import MadeOf, deciding
from .objects import load_object
from .opened import Opened
from .settings import Config, RuleTable

SETTINGS = "# The settings of the last command, written by libasis; every default is spelled out.\n"


MISFIT = ("names", "model_order", "right", "right_scale", "error", "error_scale")
"""Findings that explain why a basis cannot be fitted."""


class Output:
    """The paths in the output folder.

    Raises:
        RunError: the path exists and is no folder.
    """

    def __init__(self, config: Config) -> None:
        self.root = Path(config.output)
        self.settings = self.root / "config.toml"
        self.basis = self.root / "basis"
        self.graph = self.root / "graph"
        self.ablation = self.root / "ablation"
        self.cards = self.root / "cards"
        self.checkpoints = self.root / "checkpoints"
        self.run = config.run
        self.report = Path(config.report.path) if config.report.path else self.root / "report.html"
        if self.root.exists() and not self.root.is_dir():
            raise RunError(f"output is {config.output!r}, which is a file; name a folder.")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """The folder for this command alone; what a killed one left is tidied up first, or gone on with.

        Under torchrun the first process has it; all share the passes over the data.

        Raises:
            StoreError: another command works in it, or it cannot be written to.
            ProcessError: another process has ended or does not answer.
        """
        with distributed(timeout=self.run.timeout) as found:
            if not found.first:
                yield
                return
            with alone(self.root):
                for path in (self.basis, self.graph, self.ablation, self.cards):
                    tidy(path)
                self._restore()
                with checkpoints(self.checkpoints, seconds=self.run.checkpoint_seconds):
                    yield
                with contextlib.suppress(OSError):  # something else is in it
                    self.checkpoints.rmdir()

    def _restore(self) -> None:
        """Write the settings of the last result where they are missing."""
        if self.settings.exists():
            return
        there = [path for path in (self.basis, self.graph, self.ablation) if (path / "manifest.json").is_file()]
        for path in sorted(there, key=lambda path: -(path / "manifest.json").stat().st_mtime_ns)[:1]:
            with contextlib.suppress(StoreError):
                if text := load(path).info.get("config"):
                    write_text(self.settings, text, SETTINGS)

    def save(self, result: Stored, path: Path, config: Config, *, force: bool) -> None:
        """Save a result and its settings, which are never beside a result of others; the first process does."""
        if not is_first():
            return
        text = settings_of(config)
        if self.settings.exists() and self.settings.read_bytes() != text.encode():
            with told(self.settings):
                self.settings.unlink()
                sync(self.root)
        try:
            result.save(path, force=force)
        except BaseException:
            with contextlib.suppress(StoreError):
                self._restore()
            raise
        write_text(self.settings, text, SETTINGS)

    def refuse(self, path: Path, force: bool) -> None:
        """Raise where ``path`` would be overwritten without ``force``, or is no result: before any work is done."""
        if not is_first():
            return
        if path.exists() and not force:
            raise RunError(f"{path} already exists; give --force to replace it, or another output.")
        check_target(path, force=force)
        check_file(self.settings, SETTINGS)

    def saved_graph(self) -> InteractionGraph:
        """The graph.

        Raises:
            RunError: there is none.
        """
        if not self.graph.exists():
            raise RunError(f"{self.graph} does not exist; run libasis graph first.")
        return InteractionGraph.load(self.graph)

    def digest_of_graph(self) -> str:
        """Of the numbers of the saved graph; labels do not count."""
        return digest_of(self.graph)


def settings_of(config: Config) -> str:
    """The text of ``config.toml``."""
    return f"{SETTINGS}\n{config.to_toml()}"


def sites(config: Config) -> SiteTable:
    """Every place at which the model can be cut."""
    opened = Opened(config)
    model = opened.model
    if isinstance(model, Traced):
        model.record(opened.example)
        return SiteTable([SiteRow(s.name, (s.features,), "Chain", True, "") for s in model.sites])
    return find_sites(model, opened.example)


def scan(config: Config, budget: int | None = None) -> Scan:
    """What the training data do at every site, and a cut."""
    opened = Opened(config)
    return scan_sites(opened.model, opened.data.train, budget=budget, mask=config.trace.mask)


def fit(config: Config, *, force: bool = False) -> Basis:
    """Fit the basis and save it in ``basis/``.

    Raises:
        RunError: there is a basis already and ``force`` is false.
    """
    output = Output(config)
    with output.alone():
        output.refuse(output.basis, force)
        return _fit(output, Opened(config), force=force)


def graph(config: Config, *, force: bool = False) -> InteractionGraph:
    """Measure the interactions and save them in ``graph/``, fitting the basis first if none is saved.

    Raises:
        RunError: there is a graph already, or a basis of other settings, data or weights, and ``force`` is false.
    """
    output = Output(config)
    with output.alone():
        output.refuse(output.graph, force)
        opened = Opened(config)
        basis = _saved_basis(output, opened, force=force) or _fit(output, opened, force=force)
        found = interactions(opened.traced, basis, opened.data.train, **config.interactions.model_dump())
        found = made(found, opened.made_of("graph"), config=settings_of(config), findings=opened.findings)
        output.save(found, output.graph, config, force=force)
        return found


def ablate(config: Config, *, force: bool = False) -> Ablations:
    """Ablate nodes and edges of the saved graph on the test data and save the scores in ``ablation/``.

    Raises:
        RunError: there is no graph, or one of other settings, data or weights, or there are scores already and
            ``force`` is false.
        ConfigError: neither nodes nor edges are asked for.
    """
    section = config.ablate
    if not (section.nodes or section.edges):
        raise ConfigError("ablate.nodes and ablate.edges are both false; set at least one of them to true.")
    output = Output(config)
    with output.alone():
        return _ablate(output, Opened(config), force=force)


def _ablate(output: Output, opened: Opened, *, force: bool) -> Ablations:
    config, section = opened.config, opened.config.ablate
    measured = output.saved_graph()
    advice = "put that back, run libasis graph --force, or name another output"
    output.refuse(output.ablation, force)
    check(opened, "graph", measured, output.graph, advice)
    digest, test = output.digest_of_graph(), opened.data.test
    shared = section.model_dump(include={"max_drop", "progress", "memory"})
    shared["metric"] = load_object(section.metric, "ablate.metric") if ":" in section.metric else section.metric
    nodes = edges = None
    of = {stage: opened.made_of(stage, graph=digest) for stage in ("nodes", "edges")}
    before = same(output.ablation, of)
    if section.nodes and not (nodes := before.nodes):
        options = section.model_dump(include={"sites", "schedule", "replacement", "where", "seed"})
        found = ablate_nodes(opened.traced, measured, test, **options, **shared)
        nodes = made(found, of["nodes"])
    if section.edges and not (edges := before.edges):
        options = section.model_dump(include={"sections", "search", "stable"})
        found = ablate_edges(opened.traced, measured, test, **options, **shared)
        edges = made(found, of["edges"])
    result = Ablations(nodes, edges, opened.data.held_out, {"config": settings_of(config)})
    output.save(result, output.ablation, config, force=force)
    return result


def same(path: Path, of: Mapping[str, MadeOf]) -> Ablations:
    """What is left of saved scores: those of this version that were made of the same."""
    found: dict[str, Any] = {"nodes": None, "edges": None}
    with contextlib.suppress(StoreError):
        saved = Ablations.load(path)
        for stage, now in of.items():
            result = getattr(saved, stage)
            if result is not None and result.info.get("versions") == versions():
                found[stage] = None if now.difference(result.info.get("made_of")) else result
    return Ablations(**found, held_out=False)


def saved_ablations(output: Output) -> Ablations:
    """The scores of the saved graph, as far as there are any.

    Raises:
        RunError: they are those of another graph.
    """
    if not output.ablation.exists():
        return Ablations(None, None, False)
    saved = Ablations.load(output.ablation)
    now = MadeOf({}, results={"graph": output.digest_of_graph()})
    for result in (saved.nodes, saved.edges):
        if result is not None and (changed := now.difference(result.info.get("made_of"))):
            raise RunError(f"{output.ablation} was made with {changed}; run libasis ablate --force first.")
    return saved


def made(result: Any, of: MadeOf, **more: Any) -> Any:
    """A result that says what it was made of."""
    return replace(result, info={**result.info, "made_of": of.to_plain(), **more})


def check(opened: Opened, stage: str, result: Any, path: Path, advice: str) -> None:
    """Refuse to go on from a result that was made of something else; settings are compared before anything is opened.

    Raises:
        RunError: says what differs, and ``advice``.
    """
    for now in (lambda: MadeOf(deciding(stage, opened.config)), lambda: opened.made_of(stage)):
        if changed := now().difference(result.info.get("made_of")):
            raise RunError(f"{path} was made with {changed}; {advice}.")


def rule_of(moments: str | RuleTable) -> Any:
    """What `libasis.fit` takes as ``moments``: a name, or a rule with its options."""
    if isinstance(moments, str):
        return moments
    kind = getattr(rules, "".join(part.capitalize() for part in moments.rule.split("_")))
    try:
        return kind(**moments.model_dump(exclude={"rule"}, exclude_none=True))
    except TypeError:
        raise ConfigError(
            f'fit.moments gives options to the rule "{moments.rule}", which has none; leave them out.'
        ) from None


def _fit(output: Output, opened: Opened, *, force: bool) -> Basis:
    section = opened.config.fit
    output.refuse(output.basis, force)
    options: Mapping[str, Any] = {**section.model_dump(), "moments": rule_of(section.moments)}
    traced, train = opened.traced, opened.data.train
    try:
        basis = fit_basis(traced, train, **options)
    except LibasisError as error:  # inputs that are not as in training leave layers that do not vary
        if why := next((one["text"] for one in opened.findings if one["kind"] in MISFIT), None):
            raise RunError(f"{why.rstrip('.')} ({str(error).rstrip('.')}).") from error
        raise
    basis = made(basis, opened.made_of("basis"), config=settings_of(opened.config), findings=opened.findings)
    output.save(basis, output.basis, opened.config, force=force)
    return basis


def _saved_basis(output: Output, opened: Opened, *, force: bool) -> Basis | None:
    """The saved basis; None where there is none, or one to be replaced."""
    if not output.basis.exists():
        return None
    try:
        basis = Basis.load(output.basis)
        check(opened, "basis", basis, output.basis, "give --force or another output")
    except (RunError, StoreError):
        if not force:
            raise
        return None
    return basis
