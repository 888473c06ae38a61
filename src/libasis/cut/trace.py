"""`survey` and `trace`: a torch model, exported once per input shape and cut at sites."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..ambient import neutral
from ..arguments import typed
from ..data import size_of
from ..data.batches import Batch, as_tensors, structure_of_example, to_device
from ..errors import BatchError, OptionError, SiteError, printable
from ..numerics import coarse
from ..types import Plain
from .apart import Inputs, check_apart, check_number
from .check import SiteSpec, site_name
from .export import export_program
from .functions import Functions
from .program import Program, digest_of_tensors
from .readers import hook_at
from .record import Record
from .sections import Cut
from .self_check import answers_of, check_not_random, check_own_operations, check_reproduces
from .site_table import SiteTable, chain_of, site_table
from .state import check_eval, hear, uncompiled
from .traced import LeadIn, Mask, Site, Traced, parse_device, parse_dtype, say_flat
from .wildcards import expanded, is_wild


def survey(model: nn.Module, example: Any, mask: Mask | None = None) -> tuple[SiteTable, GraphTrace | None]:
    """The table of sites, and the model cut at every one that alone cuts it; None where there are fewer than two.

    Raises:
        ModelStateError: the model is in training mode.
        ExportError: the model cannot be exported.
    """
    model = uncompiled(model)
    example = as_tensors(example)
    program = program_of(model, example)
    table = site_table(program)
    sites = chain_of(program, table)
    if len(sites) < 2:
        return table, None
    return table, GraphTrace(model, example, tuple(sites), mask, program).ready(example)


def program_of(model: nn.Module, example: Any) -> Program:
    """The graph of a model for inputs like the example."""
    model, example = uncompiled(model), as_tensors(example)
    check_eval(model)
    args, kwargs = structure_of_example(example).split(example)
    return export_program(model, args, kwargs, hear(model, args, kwargs)[1])


@typed
@neutral
def trace(
    model: nn.Module,
    example: Any,
    sites: Sequence[SiteSpec],
    *,
    mask: Mask | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    around: Literal["refuse", "hold"] = "refuse",
) -> Traced:
    r"""Cut a model at sites into sections :math:`f_{l+1} = F_l(f_l)`.

    The model is exported once per input shape with a dynamic batch dimension; the sections are pure functions cut out
    of the graph. They share the model's weights; after changing weights, trace again.

    What counts is the function that the model computes, and not what a training would see of it: ``detach``,
    ``torch.no_grad`` and a backward of one's own change nothing, and a straight-through estimator is the step that it
    computes. Hooks of the user that change something (a value they return, a tensor they write to, a weight they set)
    are part of the model: they are called on real values, the example itself, and what they do with them is part of
    the graph. Others are called once, to see that they only look on, and never again. It may be called from several
    threads at once, while others run the same model: what is exported is a twin that shares its weights.

    Args:
        model: any torch model, in eval mode; it is never changed (weights, hooks, gradients, modes, random state).
        example: the model's inputs: a tensor, a tuple of positional inputs or a dict of keyword inputs. Its structure
            decides how batches are read later.
        sites: at least two, in the model's order: ``"module.path:in"``, ``"module.path:out"`` (the default),
            ``"input"``, ``"output"``; ``"name#2"`` is a module's second call; a list inside the list concatenates
            tensors on the feature axis. ``"layers.*.norm:in"`` stands for that site of every layer (``**`` for any
            number of parts of a name); with such names all sites are put into the model's order.
        mask: which positions count: the name of a keyword input (nonzero counts, like an attention mask) or a function
            of the inputs that returns ``[batch, position]``. With it a last site that is ``[batch, position, 1]`` but
            for its last dimension is read as that.
        dtype: compute in this dtype instead of the model's own.
        device: compute on this device instead of the model's own.
        around: what to do where a value goes around a site, as the residual stream goes around a block's inside:
            ``"refuse"`` it, or ``"hold"`` it at the value that it has in the sample, so that a site within a branch
            (``"layers.5.mlp.down_proj:in"``) can be cut: then features are those of the branch, given all else. What
            is held is said in ``repr(traced)`` and recorded with every result. It must not depend on an earlier site.

    Raises:
        ModelStateError: the model is in training mode.
        SiteError: a site is unknown, cannot be a cut, or is out of order.
        BypassError: a value that depends on the inputs goes around a site.
        ExportError: the model cannot be exported; `Chain` is the way out.
        BatchError: the example has no usable structure.
        ActivationError: the graph does not reproduce the model (a random model, say).
    """
    model = uncompiled(model)
    check_eval(model)
    if isinstance(sites, str) or not isinstance(sites, Sequence) or (len(sites) < 2 and not any(map(is_wild, sites))):
        raise SiteError(f"sites is {sites!r}; give a list of at least two sites, in the model's order.")
    names = [site_name(spec) for spec in sites]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise SiteError(f"Site {twice[0]!r} is listed twice; name each site once.")
    own, target, example = parse_dtype(dtype), parse_device(device), as_tensors(example)
    cut = GraphTrace(model, example, tuple(sites), mask, hold=around == "hold")
    return cut._moved(own, target).ready(example).told()


class GraphTrace(Traced):
    """A traced torch model; made by `trace`."""

    def __init__(
        self,
        model: nn.Module,
        example: Any,
        specs: tuple[SiteSpec, ...],
        mask: Mask | None,
        program: Program | None = None,
        *,
        hold: bool = False,
    ) -> None:
        self.model = model
        self.mask, self.masked, self.hold = mask, mask is not None, hold
        self.structure = structure_of_example(example)
        self.dtype: torch.dtype | None = None
        self.device = self._home = _device_of(model)
        self._programs: dict[Any, Program] = {}
        self._cuts: dict[Any, Cut] = {}
        args, kwargs = self._at_home(*self.structure.split(example))
        self._dtypes = [t.dtype for t in _tensors(args, kwargs)]
        answers, heard = answers_of(model, args, kwargs)
        self._acting = heard.acting
        if program is not None:
            self._keep(program, args, kwargs)
        self.program = self._program(args, kwargs)[0]
        self.specs = expanded(self.program, specs)
        cut = self._cut(args, kwargs)
        self.sites = self._sites(cut)
        self._check_against_model(answers, args, kwargs)

    def _sites(self, cut: Cut) -> tuple[Site, ...]:
        return tuple(
            Site(name, (spec,) if isinstance(spec, str) else tuple(spec), sum(x.features for x in site.layouts))
            for spec, name, site in zip(self.specs, cut.names, cut.sites, strict=True)
        )

    def __repr__(self) -> str:
        beside = {name: f", {' and '.join(held)} held" for name, held in self.held.items()}
        rows = [f"  {s.name}: {s.features} features{beside.get(s.name, '')}" for s in self.sites]
        if self.limits:
            rows.append(f"  {self.limits}")
        return "\n".join(map(printable, [f"Traced({type(self.model).__name__}, {len(self.sites)} sites)", *rows]))

    def __deepcopy__(self, memo: Any) -> NoReturn:
        raise OptionError(
            "A traced model is not copied with its weights: copy the model before (copy.deepcopy(model)) and trace the "
            "copy."
        )

    @property
    def held(self) -> dict[str, list[str]]:
        """What goes around a site and is held at its value, by the site's name."""
        return next(iter(self._cuts.values())).held if self.hold else {}

    def _moved(self, dtype: torch.dtype | None, device: torch.device | None) -> GraphTrace:
        dtype, device = dtype or self.dtype, device or self.device
        if (dtype, device) == (self.dtype, self.device):
            return self
        return self._derived(dtype=dtype, device=device, _cuts={})

    def _with(self, mask: Mask | None) -> GraphTrace:
        new = self._derived(mask=mask, masked=mask is not None)
        if new.masked != self.masked:
            key, program = next(iter(self._programs.items()))
            new.sites = new._sites(new._cut_of(program, key))
            new.told()
        return new

    def told(self) -> GraphTrace:
        """Itself; where its mask has no part at the last site, the log says so."""
        if any(cut.flat for (_, masked), cut in self._cuts.items() if masked == self.masked):
            say_flat(self.sites[-1])
        return self

    def ready(self, example: Any) -> GraphTrace:
        """Itself, cut for an example already, so that no batch of its shape has to wait."""
        self._cut(*self.structure.split(example))
        return self

    def run_batch(self, batch: Batch, first: int = 0) -> Record:
        """Run one batch through the graph and record it; its samples are numbered from ``first``."""
        cut = self._cut(*self._as_example(batch), batch.index)
        values = self._values(cut, batch.args, batch.kwargs)
        activations, contexts, tail = cut.record(values)
        counted = self.counted(batch, activations)
        targets = to_device(batch.targets, activations[-1].device, None)
        numbers = torch.arange(first, first + len(activations[0]))
        return Record(tuple(activations), tuple(contexts), tail, counted, targets, batch, numbers, cut.each)

    def lead_in(self, batch: Batch) -> tuple[list[Tensor], LeadIn]:
        """See `Traced.lead_in`."""
        cut = self._cut(*self._as_example(batch), batch.index)
        return self._values(cut, batch.args, batch.kwargs), lambda values: cut.record(values)[0]

    def _check(self, record: Record) -> None:
        super()._check(record)
        kinds = {x.dtype: site.name for site, x in zip(self.sites, record.activations, strict=True)}
        if len(kinds) > 1:
            given = ", ".join(f"{str(kind).removeprefix('torch.')} at {name!r}" for kind, name in kinds.items())
            raise OptionError(
                f"The sites are in several dtypes ({given}); name one in which to compute them all: "
                'libasis.trace(..., dtype="float32").'
            )

    def _values(self, cut: Cut, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        """The inputs of the graph, in the dtype and on the device to compute in."""
        return [
            to_device(value.detach(), self.device, self.dtype or leaf.node.meta["val"].dtype)
            for leaf, value in zip(cut.program.inputs, _tensors(args, kwargs), strict=True)
        ]

    def _as_example(self, batch: Batch) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The inputs in the example's dtypes: those of the model, which is what is exported.

        Raises:
            BatchError: floats come in another dtype, and there is no dtype to compute in.
        """
        dtypes = iter(self._dtypes)

        def cast(t: Tensor) -> Tensor:
            dtype = next(dtypes, t.dtype)
            if t.dtype == dtype or not (t.is_floating_point() and dtype.is_floating_point):
                return t
            if self.dtype is None:
                given, expected = (str(d).removeprefix("torch.") for d in (t.dtype, dtype))
                raise BatchError(
                    f"Batch {batch.index} is of {given}, but the example was of {expected}; give batches like the "
                    "example, or name the dtype in which to compute."
                )
            return t.to(dtype)

        return pytree.tree_map_only(Tensor, cast, (batch.args, batch.kwargs))

    def _at_home(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The inputs where the model itself is."""
        return pytree.tree_map_only(Tensor, lambda t: to_device(t, self._home, None), (args, kwargs))

    def _program(self, args: tuple[Any, ...], kwargs: dict[str, Any], index: int | None = None) -> tuple[Program, Any]:
        """The program for inputs of this shape, and its key."""
        key = _shape_key(args, kwargs)
        program_key = key if key in self._programs else (key, size_of((args, kwargs)))
        if program_key not in self._programs:
            check_eval(self.model)
            try:
                home = self._at_home(args, kwargs)
                program = export_program(self.model, *home, hear(self.model, *home, self._acting)[1])
            except BatchError as error:
                raise BatchError(str(error) if index is None else f"Batch {index}: {error}") from error
            program_key = self._keep(program, args, kwargs)
        return self._programs[program_key], program_key

    def _keep(self, program: Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = _shape_key(args, kwargs)
        key = key if program.batch_symbol is not None else (key, size_of((args, kwargs)))
        self._programs[key] = program
        return key

    def _cut(self, args: tuple[Any, ...], kwargs: dict[str, Any], index: int | None = None) -> Cut:
        return self._cut_of(*self._program(args, kwargs, index))

    def _cut_of(self, program: Program, key: Any) -> Cut:
        key = (key, self.masked)
        if key not in self._cuts:
            options = {"hold": self.hold, "masked": self.masked}
            self._cuts[key] = Cut(program, self.specs, self.dtype, self.device, **options)
        return self._cuts[key]

    def _check_against_model(self, answers: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The graph must say what the model says, for each sample alone."""
        cut = self._cut(args, kwargs)
        nodes = [n for site in cut.sites for n in site.nodes]
        check_not_random(cut.program, [*nodes, cut.output])
        check_own_operations(Functions(cut.program), cut.sites[0].nodes, nodes, self._values(cut, args, kwargs))
        with torch.no_grad():
            path = next(name for name, node in cut.program.outputs.items() if node is cut.output)
            check_reproduces(answers, path, cut.answer(self._values(cut, args, kwargs)))
            record, fixed = self.run_batch(Batch(args, kwargs, None, 0)), cut.program.fixed_batch
            try:
                check_apart(self._alone(self.dtype), (args, kwargs), record, cut.names, fixed)
            except BatchError:  # or its rounding does: where much cancels, other kernels give other digits
                if self.dtype is torch.float64:
                    raise
                run = self._alone(torch.float64)
                check_apart(run, (args, kwargs), run((args, kwargs)), cut.names, fixed)
            if fixed is not None:
                check_number(lambda inputs: answers_of(self.model, *inputs)[0][0], (args, kwargs), answers[0])

    def _alone(self, dtype: torch.dtype | None) -> Callable[[Inputs], Record]:
        """The record of inputs in a dtype, whatever counts."""
        alone = self._derived(mask=None) if dtype == self.dtype else self._derived(mask=None, dtype=dtype, _cuts={})
        return lambda inputs: alone.run_batch(Batch(inputs[0], inputs[1], None, 0))

    @property
    def coarse(self) -> bool:  # pyright: ignore
        """See `Traced`."""
        values = (node.meta.get("val") for node in self.program.graph.nodes if node.op == "call_function")
        halves = (v.is_floating_point() and coarse(v.dtype) for v in values if isinstance(v, Tensor))
        return self.dtype is None and any(halves)

    @property
    def weights(self) -> int:
        """See `Traced.weights`."""
        return sum(p.numel() for p in self.model.parameters())

    def facts(self) -> Plain:
        """Model class, fingerprint, sites, dtype, and a digest of what is computed for the example, for the record."""
        key, program = next(iter(self._programs.items()))
        dtype = self.dtype or next((p.dtype for p in self.model.parameters()), torch.float32)
        names = [site.name for site in self.sites]
        elsewhere = {name: at for name in names if (at := hook_at(program, name)) is not None}
        return {
            "model": type(self.model).__name__,
            "fingerprint": fingerprint(self.model),
            "shapes": hashlib.sha256(repr(key).encode()).hexdigest(),
            "computation": program.digest,
            "sites": names,
            "dtype": str(dtype).removeprefix("torch."),
            **({"hook_at": elsewhere} if elsewhere else {}),
            **({"held": self.held} if self.held else {}),
            **({"outliers": self.limits.facts()} if self.limits else {}),
        }


def _device_of(model: nn.Module) -> torch.device | None:
    """The device that a model's weights and buffers share; None where there are several, or none."""
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    return devices.pop() if len(devices) == 1 else None


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]


def _shape_key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What an export depends on: structure, shapes without the batch, dtypes, and inputs that are no tensors."""
    leaves, spec = pytree.tree_flatten((args, kwargs))
    batch = size_of((args, kwargs))
    parts = []
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            shape = tuple(leaf.shape)
            batched = bool(shape) and shape[0] == batch
            parts.append((shape[1:] if batched else shape, batched, leaf.dtype))
        else:
            parts.append(repr(leaf))
    return (str(spec), tuple(parts))


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over the names, shapes, dtypes and bytes of a model's state."""
    return digest_of_tensors((name, x) for name, x in sorted(model.state_dict().items()) if isinstance(x, Tensor))
