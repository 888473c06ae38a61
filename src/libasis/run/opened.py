"""Model and data of the settings, and what says whether they are still what a result was made of."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..cut import Traced, trace
from ..cut.trace import fingerprint
from ..data import FileBatches, Replayed, data_facts, first_inputs, from_seed, size_of, structure_of_example
from ..data.replay import random_state
from ..diagnose import findings_of
from ..measure import without_outliers
from ..provenance import code_of, is_plain
from ..types import Plain
from .data import Data, open_data
from .errors import ConfigError
from .made_of import STAGES, MadeOf, deciding
from .models import open_model
from .settings import Config


class Opened:
    """Model and data of the settings, each opened when it is first asked for.

    A factory that draws gives the same in every command. What is wrong with a source is raised as a `LibasisError`.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._facts: dict[str, Plain] = {}

    @cached_property
    def model(self) -> nn.Module | Traced:
        """A module or a `libasis.Chain`."""
        with from_seed(0):
            return open_model(self.config.model.source, self.config.model.arguments)

    @cached_property
    def data(self) -> Data:
        """For training and for testing."""
        with from_seed(0):
            return open_data(self.config)

    @cached_property
    def example(self) -> Any:
        """The inputs of the first batch."""
        train, model = self.data.train, nn.Identity() if isinstance(self.model, Traced) else self.model
        if isinstance(train, FileBatches):
            return train.example()
        return first_inputs(model, Replayed(train, random_state()))

    @cached_property
    def traced(self) -> Traced:
        """The model cut at the sites.

        Raises:
            ConfigError: the settings name no sites, or sites for a model that has its own.
            LibasisError: whatever is wrong with the sites.
        """
        options = self.config.trace.model_dump(exclude_none=True)
        times = options.pop("without_outliers", None)
        found = self._cut(options)
        return found if times is None else without_outliers(found, self.data.train, times=times)

    def _cut(self, options: dict[str, Any]) -> Traced:
        sites = self.config.sites
        if isinstance(self.model, Traced):
            if sites:
                raise ConfigError("sites is given, but the model is a libasis.Chain, which has its own; remove sites.")
            return self.model.to(**{key: value for key, value in options.items() if key != "around"})
        if not sites:
            raise ConfigError("sites is empty; list at least two sites (the command libasis sites shows all names).")
        return trace(self.model, self.example, sites, **options)

    @cached_property
    def findings(self) -> list[Plain]:
        """What is wrong with a model and the rows of a table on the first day; nothing of other models and data."""
        data = self.data
        if isinstance(self.model, Traced) or not isinstance(data.train, FileBatches) or data.train.columns is None:
            return []
        if self.config.data.test_source is not None or not isinstance(data.test, FileBatches) or not data.held_out:
            return findings_of(self.model, data.train)
        return findings_of(self.model, data.train.joined(data.test))  # the rows of one file, in its order

    @cached_property
    def weights(self) -> str:
        """The model's fingerprint, and where it has modules a digest of how they and their helpers are written."""
        if isinstance(self.model, Traced):
            return self.model.facts()["fingerprint"]
        return fingerprint(self.model) + _written(self.model)

    def made_of(self, stage: str, groups: Mapping[str, Any] | None = None, **results: str) -> MadeOf:
        """What a result of a stage would be made of now; no model is run for it.

        Args:
            stage: one of `STAGES`.
            groups: further data, by name.
            results: by name the digests of the results that it stands on.
        """
        test = "data.source" if self.config.data.test_source is None else "data.test_source"
        names = {"train": "training data of data.source", "test": f"test data of {test}"}
        data = {names[part]: self._facts_of(part, getattr(self.data, part)) for part in STAGES[stage].data}
        for name, batches in (groups or {}).items():
            data[f"data of report.groups.{name}"] = self._facts_of(f"group {name}", batches)
        return MadeOf(deciding(stage, self.config), data, self.weights, results)

    def _facts_of(self, part: str, batches: Iterable[Any]) -> Plain:
        if part not in self._facts:
            model = self.model
            structure = model.structure if isinstance(model, Traced) else structure_of_example(self.example)
            self._facts[part] = data_facts(batches, structure)
        return self._facts[part]

    def at_most(self, train: int | None, test: int | None) -> Opened:
        """The same with the first samples of the data only; None for all."""
        out = copy.copy(self)
        out.data = Data(first(self.data.train, train), first(self.data.test, test), self.data.held_out)
        out._facts = {}
        return out


def first(batches: Iterable[Any], samples: int | None) -> Iterable[Any]:
    """The first batches, the last one cut, as many as hold ``samples`` samples; all of them for None."""
    if samples is None:
        return batches
    taken, left = [], samples
    for batch in batches:
        size = size_of(batch)
        taken.append(batch if size <= left else pytree.tree_map_only(Tensor, _cut(size, left), batch))
        left -= min(size, left)
        if not left:
            break
    return taken


def _cut(size: int, left: int) -> Callable[[Tensor], Tensor]:
    return lambda x: x[:left] if x.ndim and len(x) == size else x


def _written(model: nn.Module) -> str:
    """A digest of what modules print, and of the names and numbers in their forward functions.

    It tells another activation, factor or helper from the one before, with the same weights, and asks for no run of
    the model.
    """
    said, seen = [re.sub(r" at 0x[0-9a-fA-F]+", "", repr(model))], set()
    for name, module in model.named_modules():
        said.append(f"{name} {sorted((key, value) for key, value in vars(module).items() if is_plain(value))}")
    for kind in sorted({type(module) for module in model.modules()}, key=lambda one: one.__qualname__):
        said += [kind.__qualname__, *code_of(kind.forward, kind, seen)]
    return hashlib.sha256("\n".join(said).encode("utf-8", "backslashreplace")).hexdigest()
