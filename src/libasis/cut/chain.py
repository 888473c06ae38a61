"""Sections given by the user as plain callables, for models that cannot be exported."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..ambient import as_outside
from ..data.batches import Batch, Structure, to_device
from ..errors import BatchError, SiteError
from ..types import Activations, Plain
from .apart import check_apart
from .layout import Layout, layout_of_tensor
from .program import digest_of_tensors
from .record import Context, Record
from .state import AsComputed, check_eval
from .trace import fingerprint
from .traced import LeadIn, Mask, Site, Traced, say_flat

Callables = Sequence[Callable[[Tensor], Tensor]]


class Chain(Traced):
    """A model given as its sections: ``x -> f0 -> f1 -> ...``, with the same use as a traced model.

    Args:
        functions: one callable per section, each from one tensor to one tensor, differentiable by ``torch.func``.
        names: names of the sites, one more than functions; with as many names as functions the last site is
            ``"output"``. Without names: ``"input"``, ``"site1"``, ..., ``"output"``.
        mask: a function of the inputs that returns which positions count, ``[batch, position]``.

    Raises:
        SiteError: the number of names does not fit.
        ModelStateError: a module among the functions is in training mode.

    Batches are inputs of ``f0`` (one tensor) or pairs ``(inputs, targets)``. Tensors of 2 or 3 dimensions have
    features last, tensors of more dimensions have channels second.
    """

    def __init__(self, functions: Callables, names: Sequence[str] | None = None, *, mask: Mask | None = None) -> None:
        if isinstance(functions, str) or not isinstance(functions, Iterable):
            raise SiteError(f"A Chain is of type {type(functions).__name__}; give a list of sections, each a callable.")
        functions = list(functions)
        if not functions or not all(callable(f) for f in functions):
            raise SiteError("A Chain needs at least one callable section.")
        if names is not None and (isinstance(names, str) or not all(isinstance(name, str) for name in names)):
            raise SiteError(f"The names of a Chain are {names!r}; give a list of strings.")
        if names is None:
            names = ["input", *(f"site{i}" for i in range(1, len(functions))), "output"]
        names = [*names, "output"] if len(names) == len(functions) else list(names)
        if len(names) != len(functions) + 1 or len(set(names)) != len(names):
            raise SiteError(
                f"A Chain of {len(functions)} sections has {len(functions) + 1} sites with different names, but the "
                f"names given are {names}."
            )
        for function in functions:
            if isinstance(function, nn.Module):
                check_eval(function)
        self.functions = functions
        self.names = names
        self.mask = mask
        self.structure = Structure("tensor", ())
        self.dtype: torch.dtype | None = None
        self.device: torch.device | None = None
        self._sites: tuple[Site, ...] | None = None
        self._told = False

    @property
    def sites(self) -> tuple[Site, ...]:  # pyright: ignore
        """The sites; their number of features is known after the first batch (0 before)."""
        return self._sites or tuple(Site(name, (name,), 0) for name in self.names)

    def _moved(self, dtype: torch.dtype | None, device: torch.device | None) -> Chain:
        """Copies of its modules in another dtype or on another device; functions stay."""
        if dtype in (None, self.dtype) and device in (None, self.device):
            return self
        functions = [
            copy.deepcopy(f).to(dtype=dtype, device=device) if isinstance(f, nn.Module) else f for f in self.functions
        ]
        return self._derived(functions=functions, dtype=dtype or self.dtype, device=device or self.device)

    def run_batch(self, batch: Batch, first: int = 0) -> Record:
        """Run one batch through the sections and record it; its samples are numbered from ``first``."""
        x = to_device(batch.args[0].detach(), self.device, self.dtype)
        if not x.is_floating_point():
            raise BatchError(
                f"Batch {batch.index} of the Chain is of {str(x.dtype).removeprefix('torch.')}, which cannot be "
                f"differentiated at its first site {self.names[0]!r}; leave the embedding out of the Chain and give "
                "what it returns."
            )
        raw = [x]
        for i, function in enumerate(self.functions):
            try:
                with as_outside():
                    raw.append(function(raw[-1].clone()))  # a section may work in place
            except Exception as error:
                raise BatchError(
                    f"Section {i} of the Chain ({self.names[i]!r} to {self.names[i + 1]!r}) does not run on its input "
                    f"of shape {list(raw[-1].shape)} in batch {batch.index}; give sections of which each takes what "
                    f"the one before returns ({type(error).__name__}: {error})"
                ) from error
            self._check_value(raw[-1], i, len(x) if x.ndim else 0)
        layouts = [layout_of_tensor(t) for t in raw]
        activations = [layout.canonical(t) for layout, t in zip(layouts, raw, strict=True)]
        contexts = tuple(
            Context(_section(f, a, b), workspace=4 * (t.numel() + u.numel()) // max(len(t), 1))
            for f, a, b, t, u in zip(self.functions, layouts[:-1], layouts[1:], raw[:-1], raw[1:], strict=True)
        )
        counted = self.counted(batch, activations)
        tail = Context(lambda z, _: layouts[-1].original(z))
        targets = to_device(batch.targets, raw[-1].device, None)
        numbers = torch.arange(first, first + len(x))
        record = Record(tuple(activations), contexts, tail, counted, targets, batch, numbers)
        if self._sites is None:
            sites = tuple(Site(n, (n,), a.shape[-1]) for n, a in zip(self.names, activations, strict=True))
            known = self._derived(mask=None, _sites=sites)
            run = lambda inputs: known.run_batch(replace(batch, args=inputs[0]))  # noqa: E731
            check_apart(run, ((x,), {}), record, self.names, None, placed=True)
            self._sites = sites
        self._tell(activations)
        return record

    def _with(self, mask: Mask | None) -> Chain:
        return self._derived(mask=mask, _told=False)

    def _tell(self, activations: Sequence[Activations]) -> None:
        """Once: that the mask has no part at the last site, where that has perhaps a number for each position."""
        if self.mask is None or self._told:
            return
        self._told, (*others, last) = True, (x.shape[1:] for x in activations)
        if last[0] == 1 < last[1] and last[1] in {shape[0] for shape in others}:
            say_flat(self.sites[-1])

    def lead_in(self, batch: Batch) -> tuple[list[Tensor], LeadIn]:
        """See `Traced.lead_in`."""
        record = self.run_batch(batch)
        first = layout_of_tensor(x := to_device(batch.args[0].detach(), self.device, self.dtype))

        def run(values: list[Tensor]) -> list[Activations]:
            found = [first.canonical(values[0])]
            for context in record.contexts:
                found.append(context(found[-1]))
            return found

        return [x], run

    def _check_value(self, value: Any, i: int, size: int) -> None:
        given = f"an object of type {type(value).__name__}"
        if isinstance(value, Tensor):
            if value.is_floating_point() and value.ndim and len(value) == size:
                return
            given = f"a tensor of {str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)}"
        raise BatchError(
            f"Section {i} of the Chain ({self.names[i]!r} to {self.names[i + 1]!r}) returns {given}; give sections "
            f"that take and return one tensor of real numbers, of which the first dimension is the batch ({size} here)."
        )

    @property
    def weights(self) -> int:
        """See `Traced.weights`."""
        return sum(p.numel() for f in self.functions if isinstance(f, nn.Module) for p in f.parameters())

    def facts(self) -> Plain:
        """Classes, fingerprint and sites, for the record."""
        modules = nn.ModuleList([f for f in self.functions if isinstance(f, nn.Module)])
        return {
            "model": "Chain of " + ", ".join(getattr(f, "__name__", type(f).__name__) for f in self.functions),
            "fingerprint": fingerprint(modules),
            "computation": digest_of_tensors((repr(m), torch.empty(0)) for m in modules),
            "sites": list(self.names),
            "dtype": str(self.dtype or "as given").removeprefix("torch."),
            **({"outliers": self.limits.facts()} if self.limits else {}),
        }


def _section(
    function: Callable[[Tensor], Tensor], source: Layout, target: Layout
) -> Callable[[Activations, tuple[Tensor, ...]], Activations]:
    def run(x: Activations, _: tuple[Tensor, ...]) -> Activations:
        with as_outside(), AsComputed(switches=True):
            return target.canonical(function(source.original(x).clone()))

    return run
