"""A sparse dictionary with its nonlinearity, and a model whose activations go through dictionaries."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..ambient import neutral
from ..arguments import typed
from ..cut.state import uncompiled
from ..errors import OptionError, SiteError, did_you_mean, short
from ..types import Plain
from .first import change_first

EPS = 1e-5
"""What SAELens' layer norm adds to the standard deviation."""
NORMS = ("none", "layer_norm", "constant_norm_rescale")


class Autoencoder(nn.Module):
    r"""A sparse dictionary: latents :math:`z = \sigma(x W_{enc} + b_{enc})`, and back :math:`z W_{dec} + b_{dec}`.

    Called as a module it gives back the activation that it was given: what it reconstructs plus its error. Its
    submodules ``latents`` and ``error`` see the two, and are sites.

    Args:
        weights: ``W_enc`` ``[d, k]``, ``W_dec`` ``[k, d]``, ``b_dec`` ``[d]``, and ``[k]`` each: ``b_enc``; for
            ``"jumprelu"`` also ``threshold``; for ``"gated"`` in its place ``b_gate``, ``b_mag``, ``r_mag``.
        settings: as in SAELens' cfg.json: ``architecture`` (``"standard"``, ReLU, by default; ``"topk"`` with ``k``;
            ``"jumprelu"``; ``"gated"``), ``apply_b_dec_to_input`` (by default true), ``normalize_activations``,
            ``reshape_activations``.

    Raises:
        OptionError: a setting is not known here, or a weight is missing, of another shape or not finite.
    """

    W_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    kept: Tensor | None

    @typed
    def __init__(self, weights: Mapping[str, Tensor], settings: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.settings: Plain = {"architecture": "standard", "apply_b_dec_to_input": True, **(settings or {})}
        for name, weight in _checked(weights, self.settings).items():
            self.register_buffer(name, weight)
        self.register_buffer("kept", None)
        self.latents, self.error = nn.Identity(), nn.Identity()
        self.eval()

    def __repr__(self) -> str:
        (d, k), shown = self.W_enc.shape, "" if self.kept is None else f", {len(self.kept)} of them shown"
        return f"Autoencoder({self.settings['architecture']}, {k} latents of {d} coordinates{shown})"

    @typed
    def only(self, latents: Sequence[int]) -> Autoencoder:
        """The same dictionary, which shows these latents; what all others reconstruct is part of its error.

        Raises:
            OptionError: there is no such latent, or one is named twice.
        """
        k = self.W_enc.shape[1]
        if not len(latents) or len(set(latents)) < len(latents) or not all(0 <= i < k for i in latents):
            raise OptionError(f"latents is {short(list(latents))}; give numbers from 0 to {k - 1}, none of them twice.")
        return self._showing(torch.tensor(latents, device=self.W_enc.device))

    def _showing(self, kept: Tensor | None) -> Autoencoder:
        """Another module with the same weights."""
        made = Autoencoder({name: one for name, one in self.named_buffers() if name != "kept"}, self.settings)
        made.kept = kept
        return made

    def encode(self, x: Tensor) -> Tensor:
        """The latents that are shown ``[..., m]`` of activations ``[..., d]``, of the dictionary's dtype."""
        return self._encode(self._inputs(x)[0])

    def decode(self, z: Tensor) -> Tensor:
        """What these latents reconstruct ``[..., d]``; where the dictionary normalises what it takes, normalised."""
        W = self.W_dec if self.kept is None else self.W_dec[self.kept]
        if z.shape[-1:] != W.shape[:1]:
            raise OptionError(f"These are latents of the shape {list(z.shape)}, but {self} has [..., {len(W)}].")
        return z @ W + self.b_dec

    def forward(self, x: Tensor) -> Tensor:
        """The activation itself, by way of the latents and the error."""
        inputs, shift, scale = self._inputs(x)
        back = (self.decode(self.latents(self._encode(inputs))) * scale + shift).reshape(x.shape)
        return (back + self.error(x.to(back) - back)).to(x)

    def _inputs(self, x: Tensor) -> tuple[Tensor, Tensor | float, Tensor | float]:
        """What the encoder takes ``[..., d]``, and by what it was shifted and scaled."""
        x, norm = x.to(self.W_enc), self.settings.get("normalize_activations")
        shift, scale, eps = 0.0, 1.0, 0.0
        if self.settings.get("reshape_activations") == "hook_z":
            x = x.flatten(-2)
        if x.shape[-1] != len(self.b_dec):
            raise OptionError(f"The activation has {x.shape[-1]} coordinates, but {self} has {len(self.b_dec)}.")
        if norm == "layer_norm":
            shift, scale, eps = x.mean(-1, keepdim=True), x.std(-1, keepdim=True), EPS
        elif norm == "constant_norm_rescale":
            scale = x.norm(dim=-1, keepdim=True) / x.shape[-1] ** 0.5
        inputs = (x - shift) / (scale + eps)
        return inputs - self.b_dec if self.settings["apply_b_dec_to_input"] else inputs, shift, scale

    def _encode(self, inputs: Tensor) -> Tensor:
        z = ARCHITECTURES[self.settings["architecture"]][0](self, inputs @ self.W_enc)
        return z if self.kept is None else z[..., self.kept]


def _standard(own: Any, x: Tensor) -> Tensor:
    return torch.relu(x + own.b_enc)


def _jumprelu(own: Any, x: Tensor) -> Tensor:
    x = x + own.b_enc
    return torch.relu(x) * (x > own.threshold)


def _topk(own: Any, x: Tensor) -> Tensor:
    x = x + own.b_enc
    most = torch.topk(x, own.settings["k"], -1).indices
    return torch.relu(x) * torch.zeros_like(x).scatter(-1, most, 1.0)


def _gated(own: Any, x: Tensor) -> Tensor:
    return torch.relu(x * own.r_mag.exp() + own.b_mag) * (x + own.b_gate > 0)


ARCHITECTURES: dict[str, tuple[Callable[[Any, Tensor], Tensor], tuple[str, ...]]] = {
    "standard": (_standard, ("b_enc",)),
    "topk": (_topk, ("b_enc",)),
    "jumprelu": (_jumprelu, ("b_enc", "threshold")),
    "gated": (_gated, ("b_gate", "b_mag", "r_mag")),
}
"""By name: the latents of an activation times W_enc, and the weights ``[k]`` that this takes."""


CHOICES: dict[str, tuple[Any, ...]] = {
    "architecture": tuple(ARCHITECTURES),
    "apply_b_dec_to_input": (True, False),
    "normalize_activations": (*NORMS, None),
    "reshape_activations": ("none", "hook_z", None),
    "rescale_acts_by_decoder_norm": (True, False, None),
}
"""By name: what a setting can be."""


def _checked(weights: Mapping[str, Tensor], settings: Plain) -> dict[str, Tensor]:
    for name, known in CHOICES.items():
        if (given := settings.get(name)) not in known:
            norm = " (another needs numbers that are not in these files; SAELens folds it into the weights)"
            more = norm if name == "normalize_activations" else ""
            raise OptionError(f"{name} is {short(given)}; for dictionaries here it is one of {list(known)}{more}.")
    kind, wide = settings["architecture"], weights.get("W_enc")
    d, k = wide.shape if wide is not None and wide.ndim == 2 and wide.numel() else ("d", "k")
    shapes = {"W_enc": (d, k), "W_dec": (k, d), "b_dec": (d,), **dict.fromkeys(ARCHITECTURES[kind][1], (k,))}
    for name, shape in shapes.items():
        if told := _wrong(weights.get(name), shape):
            expected = f"floating-point numbers of the shape [{', '.join(map(str, shape))}]"
            raise OptionError(f"{name} {told}; in a {kind} dictionary it is {expected}.")
    for name, size in {"d_in": d, "d_sae": k}.items():
        if settings.get(name) not in (None, size):
            raise OptionError(f"{name} is {short(settings[name])}, but the weights say {size}: W_enc is [{d}, {k}].")
    most = settings.get("k")
    if kind == "topk" and not (isinstance(most, int) and not isinstance(most, bool) and 0 < most <= int(k)):
        raise OptionError(f"k is {short(most)}; a topk dictionary has a whole number from 1 to {k}.")
    return {name: weights[name].detach() for name in shapes}


def _wrong(weight: Tensor | None, shape: tuple[Any, ...]) -> str:
    """What is wrong with a weight, completing its name; nothing for none."""
    if weight is None:
        return "is missing"
    if tuple(weight.shape) != shape or not weight.numel():
        return f"has the shape {list(weight.shape)}"
    if not weight.is_floating_point():
        return f"is of {str(weight.dtype).removeprefix('torch.')}"
    return "" if bool(weight.isfinite().all()) else "has numbers that are not finite"


class _Spliced(nn.Module):
    """A module before or behind which activations go through a dictionary."""

    def __init__(self, module: nn.Module, dictionary: Autoencoder, site: str) -> None:
        super().__init__()
        self.module, self.dictionary, self._site = module, dictionary, site

    def __getattr__(self, name: str) -> Any:
        """What else the model asks of the module."""
        own = vars(self)["_modules"]
        return own[name] if name in own else getattr(own["module"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self._site.endswith(":in"):
            args, kwargs = self._through((args, kwargs), "is given")
            return self.module(*args, **kwargs)
        return self._through(self.module(*args, **kwargs), "returns")

    def _through(self, value: Any, told: str) -> Any:
        changed = change_first(value, self.dictionary)
        if changed is None:
            raise SiteError(
                f"No dictionary can stand at {self._site!r}: the module {told} no tensor of floating-point numbers."
            )
        return changed


@typed
@neutral
def spliced(model: nn.Module, dictionaries: Mapping[str, Autoencoder]) -> tuple[nn.Module, dict[str, list[str]]]:
    """A copy of a model whose activations go through dictionaries; it computes the same, up to rounding.

    Latents and error of a dictionary together carry all that goes through there, so the two are a cut: with
    ``method="neuron"`` feature i of that site is latent i, and behind the latents come the coordinates of the error.
    Edges, ablations and cards are then those of the latents with their nonlinearity.

    Args:
        model: any torch model; it is not changed, and the copy shares its weights.
        dictionaries: by site, ``"module.path:out"`` (the default) or ``"module.path:in"``: the first tensor of
            floating-point numbers that the module returns or is given.

    Returns:
        The copy, and for each site given the two sites that stand for it in ``trace(copy, example, sites=[...])``.

    Raises:
        SiteError: there is no such module.
    """
    model = uncompiled(model)
    copied = _copied(model)
    names = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    made: dict[str, Autoencoder] = {}
    for site, dictionary in dictionaries.items():
        path, _, end = site.partition(":")
        if path not in names or end not in ("", "in", "out"):
            raise SiteError(f"There is no module behind the site {short(site)}{did_you_mean(path, names)}.")
        there = copied.get_submodule(path)
        owners = [(one._modules, name) for one in copied.modules() for name, m in one._modules.items() if m is there]
        made[site] = dictionary._showing(dictionary.kept)
        through = _Spliced(there, made[site], site).eval()
        for children, name in owners:  # a module can stand in several places
            children[name] = through
    where = {id(module): name for name, module in copied.named_modules()}
    return copied, {site: [f"{where[id(one)]}.latents", f"{where[id(one)]}.error"] for site, one in made.items()}


def _copied(model: nn.Module) -> nn.Module:
    """Other modules with the same parameters; all that a forward may write to is its own."""
    memo: dict[int, Any] = {}
    seen: dict[int, Any] = {}
    waiting: list[Any] = [model]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, (type, ModuleType, FunctionType)):
            continue
        seen[id(one)] = one
        if isinstance(one, nn.Parameter):
            memo[id(one)] = one
        elif not isinstance(one, Tensor):
            waiting += gc.get_referents(one)
        elif not one.is_leaf:  # which deepcopy refuses
            memo[id(one)] = one.detach().clone()
    return copy.deepcopy(model, memo)
