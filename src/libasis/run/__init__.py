"""The command line: a model and data named in one settings file become basis, graph and ablation.

``main()`` is the command ``libasis``. Configuration, data and model sources, the stages and the command line are the
modules of this folder; they need the extra ``libasis[cli]``.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence

NEEDED = ("typer", "pydantic", "rich")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; docs/errors.md lists them."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, or there is no console
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files that the console cannot show
    try:
        for name in NEEDED:
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(f"The command line needs {error.name}: pip install 'libasis[cli]'", file=sys.stderr)
        sys.exit(2)
    from .cli import run

    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))
