r"""A section as functions of each position alone, before and after one attention: whatever these compute.

With x the input, queries, keys and values are functions of each position, heads write :math:`o_t = \sum_s A_{ts} v_s`
with a softmax A of their products, and the output is a function of :math:`x_t` and :math:`o_t`. Norms of queries and
keys, caps of scores, sinks, norms behind, gates and routed experts are all of that kind; so is a section without
attention.
"""

from __future__ import annotations

import contextlib
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx

from ..cut import Context
from ..cut.functions import Functions
from ..cut.program import aten, attention_weights, walk
from ..cut.subgraph import Subgraph
from .components import Values, values_batch
from .contractions import product_of
from .extract import Port
from .head_maps import first_of, index_of, number, weights_view
from .heads import HeadNodes, match_heads
from .read import SectionReading
from .roles import NoMatch, Standing, not_read

_READ: WeakKeyDictionary[Subgraph, Mixing | str] = WeakKeyDictionary()


def read_mixing(context: Context) -> Mixing | str:
    """A section's functions of each position, or the reason why it has none (completing "The section ...")."""
    subgraph = context.subgraph
    if subgraph is None:
        return "is a plain callable, whose inside cannot be read"
    if subgraph not in _READ:
        try:
            with torch.no_grad():
                _READ[subgraph] = _read(subgraph, context)
        except NoMatch as reason:
            _READ[subgraph] = str(reason)
        except Exception as error:  # noqa: BLE001 - a closed form is never worth a failure: the exact rule stays
            _READ[subgraph] = not_read(error)
    return _READ[subgraph]


def _read(subgraph: Subgraph, context: Context) -> Mixing:
    section = SectionReading(subgraph, context.values)
    heads = _attention_in(section)
    place = section.reader.place(section.target)
    end = Port(section.target, place.roles)
    if (end.positions, end.width) != (section.end.positions, section.end.features):
        raise NoMatch("has an output whose features are spread over several dimensions")
    _check(Mixing(section, section.exact, heads, place), section, context)
    return Mixing(section, section.functions, heads, place)


def _attention_in(section: SectionReading) -> tuple[fx.Node, HeadNodes] | None:
    reader, found = section.reader, None
    for node in sorted(walk([section.target], reader.dependent), key=section.program.order.__getitem__):
        with contextlib.suppress(NoMatch):  # in order, so that no question is asked through the whole section
            reader.place(node)
        if product_of(node) is None or node not in reader.inside:
            continue
        heads = match_heads(reader, node)
        if heads is None:
            continue
        if found is not None:
            raise NoMatch("has more than one attention")
        found = node, heads
        reader.take(node, heads)
    return found


class Mixing:
    """A section as functions.

    Attributes:
        d: features in.
        d_out: features out.
        H: heads, 0 without attention.
        e: width of queries and keys.
        v: width of values.
        read: positions of the output, None for all.
        windows: the positions that see each other, ``[w, n]``, where not all do; each window is a sample of its own.
    """

    def __init__(
        self,
        section: SectionReading,
        functions: Functions,
        attention: tuple[fx.Node, HeadNodes] | None,
        place: Standing,
    ) -> None:
        self.d, self.read = section.d, place.read
        self.H = self.e = self.v = 0
        self.windows = self.order = None
        reader, context = section.reader, section.context
        self.source, self.end = (Port(n, reader.place(n).roles) for n in (section.source, section.target))
        self.d_out = self.end.width
        written = [] if attention is None else [attention[0]]
        self._after = functions.build([section.source, *written, *context], [section.target])
        if attention is None:
            return
        node, heads = attention
        self.written = Port(node, heads.roles, heads.features)
        parts = (heads.query, heads.key, heads.value)
        self.parts = [Port(part.node, reader.place(part.node).roles, part.features) for part in parts]
        self.H = heads.count
        if heads.order is not None:
            self.order = torch.tensor(heads.order, device=functions.device)
            self.windows = self.order[None]
        if heads.windows is not None:
            windows = heads.windows.to(device=functions.device)
            self.windows = windows if self.order is None else self.order[windows]
        if self.windows is not None and self.read is not None:
            raise NoMatch("has attention in windows of which some positions are read")
        self.own = [index_of(part.heads, self.H) for part in parts]
        counts = [number(part.heads) for part in parts]
        self.e, self.v = self.parts[0].width // counts[0], self.parts[2].width // counts[2]
        nodes = [part.node for part in parts]
        self._look = functions.build([section.source, *context], nodes)
        self._weights = functions.build([*nodes[:2], *context], [heads.weights])
        self.view = weights_view(heads.weight_roles, self.H)
        product = heads.path[-1]
        self.scale = None
        if product.target is attention_weights:
            scale = product.kwargs.get("scale")
            self.scale = float(scale) if scale is not None else self.e**-0.5  # pyright: ignore
            return
        softmax = next(i for i, n in enumerate(heads.path) if n.target is aten.softmax.int)
        self._product = functions.build(nodes[:2], [product])
        self._scores = functions.build([product, *context], [heads.path[softmax + 1]])
        self.view_product = weights_view(heads.product_roles, self.H)

    def fold(self, x: Tensor) -> Tensor:
        """Of ``[b, s, ...]`` the windows, ``[b w, n, ...]``."""
        return x if self.windows is None else x[:, self.windows].flatten(0, 1)

    def unfold(self, x: Tensor) -> Tensor:
        """The inverse of `fold`."""
        if self.windows is None:
            return x
        return x.reshape(-1, self.windows.numel(), *x.shape[2:])[:, self.windows.flatten().argsort()]

    def look(self, x: Tensor, values: Values) -> list[Tensor]:
        """Queries, keys and values ``[b, s, H, e or v]``."""
        found = self._look(self.source.original(x), *values)
        back = slice(None) if self.order is None else self.order.argsort()
        canonical = (port.canonical(y)[:, back] for port, y in zip(self.parts, found, strict=True))
        widths = (self.e, self.e, self.v)
        each = zip(canonical, widths, self.own, strict=True)
        return [y.unflatten(-1, (-1, width))[:, :, own.to(y.device)] for y, width, own in each]

    def weights(self, q: Tensor, k: Tensor, values: Values) -> tuple[Tensor, Tensor]:
        """Attention weights A, and A times the slope of the scores in the products, of each window ``[b, H, t, s]``."""
        some = (self._there(_few(y, own)) for y, own in zip((q, k), self.own, strict=False))
        raw = [port.original(y) for port, y in zip(self.parts, some, strict=False)]
        A = self.view(self._weights(*raw, *values)[0])
        if self.scale is not None:
            return A, A * self.scale
        products = self._product(*raw)[0]
        scores, pull = torch.func.vjp(lambda z: self._scores(z, *values)[0], products)[:2]
        return A, A * self.view_product(pull(torch.ones_like(scores))[0])

    def after(self, x: Tensor, o: Tensor | None, values: Values) -> Tensor:
        """The output ``[b, t, d_out]`` of the input and what the heads write ``[b, s, H v]``."""
        written = [] if o is None else [self.written.original(self._there(o))]
        return self.end.canonical(self._after(self.source.original(x), *written, *values)[0])

    def _there(self, x: Tensor) -> Tensor:
        """Positions in the order in which they stand in the attention."""
        return x if self.order is None else x[:, self.order]

    def whole(self, x: Tensor, values: Values) -> Tensor:
        """The section."""
        if not self.H:
            return self.after(x, None, values)
        q, k, v = self.look(x, values)
        o = self.weights(q, k, values)[0] @ self.fold(v).transpose(1, 2)
        return self.after(x, self.unfold(o.transpose(1, 2).flatten(2)), values)


def _few(x: Tensor, own: Tensor) -> Tensor:
    """Of ``[b, s, H, e]`` each that some heads share once, ``[b, s, n e]``."""
    return x[:, :, first_of(own).to(x.device)].flatten(2)


def _check(found: Mixing, section: SectionReading, context: Context) -> None:
    """Refuse what is not what it seems, at random inputs: the whole, its locality, and the slope of the weights."""
    values, fixed, T = context.values, context.fixed_batch, section.positions
    if not fixed and values_batch(values, None) > 1:
        values = context.of(slice(0, 1))
    random = torch.Generator().manual_seed(13)
    size = values_batch(values, fixed)
    x, other = (
        torch.randn(size, T, found.d, generator=random, dtype=torch.float64).to(section.exact.device) * spread + 0.1
        for spread in (1.0, 2.0)
    )
    y = section.run(x, values)
    half = x.clone()
    half[:, : T // 2] = other[:, : T // 2]
    o = half_o = None
    if not _close(found.whole(x, values), y):
        raise NoMatch("has parts that do not add up to it")
    if found.H:
        parts, moved = found.look(x, values), found.look(half, values)
        if not all(_close(a[:, T // 2 :], b[:, T // 2 :]) for a, b in zip(parts, moved, strict=True)):
            raise NoMatch("mixes positions before its attention")
        _check_slope(found, parts[0], parts[1], values)
        o = torch.randn(size, T, found.H * found.v, generator=random, dtype=torch.float64).to(x)
        half_o = o.clone()
        half_o[:, : T // 2] = -1.0
    rows = range(T) if found.read is None else found.read
    later = [i for i, t in enumerate(rows) if t >= T // 2]
    if not _close(found.after(x, o, values)[:, later], found.after(half, half_o, values)[:, later]):
        raise NoMatch("mixes positions behind its attention" if found.H else "mixes positions")


def _check_slope(found: Mixing, q: Tensor, k: Tensor, values: Values) -> None:
    A, pull = torch.func.vjp(lambda q: found.weights(q, k, values)[0], q)[:2]
    B = found.weights(q, k, values)[1]
    G = torch.randn(A.shape, generator=torch.Generator().manual_seed(3), dtype=A.dtype).to(A)
    moved = B * (G - (A * G).sum(-1, keepdim=True))
    expected = found.unfold((moved @ found.fold(k).transpose(1, 2)).transpose(1, 2))
    mine, own = pull(G)[0], found.own[0].to(A.device)
    together = [torch.zeros_like(x).index_add_(2, own, x) for x in (mine, expected)]
    if not _close(*together):
        raise NoMatch("has attention scores that are not a function of each product of a query and a key")


def _close(a: Tensor, b: Tensor) -> bool:
    if not b.numel():
        return True
    return bool((a - b).abs().max() <= 1e-8 * (b.abs().max() + 1e-3))
