"""Names for what people mean by a place in a model, read off its graph: no list of families."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import fx, nn

from ..ambient import neutral
from ..arguments import typed
from ..errors import OptionError
from .program import Program, aten, attention_weights, walk
from .site_table import SiteRow, chain_of, site_table
from .trace import program_of

TOKENS = 8
"""Tokens in the example that is made for a language model."""

_SOFTMAX = {aten.softmax.int, aten._softmax.default}
_PRODUCTS = ("matmul", "bmm", "einsum", "baddbmm")
_BENDS = (
    "gelu", "silu", "relu", "relu6", "tanh", "sigmoid", "erf", "elu", "celu", "selu", "softplus", "mish", "hardswish",
    "hardtanh", "hardsigmoid", "leaky_relu", "prelu", "glu", "log_sigmoid", "rrelu", "softsign",
)  # fmt: skip


@typed
@neutral
def residual_stream(
    model: nn.Module, example: Any = None, *, where: Literal["both", "attention", "mlp"] = "both", final: bool = True
) -> list[str]:
    """The sites of the residual stream, in the model's order: before each attention, before each MLP, and at the end.

    In a model with its norms in front these are the inputs of the norms; with the norms behind the sums (BERT), which
    are the inputs of the norms, too. Where attention and MLP work side by side there is one site for both. Every two
    enclose a section. A model without attention has the sites before each of its nonlinear parts.

    Args:
        model: any torch model, in eval mode; it is not changed.
        example: inputs as for `trace`; models of transformers, TransformerLens and timm need none.
        where: those before attention, before MLPs, or both.
        final: whether the end, at the last norm, is one of them.

    Raises:
        OptionError: the model needs an example, or has no such place.
        ExportError: the model cannot be exported.
    """
    found = _Layers.of(model, example)
    wanted = {"both": ("attention", "mlp"), "attention": ("attention",), "mlp": ("mlp",)}[where]
    names = [stop.row.name for stop in found.stops if stop.before in wanted or (stop.before == "" and final)]
    return _some(names, "residual stream", model)


@typed
@neutral
def mlp_hidden(model: nn.Module, example: Any = None) -> list[str]:
    """The hidden units of each MLP behind their nonlinearity (and gate): what its last layer takes.

    The residual stream goes around them: alone they are no cuts, but places to intervene at or to look at.

    Args:
        model: see `residual_stream`.
        example: see `residual_stream`.

    Raises:
        OptionError: see `residual_stream`.
    """
    found = _Layers.of(model, example)
    return _some([name for stop in found.stops if (name := found.hidden(stop))], "hidden layer of an MLP", model)


@typed
@neutral
def attention_out(model: nn.Module, example: Any = None) -> list[str]:
    """What each attention adds to the residual stream (before a norm of its own), the output of its last layer.

    The residual stream goes around it: alone it is no cut, but a place to intervene at or to look at.

    Args:
        model: see `residual_stream`.
        example: see `residual_stream`.

    Raises:
        OptionError: see `residual_stream`.
    """
    found = _Layers.of(model, example)
    return _some([name for stop in found.stops if (name := found.mixed(stop))], "attention", model)


def stream_of(model: nn.Module, program: Program) -> list[str]:
    """The residual stream of a model in its graph, from there to the output; without any the sites that cut it."""
    found = _Layers(model, program)
    names = [stop.row.name for stop in found.stops]
    return names if len(names) > 1 else chain_of(program, site_table(program))


def _some(names: list[str], what: str, model: nn.Module) -> list[str]:
    if names:
        return names
    raise OptionError(
        f"The model ({type(model).__name__}) has no {what} that its graph shows; libasis.find_sites(model, example) "
        "lists its sites."
    )


@dataclass(frozen=True, eq=False)
class _Stop:
    """A site of the residual stream, what comes behind it, and the nodes up to the next one."""

    row: SiteRow
    before: str  # "attention" (an MLP may work beside it), "mlp", or "" at the end
    inside: list[fx.Node] = field(default_factory=list)


class _Layers:
    """The sites that cut a model, with what lies between them.

    Attributes:
        stops: sites of the residual stream.
    """

    def __init__(self, model: nn.Module, program: Program) -> None:
        self.model, self.program = model, program
        self.known = program.site_nodes()
        table = site_table(program)
        rows = [table.row(name) for name in chain_of(program, table)]
        self.stops = self._stops(rows)

    @classmethod
    def of(cls, model: nn.Module, example: Any) -> _Layers:
        return cls(model, program_of(model, example_for(model) if example is None else example))

    @cached_property
    def _looks(self) -> set[fx.Node]:
        """Where weights of attention are computed."""
        return {node for node in self.program.graph.nodes if _is_attention(node)}

    @cached_property
    def _values(self) -> list[fx.Node]:
        return [node for node in self.program.graph.nodes if self.program.taint[node] == "value"]

    def _between(self, a: SiteRow, b: SiteRow) -> list[fx.Node]:
        first, last = (self.program.order[self.known[row.name]] for row in (a, b))
        return [node for node in self._values if first < self.program.order[node] <= last]

    def _stops(self, rows: Sequence[SiteRow]) -> list[_Stop]:
        """Sites with only affine maps and norms between them are one place, named by the norm that reads there."""
        stops, place = [], rows[:1]
        for a, b in zip(rows[:-1], rows[1:], strict=True):
            inside = self._between(a, b)
            kind = "attention" if self._looks & {*inside} else "mlp" if any(map(_bends, inside)) else ""
            if kind:
                stops.append(_Stop(_named(place), kind, inside))
                place = []
            place = [*place, b]
        return _layers([*stops, _Stop(_named(place), "")]) if place else []

    def hidden(self, stop: _Stop) -> str | None:
        """The input of the first layer with weights behind the MLP's nonlinearity."""
        looks = self._looks & {*stop.inside}
        bends = [n for n in stop.inside if _bends(n) and not looks & self.program.descendants([n])]
        return self._first(stop, bends, ":in", lambda _: True) or self._first(
            stop, bends, "", self._other_than(stop), -1
        )

    def mixed(self, stop: _Stop) -> str | None:
        """The output of the first layer with weights behind the weights of attention that is as wide as the stream."""
        looks = self._looks & {*stop.inside}
        return self._first(stop, looks, ":out", lambda row: not self._other_than(stop)(row))

    def _other_than(self, stop: _Stop) -> Callable[[fx.Node], bool]:
        width = self.known[stop.row.name].meta["val"].shape[-1]
        return lambda node: node.meta["val"].shape[-1] != width

    def _first(
        self, stop: _Stop, sources: Iterable[fx.Node], end: str, fits: Callable[[fx.Node], bool], place: int = 0
    ) -> str | None:
        """The name of a marked tensor that is computed from the sources inside the stop's section."""
        behind = self.program.descendants(sources) & {*stop.inside} if sources else set()
        found = sorted(
            (self.program.order[node], name)
            for name, node in self.program.marks.items()
            if node in behind and name.endswith(end) and fits(node) and (not end or self._has_weights(name))
        )
        return found[place][1] if found else None

    def _has_weights(self, name: str) -> bool:
        module = self.model.get_submodule(name.rpartition(":")[0].split("#")[0])
        return any(weight.ndim > 1 for weight in module.parameters(recurse=False))


def _named(place: Sequence[SiteRow]) -> SiteRow:
    norms = [row for row in place if row.name.endswith(":in") and "norm" in row.module.lower()]
    return (norms or place)[-1]


def _layers(stops: list[_Stop]) -> list[_Stop]:
    """Without what comes before the first attention, and without a head behind the last layer."""
    at = [i for i, stop in enumerate(stops) if stop.before == "attention"]
    if not at:
        return stops
    rest = len(stops) - 1 - at[-1]  # stops behind the last attention
    per_layer = at[1] - at[0] if len(at) > 1 else min(2, rest)
    end = at[-1] + min(per_layer, rest)
    return [*stops[at[0] : end], _Stop(stops[end].row, "")]


def _is_attention(node: fx.Node) -> bool:
    """Whether a node is a softmax whose values weigh others (and are not a choice of experts)."""
    if node.target is attention_weights:
        return True
    if node.target not in _SOFTMAX:
        return False
    onward = lambda n: [] if _word(n) in _PRODUCTS else [u for u in n.users if _passes(u) or _word(u) in _PRODUCTS]  # noqa: E731
    return any(_word(found) in _PRODUCTS for found in walk([node], onward))


def _passes(node: fx.Node) -> bool:
    same = (
        "to",
        "_to_copy",
        "dropout",
        "slice",
        "reshape",
        "view",
        "expand",
        "clone",
        "type_as",
        "nan_to_num",
        "where",
    )
    return _word(node) in (*same, "masked_fill", "transpose", "permute", "unsqueeze", "squeeze")


def _bends(node: fx.Node) -> bool:
    return _word(node) in _BENDS


def _word(node: fx.Node) -> str:
    return str(node.target).removeprefix("aten.").split(".")[0] if node.op == "call_function" else ""


def example_for(model: nn.Module) -> Any:
    """Inputs for a model of transformers, TransformerLens or timm, from what it says of itself.

    Raises:
        OptionError: it says nothing.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    tokens = torch.arange(2 * TOKENS, device=device).view(2, TOKENS) % 5 + 1
    if hasattr(getattr(model, "cfg", None), "d_vocab"):
        return tokens  # a bridge also says what the model inside says
    config, main = getattr(model, "config", None), getattr(model, "main_input_name", None)
    if config is not None and main == "input_ids":
        both = {"input_ids": tokens, "decoder_input_ids": tokens}
        return both if getattr(config, "is_encoder_decoder", False) else {"input_ids": tokens}
    if config is not None and main == "pixel_values":
        return {main: torch.zeros(2, *_image(config), device=device)}
    for name in ("pretrained_cfg", "default_cfg"):
        facts = getattr(model, name, None)
        if isinstance(facts, Mapping) and "input_size" in facts:
            channels, *size = facts["input_size"]
            asked = getattr(getattr(model, "patch_embed", None), "img_size", None)  # as it was made, not as published
            return torch.zeros(2, channels, *(asked or size), device=device)
    raise OptionError(
        f"The model ({type(model).__name__}) does not say what its inputs look like; give some as example, as for "
        "libasis.trace."
    )


def _image(config: Any) -> tuple[int, int, int]:
    config = getattr(config, "vision_config", config)
    size = getattr(config, "image_size", 224)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return getattr(config, "num_channels", 3), height, width


__all__ = ["attention_out", "mlp_hidden", "residual_stream"]
