"""What a result is made of: the settings that decide it, the data, the model's weights, and the results before it.

Every result of a command carries this at ``info["made_of"]``, and no command goes on from a result that was made of
something else. `FREE` and `STAGES` are the only list of what decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..types import Plain

if TYPE_CHECKING:
    from .settings import Config

FREE = {
    "data.batch_size", "trace.device", "fit.progress", "fit.memory", "fit.spill", "interactions.progress",
    "interactions.memory", "ablate.nodes", "ablate.edges", "ablate.progress", "ablate.memory", "report.lang",
    "report.path", "report.title", "report.question", "report.labels", "report.cards", "compare.methods",
    "compare.controls", "compare.seeds", "compare.title", "verify.progress", "verify.memory", "data.time", "data.unit",
}  # fmt: skip
"""Settings that decide no result: where and how fast it is computed, how it is shown, which others are computed."""

_DIGEST = 64
"""Characters of the fingerprint of weights."""
MODEL = ("sites", "model", "data", "trace")
GRAPH = (*MODEL, "fit", "interactions")
BESIDE = frozenset({"data.time", "data.unit"})
STUDY = frozenset({"ablate.nodes", "ablate.edges"})
OF_NODES = frozenset({"ablate.sites", "ablate.schedule", "ablate.replacement", "ablate.where", "ablate.seed"})
OF_EDGES = frozenset({"ablate.sections", "ablate.search", "ablate.stable"})
BOOTSTRAP = frozenset({"compare.replicates", "compare.confidence", "compare.describe"})
METHOD = frozenset({"fit.method", "fit.sparse"})


@dataclass(frozen=True)
class Stage:
    """What a kind of result depends on.

    Attributes:
        sections: of the settings.
        data: which data.
        without: settings of these sections on which it does not depend, beside `FREE`.
        also: settings of `FREE` on which it does.
    """

    sections: tuple[str, ...]
    data: tuple[str, ...]
    without: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()


STAGES = {
    "basis": Stage((*MODEL, "fit"), ("train",)),
    "graph": Stage(GRAPH, ("train",)),
    "nodes": Stage((*GRAPH, "ablate"), ("test",), without=OF_EDGES),
    "edges": Stage((*GRAPH, "ablate"), ("test",), without=OF_NODES),
    "exploration": Stage((*MODEL, "fit", "verify"), ("test",)),
    "verification": Stage((*MODEL, "fit", "hypotheses", "verify"), ("test",)),
    "cards": Stage((*GRAPH, "report"), ("test",), also=BESIDE),
    "comparison": Stage((*GRAPH, "ablate", "compare"), ("train", "test"), without=METHOD, also=STUDY),
    "sensitivity": Stage(
        (*GRAPH, "ablate", "compare", "sensitivity"), ("train", "test"), without=METHOD | BOOTSTRAP, also=STUDY
    ),
}


@dataclass(frozen=True)
class MadeOf:
    """What a result is made of.

    Attributes:
        settings: by dotted key, those that decide.
        data: by what they are called in sentences: samples, digest and order.
        weights: the model's fingerprint and how it is written; None where it is not compared.
        results: by name, the digest of the results that it stands on.
    """

    settings: Plain
    data: dict[str, Plain] = field(default_factory=dict)
    weights: str | None = None
    results: dict[str, str] = field(default_factory=dict)

    def to_plain(self) -> Plain:
        """As it is kept."""
        return json.loads(json.dumps(asdict(self)))

    def difference(self, saved: Any) -> str | None:
        """In what a saved result was made of something else, in words that follow "was made with"; None for nothing."""
        then = dict(saved) if isinstance(saved, Mapping) else {}
        settings, data, results = (then.get(key) for key in ("settings", "data", "results"))
        if not (isinstance(settings, Mapping) and isinstance(data, Mapping) and isinstance(results, Mapping)):
            return "what it does not say (no command of this version saved it)"
        for key, value in self.to_plain()["settings"].items():
            if (before := settings.get(key)) != value:
                return f"other settings: {key} was {before!r} and is {value!r} now"
        for key, facts in self.data.items():
            if changed := _changed(key, data.get(key) or {}, facts):
                return f"other data: the {changed}"
        if self.weights is not None and self.weights != then.get("weights"):
            before = str(then.get("weights"))
            if before[:_DIGEST] == self.weights[:_DIGEST]:
                return "another model: its weights are the same, but what its modules say or do changed since"
            return f"other weights: the model's changed since (fingerprint {_two(before, self.weights)})"
        for key, digest in self.results.items():
            if results.get(key) != digest:
                return f"another {key} than the one that is there now"
        return None


def _changed(key: str, before: Plain, now: Plain) -> str | None:
    if before.get("digest") != now["digest"]:
        return f"{key} changed since (digest {_two(before.get('digest'), now['digest'])})"
    if before.get("order") != now["order"]:
        return f"{key} come in another order now"
    return None


def _two(then: Any, now: str) -> str:
    return f"{str(then)[:8]} then, {now[:8]} now"


def deciding(stage: str, config: Config) -> Plain:
    """The settings that decide a result of a stage, by dotted key.

    Which data the ablations use does not decide a basis or a graph; whether some are held out does.
    """
    kind = STAGES[stage]
    out: Plain = {}
    for section, value in config.model_dump(mode="json", include=set(kind.sections)).items():
        table = value if isinstance(value, dict) else {"": value}
        out.update({f"{section}.{key}".rstrip("."): item for key, item in table.items()})
    free = (FREE - kind.also) | kind.without
    out = {key: value for key, value in out.items() if key not in free}
    if "test" not in kind.data:
        out["data.test_source"] = "given" if out["data.test_source"] else "not given"
    return out
