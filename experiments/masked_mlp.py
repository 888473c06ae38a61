"""One gated MLP with only some of its edges, between features of a basis, of a dictionary, or of both.

A section has ``strengths(x)``, the root mean square ``[k_out, k_in]`` of derivative times feature, and
``run(x, mask)``: what it gives where each output feature sees only the input features of its row of the mask, the
others at their mean.
``run(x, None)`` is the section with all edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from experiments.sparse_dictionary import GatedMLP
from torch import Tensor
from torch.nn.functional import silu

from libasis.basis import SiteBasis
from libasis.bridges import Autoencoder


@dataclass(frozen=True)
class Linear:
    """Features (x - mean) C, and back mean + f C⁺, in float32."""

    mean: Tensor
    C: Tensor
    C_pinv: Tensor

    @classmethod
    def of(cls, basis: SiteBasis) -> Linear:
        """Those of a basis."""
        return cls(basis.mean.float(), basis.C.float(), basis.C_pinv.float())

    @classmethod
    def neurons(cls, mean: Tensor) -> Linear:
        """The coordinates as they are."""
        return cls(mean.float(), torch.eye(len(mean)), torch.eye(len(mean)))

    def encode(self, x: Tensor) -> Tensor:
        """Features of activations."""
        return (x - self.mean) @ self.C

    def decode(self, f: Tensor) -> Tensor:
        """Activations of features."""
        return self.mean + f @ self.C_pinv


class Dense:
    """From features of a basis at x to those of a basis at y."""

    def __init__(self, mlp: GatedMLP, source: Linear, target: Linear) -> None:
        self.mlp, self.source, self.target = mlp, source, target
        self.ins = source.C_pinv @ mlp.gate, source.C_pinv @ mlp.up
        self.outs = mlp.down @ target.C
        self.shape = target.C.shape[1], source.C.shape[1]

    def strengths(self, x: Tensor) -> Tensor:
        """See the module."""
        total = torch.zeros(self.shape, dtype=torch.float64)
        for part in x.split(16):
            J = self.mlp.jacobian(part, self.ins, self.outs.T)
            total += (J * self.source.encode(part)[:, None]).square().sum(0)
        return (total / len(x)).sqrt()

    def run(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """See the module."""
        if mask is None:
            return self.target.decode(self.target.encode(self.mlp(self.source.decode(self.source.encode(x)))))
        return torch.cat([self.target.decode(self._masked(part, mask)) for part in x.split(256)])

    def _masked(self, x: Tensor, mask: Tensor) -> Tensor:
        out = torch.empty(len(x), self.shape[0])
        for j, inner in enumerate(_rows(self.mlp, self.source, self.ins, x, mask)):
            out[:, j] = inner @ self.outs[:, j]
        return out - self.target.mean @ self.target.C


def _rows(mlp: GatedMLP, source: Linear, ins: tuple[Tensor, Tensor], x: Tensor, mask: Tensor) -> Iterator[Tensor]:
    """The MLP's hidden layer ``[n, hidden]``, or of one row, for the input features of each row of the mask."""
    f = source.encode(x)
    means = source.mean @ mlp.gate, source.mean @ mlp.up
    whole = tuple(mean + f @ each for mean, each in zip(means, ins, strict=True))
    for row in mask:
        seen = row.nonzero()[:, 0]
        if 2 * len(seen) <= len(row):  # add what is seen to the mean, or take what is not from the whole
            a, u = (m + f[:, seen] @ each[seen] if len(seen) else m[None] for m, each in zip(means, ins, strict=True))
        else:
            rest = (~row).nonzero()[:, 0]
            a, u = (w - f[:, rest] @ each[rest] for w, each in zip(whole, ins, strict=True))
        yield silu(a) * u


class Latents:
    """From the latents of a dictionary at x to those of one at y.

    Which latents of y are active is held as with all edges, unless it is ``free``. With ``errors`` what the
    dictionaries do not reconstruct is carried along as it is.

    Attributes:
        kept: of the last run the mean number of edges between active latents that a vector keeps.
    """

    def __init__(
        self, mlp: GatedMLP, pair: tuple[Autoencoder, Autoencoder], mean: Tensor, *, errors: bool = False
    ) -> None:
        self.mlp, self.source, self.target, self.errors, self.free = mlp, *pair, errors, False
        self.mean, self.k = mean, self.source.settings["k"]
        self.ins = self.source.W_dec @ mlp.gate, self.source.W_dec @ mlp.up
        self.outs = (mlp.down @ self.target.W_enc).T.contiguous()
        self.shift = self.target.get_buffer("b_enc") - self.target.b_dec @ self.target.W_enc
        self.shape = self.target.W_enc.shape[1], self.source.W_enc.shape[1]
        self.kept = 0.0

    def reconstructed(self, x: Tensor) -> Tensor:
        """What the latents at x reconstruct."""
        return self.source.decode(self.source.encode(x))

    def strengths(self, x: Tensor) -> Tensor:
        """See the module."""
        total = torch.zeros(self.shape, dtype=torch.float64)
        for part in x.split(32):
            z = self.source.encode(part)
            at = part if self.errors else self.source.decode(z)
            value, active = self.target.encode(self.mlp(at)).topk(self.k, dim=1)
            at_gate, at_up = self.mlp.slopes(at)
            read = self.outs[active]
            J = (read * at_gate[:, None]) @ self.ins[0].T + (read * at_up[:, None]) @ self.ins[1].T
            square = (J * (z - self.mean)[:, None] * (value > 0)[:, :, None]).square()
            total.index_add_(0, active.flatten(), square.flatten(0, 1).double())
        return (total / len(x)).sqrt()

    def run(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """See the module."""
        if mask is None:
            return (
                self.target.decode(self.target.encode(self.mlp(self.reconstructed(x))))
                if not self.errors
                else self.mlp(x)
            )
        rows = torch.cat([-(mask * self.mean) @ each for each in self.ins], 1)
        middle = self.source.decode(self.mean[None])
        rows += torch.cat([middle @ self.mlp.gate, middle @ self.mlp.up], 1)
        kept, out = 0.0, []
        for part in x.split(2 if self.free else 32):
            made, edges = self._masked(part, mask, rows)
            out.append(made)
            kept += edges / len(x)
        self.kept = kept
        return torch.cat(out)

    def _masked(self, x: Tensor, mask: Tensor, rows: Tensor) -> tuple[Tensor, float]:
        z, which = self.source.encode(x).topk(self.k, dim=1)
        back = self.source.decode(self.source.encode(x))
        y = self.mlp(x if self.errors else back)
        held = self.target.encode(y)
        active = torch.arange(len(held[0])).expand(len(x), -1) if self.free else held.topk(self.k, dim=1).indices
        seen = mask[active[:, :, None], which[:, None]] * z[:, None]
        a, u = rows[active].chunk(2, -1)
        a, u = (base + seen @ each[which] for base, each in zip((a, u), self.ins, strict=True))
        if self.errors:
            a, u = a + ((x - back) @ self.mlp.gate)[:, None], u + ((x - back) @ self.mlp.up)[:, None]
        value = (silu(a) * u * self.outs[active]).sum(-1) + self.shift[active]
        if self.free:
            value, active = value.topk(self.k, dim=1)
        made = self.target.decode(torch.zeros_like(held).scatter(1, active, value.relu()))
        if self.errors:
            made = made + y - self.target.decode(held)
        used = held.topk(self.k, dim=1).indices
        return made, float((mask[used[:, :, None], which[:, None]] & (z > 0)[:, None]).sum())


class Inside:
    """From LIB features of what a dictionary at x reconstructs to those of what one at y reconstructs."""

    def __init__(self, latents: Latents, source: Linear, target: Linear) -> None:
        self.latents, self.mlp, self.source, self.target = latents, latents.mlp, source, target
        self.ins = source.C_pinv @ self.mlp.gate, source.C_pinv @ self.mlp.up
        self.outs = latents.target.W_dec @ target.C
        self.shape = target.C.shape[1], source.C.shape[1]

    def strengths(self, x: Tensor) -> Tensor:
        """See the module."""
        total, own = torch.zeros(self.shape, dtype=torch.float64), self.latents
        for part in x.split(32):
            at = own.reconstructed(part)
            value, active = own.target.encode(self.mlp(at)).topk(own.k, dim=1)
            J = self.mlp.jacobian(at, self.ins, own.outs[active]) * (value > 0)[:, :, None]
            J = self.outs[active].transpose(1, 2) @ J
            total += (J * self.source.encode(at)[:, None]).square().sum(0)
        return (total / len(x)).sqrt()

    def run(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """See the module."""
        if mask is None:
            return self.latents.run(x, None)
        out = []
        for part in x.split(256):
            made = torch.empty(len(part), self.shape[0])
            back = self.latents.reconstructed(part)
            for j, inner in enumerate(_rows(self.mlp, self.source, self.ins, back, mask)):
                y = self.latents.target
                made[:, j] = y.encode(inner @ self.mlp.down) @ self.outs[:, j]
            made += (self.latents.target.b_dec - self.target.mean) @ self.target.C
            out.append(self.target.decode(made))
        return torch.cat(out)
