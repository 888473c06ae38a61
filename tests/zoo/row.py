"""One row of the matrix: a way of writing a network, the inputs it takes, where it is cut and what must come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

ROWS: list[Row] = []


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        kind: heading of the page.
        name: what the model is, in the fewest words.
        make: a new model.
        inputs: of so many samples, from a generator; integers that are no token numbers must not depend on it.
        sites: names, apart by spaces, two that are joined by ``+``; empty: some that `find_sites` offers; ``"norms"``:
            those in front of norms.
        expect: ``"closed"``, ``"exact"`` (right, by any rule), or ``"refused"``.
        says: for a refusal, a pattern of its sentence.
        instead: what the user does instead, or anything else that the page should say.
        channels: sites whose features are not last, by name, with their dimension (``"*"`` for all others).
        batch: of sites whose batch is not first, its dimension.
        plain: a model that computes the same and can be run eagerly in float64, where ``make`` gives none.
        mask: as for `trace`.
        dtype: as for `trace`.
        size: how many samples the example has.
        wrong: why the row fails today; the test is then expected to fail.
        rare: left out unless all rows are asked for.
        needs: a package without which the row is skipped.
    """

    kind: str
    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int, torch.Generator], Any]
    sites: str = ""
    expect: str = "exact"
    says: str = ""
    instead: str = ""
    channels: Mapping[str, int] = field(default_factory=dict)
    batch: Mapping[str, int] = field(default_factory=dict)
    plain: Callable[[], nn.Module] | None = None
    mask: Any = None
    dtype: str | None = None
    size: int = 12
    wrong: str = ""
    rare: bool = False
    needs: str = ""

    def model(self, *, plain: bool = False) -> nn.Module:
        """In eval mode, float64 unless a dtype is named, every weight and statistic moved off its first value."""
        kept = torch.get_rng_state()
        torch.manual_seed(0)
        try:
            model = (self.plain if plain and self.plain else self.make)()
            if self.dtype is None:
                model = model.double()
            model = model if "eval" in vars(model) else model.eval()  # torch.export's cannot
            _stir(model)
            return model.double() if plain else model
        finally:
            torch.set_rng_state(kept)


def _stir(model: nn.Module) -> None:
    """No bias stays zero and no scale one; the same for the same weights in the same order."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for weight in model.parameters():
            if weight.is_floating_point() and not weight.is_inference():
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator).to(weight.dtype))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(generator=generator)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0, generator=generator)


def rows(kind: str) -> Callable[..., None]:
    """Adds rows of one kind to the matrix."""

    def add(name: str, make: Callable[[], nn.Module], inputs: Any, sites: str = "", **more: Any) -> None:
        ROWS.append(Row(kind, name, make, inputs, sites, **more))

    return add


def floats(*shape: int) -> Callable[[int, torch.Generator], Tensor]:
    """Random inputs ``[batch, *shape]``."""
    return lambda n, g: torch.randn(n, *shape, dtype=torch.float64, generator=g)


def ids(length: int = 5, vocabulary: int = 11) -> Callable[[int, torch.Generator], Tensor]:
    """Random token numbers ``[batch, length]``."""
    return lambda n, g: torch.randint(vocabulary, (n, length), generator=g)


def several(*parts: Callable[[int, torch.Generator], Tensor]) -> Callable[[int, torch.Generator], Any]:
    """Several positional inputs."""
    return lambda n, g: tuple(part(n, g) for part in parts)


def named(**parts: Callable[[int, torch.Generator], Tensor]) -> Callable[[int, torch.Generator], Any]:
    """Inputs by name."""
    return lambda n, g: {name: part(n, g) for name, part in parts.items()}


class Parts(nn.Module):
    """A model's modules, weights and constants by name."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)


def Net(forward: Callable[..., Any], **parts: Any) -> nn.Module:  # noqa: N802 - it stands for a class
    """A model out of parts and its forward: ``Net(lambda m, x: m.b(m.a(x)), a=..., b=...)``."""
    return type("Net", (Parts,), {"forward": forward})(**parts)


def weight(*shape: int, scale: float = 0.5) -> nn.Parameter:
    """A random parameter."""
    return nn.Parameter(scale * torch.randn(*shape))
