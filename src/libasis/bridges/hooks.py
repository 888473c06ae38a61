"""An intervention as a hook, for models that another package runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arguments import typed
from ..basis import Basis
from ..errors import OptionError
from ..graphs import InteractionGraph
from ..intervene import Intervention, Lines, Prepared
from ..intervene.place import Here
from ..intervene.registry import KINDS


class Edit:
    """What an intervention makes of the activation at its site, at every position.

    Called with an activation ``[..., d]`` it returns another one, and derivatives go through it. So it is a hook of
    TransformerLens (``fwd_hooks=[(name, edit)]``) and what nnsight assigns (``layer.output = edit(layer.output)``).
    `after` and `before` are hooks of torch.

    Attributes:
        site: the site's name.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self.site = prepared.asked.site

    def __repr__(self) -> str:
        return f"Edit({self._prepared.asked.label})"

    def __call__(self, x: Tensor, hook: Any = None) -> Tensor:
        """The activation to go on with."""
        site = self._prepared.lines.site
        if not isinstance(x, Tensor) or x.shape[-1:] != (site.d,):
            told = f"the shape {list(x.shape)}" if isinstance(x, Tensor) else f"the type {type(x).__name__}"
            raise OptionError(f"The activation has {told}, but at {site.name!r} it is a tensor [..., {site.d}].")
        return self._prepared.replaced(Here(site, x)).expand_as(x)

    def after(self, module: torch.nn.Module, args: Any, output: Any) -> Any:
        """For ``register_forward_hook``; of a tuple the first value is changed."""
        return (self(output[0]), *output[1:]) if isinstance(output, tuple) else self(output)

    def before(self, module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """For ``register_forward_pre_hook``; the first positional input is changed."""
        return (self(args[0]), *args[1:])


@typed
def edit(basis_or_graph: Basis | InteractionGraph, intervention: Intervention) -> Edit:
    r"""An intervention as a function of the activation at its site, for models that run elsewhere.

    It knows the basis and no data: "shift" takes the standard deviations of the fit (of directions those of
    :math:`(f - \mu) R` for uncorrelated features), and every position is changed.

    Args:
        basis_or_graph: whose features.
        intervention: of any kind that needs no other samples.

    Raises:
        OptionError: the basis has no such site or feature, or the intervention needs other samples.
    """
    basis = basis_or_graph.basis if isinstance(basis_or_graph, InteractionGraph) else basis_or_graph
    intervention.check(basis)
    need = KINDS[intervention.to].needs_of(intervention)
    if need in ("donors", "given"):
        raise OptionError(
            f"{intervention.label!r} needs other samples, which a hook does not see; use libasis.intervene, or another "
            "kind."
        )
    site, value, deviation = basis[intervention.site], None, None
    lines = Lines.of(site, intervention)
    if intervention.value is not None and not isinstance(intervention.value, str):
        value = torch.as_tensor(intervention.value, dtype=torch.float64).expand(intervention.count)
    if need == "deviation":
        reading = site.C[:, lines.which] if lines.reading is None else lines.reading
        deviation = (site.variances @ (site.C_pinv @ reading).square()).clamp(min=0).sqrt()
    return Edit(Prepared(intervention, lines, value, deviation))
