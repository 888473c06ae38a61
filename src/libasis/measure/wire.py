"""States of sums as bytes: what goes into a checkpoint, and from one process to another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from ..numerics import State, Sums

_PLAIN = "plain"
_ON_CPU, _ELSEWHERE = "tensor", "tensor of an accelerator"


def packed(states: Sequence[State], **facts: Any) -> bytes:
    """States, and facts that JSON can hold."""
    tensors: dict[str, Tensor] = {}
    plain: list[dict[str, Any]] = []
    for place, state in enumerate(states):
        plain.append({name: _ON_CPU if isinstance(value, Tensor) else value for name, value in state.items()})
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{place}.{name}"] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
                plain[-1][name] = _ON_CPU if value.device.type == "cpu" else _ELSEWHERE
    text = json.dumps({"states": plain, "facts": facts})
    return save({**tensors, _PLAIN: torch.frombuffer(bytearray(text, "utf-8"), dtype=torch.uint8)})


def unpacked(data: bytes, device: torch.device | None = None) -> tuple[list[State], dict[str, Any]]:
    """States, their parts in the same order, and facts; what was on an accelerator comes to ``device``."""
    tensors = load(data)
    plain = json.loads(bytes(tensors.pop(_PLAIN).numpy()))
    for place, state in enumerate(plain["states"]):
        for name, value in state.items():
            if value in (_ON_CPU, _ELSEWHERE):
                tensor = tensors[f"{place}.{name}"]
                state[name] = tensor.to(device) if value == _ELSEWHERE else tensor
    return plain["states"], plain["facts"]


def states_of(sums: Sequence[Sums]) -> list[State]:
    """What each has seen."""
    return [one.state() for one in sums]


def loaded(sums: Sequence[Sums], states: Sequence[State]) -> None:
    """Each goes on from a state, whatever it had seen before."""
    for one, state in zip(sums, states, strict=True):
        fresh = one.emptied()
        fresh.load(state)
        vars(one).update(vars(fresh))
