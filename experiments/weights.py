"""Trained weights as files: safetensors, with a card of how they were made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn


def write(model: nn.Module, name: str, card: dict[str, Any], folder: Path) -> None:
    """Write `name`.safetensors, with the card as its metadata, and the card again as `name`.json."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in card.items()}
    _write_atomically(folder / f"{name}.safetensors", save(model.state_dict(), metadata))
    _write_atomically(folder / f"{name}.json", (json.dumps(card, indent=2) + "\n").encode())


def _write_atomically(path: Path, content: bytes) -> None:
    """Write under a temporary name, then rename: a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
