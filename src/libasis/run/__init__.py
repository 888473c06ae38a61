"""The command line: a model and data named in one settings file become basis, graph and ablation.

``main()`` is the command ``libasis``. Configuration, data and model sources, the stages and the command line are the
modules of this folder; they need the extra ``libasis[cli]``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

NEEDED = ("typer", "pydantic", "rich")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 when all is well, 2 for bad input, 1 for anything unexpected, 130 on Ctrl-C."""
    try:
        for name in NEEDED:
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(f"The command line needs {error.name}: pip install 'libasis[cli]'", file=sys.stderr)
        sys.exit(2)
    from .cli import run

    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))
