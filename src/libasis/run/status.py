"""What is in an output folder, what it was made of, and what a command would do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..ablation import Ablations
from ..basis import Basis
from ..cards import FeatureCards
from ..errors import SourceError, StoreError
from ..graphs import InteractionGraph
from ..interactions.cost import costs
from ..measure import Records
from ..provenance import versions
from ..types import Plain
from .cards import groups_of
from .made_of import MadeOf, deciding
from .opened import Opened
from .pipeline import Output
from .settings import Config

MISSING, SAME, CHANGED, DAMAGED = "missing", "same", "changed", "damaged"
KINDS = {"basis": Basis, "graph": InteractionGraph, "nodes": Ablations, "edges": Ablations, "cards": FeatureCards}


@dataclass(frozen=True)
class RunStage:
    """One result of a run.

    Attributes:
        name: of the stage.
        path: where it is, or would be.
        state: ``"missing"``, ``"same"`` (made of what the settings say now), ``"changed"`` or ``"damaged"``.
        why: what changed, or what is damaged.
        facts: what it says it was made from.
    """

    name: str
    path: Path
    state: str
    why: str = ""
    facts: Plain = field(default_factory=dict)

    def __str__(self) -> str:
        if self.state == MISSING:
            return f"{self.name}: not there"
        if self.state == DAMAGED:
            return f"{self.name}: {self.path}, but {self.why}"
        data = [f"{one['samples']} samples ({one['digest'][:8]})" for one in self.facts.get("data", {}).values()]
        made = [*data, f"weights {str(self.facts.get('weights'))[:8]}", f"libasis {self.facts.get('version')}"]
        return f"{self.name}: {self.path}, of {', '.join(made)}{f'; but with {self.why}' if self.why else ''}"

    @property
    def current(self) -> bool:
        """Whether it would be made again as it is."""
        return self.state == SAME and self.facts.get("version") == versions()["libasis"]


@dataclass(frozen=True)
class Status:
    """All stages of a run.

    Attributes:
        stages: by name.
        page: the page, if there is one.
        checkpoints: files of passes that a run left that did not end, and their bytes.
        unseen: why model and data could not be looked at, so that settings alone were compared; empty if they could.
    """

    stages: dict[str, RunStage]
    page: Path | None
    checkpoints: tuple[int, int]
    unseen: str

    def would(self, verb: str, config: Config, *, force: bool = False) -> list[str]:
        """What a command would do, step by step; one step that begins with "refuse" is why it would not begin."""
        stages, steps = self.stages, []
        basis, graph = stages["basis"].state, stages["graph"].state
        study = [name for name in ("nodes", "edges") if getattr(config.ablate, name)]
        target = {"fit": ["basis"], "graph": ["graph"], "ablate": ["nodes", "edges"]}.get(verb, [])
        if not force and any(stages[name].state != MISSING for name in target):
            return [f"refuse: {stages[target[0]].path} is there; --force replaces it"]
        if verb in ("fit", "graph"):
            if verb == "graph" and basis in (CHANGED, DAMAGED) and not force:
                return [f"refuse: {stages['basis']}; --force makes it again"]
            steps.append("use the basis" if verb == "graph" and basis == SAME else "fit the basis")
            return steps if verb == "fit" else [*steps, "measure the interactions"]
        if graph == MISSING:
            return ["refuse: there is no graph; run libasis graph first"]
        if graph != SAME and (verb == "ablate" or config.report.cards):
            return [f"refuse: {stages['graph']}"]
        if verb == "ablate":
            return [f"{'keep' if stages[name].current else 'ablate'} {name}" for name in study]
        if wrong := [stages[name] for name in ("nodes", "edges") if stages[name].state in (CHANGED, DAMAGED)]:
            return [f"refuse: {wrong[0]}"]
        if config.report.cards:
            steps.append("use the cards" if stages["cards"].state == SAME else "collect the cards")
        return [*steps, "write the page"]

    def to_plain(self) -> Plain:
        """As JSON-serialisable data."""
        count, size = self.checkpoints
        return {
            "stages": [{**vars(stage), "path": str(stage.path)} for stage in self.stages.values()],
            "page": None if self.page is None else str(self.page),
            "checkpoints": {"passes": count, "bytes": size},
            "unseen": self.unseen or None,
        }


def status(config: Config) -> Status:
    """Look at the output folder; nothing is written and no model is run.

    Raises:
        RunError: the output is no folder.
    """
    output, opened = Output(config), Opened(config)
    found, unseen = {}, ""
    for name, kind in KINDS.items():
        path = output.ablation if name in ("nodes", "edges") else getattr(output, name)
        stage = _stage(name, path, kind, lambda name=name: MadeOf(deciding(name, config)))
        if stage.state == SAME:
            try:
                stage = _stage(name, path, kind, lambda name=name: _made_of(name, opened, output))
            except SourceError as error:
                unseen = str(error)
        found[name] = stage
    files = list(output.checkpoints.glob("*.checkpoint"))
    left = len(files), sum(file.stat().st_size for file in files)
    return Status(found, output.report if output.report.exists() else None, left, unseen)


def cost_of_edges(config: Config) -> list[Plain]:
    """What the interactions would take, section by section; one batch goes through the model.

    By the features of the basis that is there, or by the widths of the sites, which are as many or more.
    """
    output, opened = Output(config), Opened(config)
    sites, relative_error = opened.traced.sites, config.interactions.relative_error
    widths = [site.features for site in sites]
    with contextlib.suppress(StoreError):
        widths = [site.k for site in Basis.load(output.basis)]
    found = costs(Records.of(opened.traced, opened.data.train), list(pairwise(widths)), relative_error)
    return [{"section": site.name, **asdict(one)} for site, one in zip(sites, found, strict=False)]


def _made_of(name: str, opened: Opened, output: Output) -> MadeOf:
    results = {} if name in ("basis", "graph") else {"graph": output.digest_of_graph()}
    return opened.made_of(name, groups_of(opened) if name == "cards" else None, **results)


def _stage(name: str, path: Path, kind: Any, made_of: Callable[[], MadeOf]) -> RunStage:
    if not path.exists():
        return RunStage(name, path, MISSING)
    try:
        saved = kind.load(path)
    except StoreError as error:
        return RunStage(name, path, DAMAGED, str(error))
    result = getattr(saved, name) if kind is Ablations else saved
    if result is None:
        return RunStage(name, path, MISSING)
    info, facts = result.info, {}
    with contextlib.suppress(AttributeError, TypeError):
        facts = {"data": info["made_of"]["data"], "weights": info["made_of"]["weights"]}
    facts["version"] = (info.get("versions") or {}).get("libasis")
    why = made_of().difference(info.get("made_of")) or ""
    return RunStage(name, path, CHANGED if why else SAME, why, facts)
