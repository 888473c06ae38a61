"""Files that an experiment makes one after the other, each once, so that a run that was stopped goes on."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor


class Stages:
    """Files of a folder, each made once; what it took is kept beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.costs = folder, folder / "costs.json"

    def tensors(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Those of a safetensors file."""
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            made = self._timed(name, make)
            save_file({key: value.contiguous() for key, value in made.items()}, f"{path}.part")
            os.replace(f"{path}.part", path)
        return load_file(path)

    def values(self, name: str, make: Callable[[], Any]) -> Any:
        """Those of a JSON file."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            self.keep(name, self._timed(name, make))
        return self.read(name)

    def keep(self, name: str, made: Any) -> None:
        """Write a JSON file."""
        _write(self.folder / f"{name}.json", made)

    def read(self, name: str) -> Any:
        """Those of a JSON file that is there."""
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    def _timed(self, name: str, make: Callable[[], Any]) -> Any:
        start = time.process_time()
        made = make()
        old = json.loads(self.costs.read_text(encoding="utf-8")) if self.costs.exists() else {}
        seconds, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        _write(self.costs, {**old, name: {"seconds": round(seconds, 1), "peak_gib": round(peak, 2)}})
        print(f"{name}: {seconds:.0f} s", flush=True)
        return made


def _write(path: Path, made: Any) -> None:
    Path(f"{path}.part").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    os.replace(f"{path}.part", path)
