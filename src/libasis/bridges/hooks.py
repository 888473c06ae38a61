"""An intervention as a hook, for models that another package runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arguments import typed
from ..basis import Basis
from ..errors import OptionError
from ..graphs import InteractionGraph, basis_of
from ..intervene import Intervention, Lines, Prepared
from ..intervene.place import Here
from ..intervene.registry import KINDS
from .first import change_first


class Edit:
    """What an intervention makes of the activation at its site, at every position.

    Called with an activation ``[..., d]`` it returns another one, and derivatives go through it. So it is a hook of
    TransformerLens (``fwd_hooks=[(name, edit)]``) and what nnsight assigns (``layer.output = edit(layer.output)``).
    `after` and `before` are hooks of torch.

    A hook before a module changes what that module reads. Where others read the tensor too, as the residual stream goes
    around a block's first norm, `libasis.intervene` changes it for all of them, and so does a hook at ``hook_at``.

    Attributes:
        site: the site's name.
        hook_at: where a hook does what `libasis.intervene` does: the site, or another name of its tensor (``"b1:in"``
            for ``"b1.norm:in"``); ``""`` where no module sees all of it.
    """

    def __init__(self, prepared: Prepared, hook_at: str | None = None) -> None:
        self._prepared = prepared
        self.site = prepared.asked.site
        self.hook_at = self.site if hook_at is None else hook_at

    def __repr__(self) -> str:
        at = f"hook at {self.hook_at}" if self.hook_at else "no hook changes it for all"
        others = "" if self.hook_at == self.site else f"; others read the tensor too: {at}"
        return f"Edit({self._prepared.asked.label}{others})"

    def __call__(self, x: Tensor, hook: Any = None) -> Tensor:
        """The activation to go on with."""
        site = self._prepared.lines.site
        if not isinstance(x, Tensor) or x.shape[-1:] != (site.d,) or not x.is_floating_point():
            told = f"the type {type(x).__name__}"
            if isinstance(x, Tensor):
                told = f"the shape {list(x.shape)}" + ("" if x.is_floating_point() else f" and the dtype {x.dtype}")
            raise OptionError(
                f"The activation has {told}, but at {site.name!r} it is a tensor [..., {site.d}] of floating-point "
                "numbers."
            )
        return self._prepared.replaced(Here(site, x)).expand_as(x)

    def after(self, module: torch.nn.Module, args: Any, output: Any) -> Any:
        """For ``register_forward_hook``; of several values the first tensor is changed."""
        return self._changed(output, f"{type(module).__name__} returned no tensor of floating-point numbers")

    def before(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        """For ``register_forward_pre_hook``; the first tensor that the module is given is changed.

        A module that is called by keyword needs ``register_forward_pre_hook(edit.before, with_kwargs=True)``.
        """
        kind = type(module).__name__
        if kwargs is None:
            more = "if it is called by keyword, use register_forward_pre_hook(edit.before, with_kwargs=True)"
            return self._changed(args, f"{kind} was given no tensor of floating-point numbers by position; {more}")
        return self._changed((args, kwargs), f"{kind} was given no tensor of floating-point numbers")

    def _changed(self, value: Any, none: str) -> Any:
        if (changed := change_first(value, self)) is None:
            raise OptionError(f"The edit at {self.site!r} has nothing to change: {none}.")
        return changed


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
    basis = basis_of(basis_or_graph)
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
    elsewhere = (basis.info.get("traced") or {}).get("hook_at") or {}
    return Edit(Prepared(intervention, lines, value, deviation), elsewhere.get(site.name))
