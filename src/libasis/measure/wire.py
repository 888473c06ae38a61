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


def packed(states: Sequence[State], **facts: Any) -> bytes:
    """States, and facts that JSON can hold."""
    tensors: dict[str, Tensor] = {}
    numbers: list[dict[str, Any]] = []
    elsewhere = []
    for place, state in enumerate(states):
        numbers.append({name: value for name, value in state.items() if not isinstance(value, Tensor)})
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{place}.{name}"] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
                elsewhere += [f"{place}.{name}"] if value.device.type != "cpu" else []
    plain = json.dumps({"numbers": numbers, "elsewhere": elsewhere, "facts": facts})
    return save({**tensors, _PLAIN: torch.frombuffer(bytearray(plain, "utf-8"), dtype=torch.uint8)})


def unpacked(data: bytes, device: torch.device | None = None) -> tuple[list[State], dict[str, Any]]:
    """States and facts; what was on an accelerator comes to ``device``."""
    tensors = load(data)
    plain = json.loads(bytes(tensors.pop(_PLAIN).numpy()))
    states: list[State] = plain["numbers"]
    for name in plain["elsewhere"]:
        tensors[name] = tensors[name].to(device)
    for name, value in tensors.items():
        place, _, own = name.partition(".")
        states[int(place)][own] = value
    return states, plain["facts"]


def states_of(sums: Sequence[Sums]) -> list[State]:
    """What each has seen."""
    return [one.state() for one in sums]


def loaded(sums: Sequence[Sums], states: Sequence[State]) -> None:
    """Each goes on from a state, whatever it had seen before."""
    for one, state in zip(sums, states, strict=True):
        fresh = one.emptied()
        fresh.load(state)
        vars(one).update(vars(fresh))
