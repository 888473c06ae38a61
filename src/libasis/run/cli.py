"""The command ``libasis``: exit codes, and errors as sentences; the verbs are in `libasis.run.commands`."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import typer

from ..data import from_seed
from ..errors import LibasisError, short
from .commands import app

STOPPED = 130


def run(arguments: list[str]) -> int:
    """Run the command line.

    Returns:
        The exit code: 0, or 2 for bad input (with one sentence on stderr), or 130 on Ctrl-C.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        with from_seed(0):  # data that are shuffled or augmented are the same in every command
            code = app(args=arguments, prog_name="libasis", standalone_mode=False)
        sys.stdout.flush()
        if code == STOPPED:  # typer has caught Ctrl-C
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        print("Stopped.", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # the reader of our output has gone, as in "libasis sites | head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        print(" ".join(sentence.split()), file=sys.stderr)
        return 2


def _sentence(error: Any) -> str | None:
    """What to tell the user of bad input; None for an error that nobody foresaw."""
    if isinstance(error, LibasisError):
        return str(error)
    if isinstance(error, CLICK_ERROR):
        return f"{error.format_message().rstrip('.')}; see libasis --help."
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").split(".")[0])
        return extra and f"This command needs {error.name}: pip install 'libasis[{extra}]'"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{short(error.filename, 200)}: {error.strerror}."
    return None


CLICK_ERROR: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
EXTRAS = {
    "matplotlib": "figures",
    "networkx": "graph",
    "pandas": "data",
    "PIL": "data",
    "pyarrow": "data",
    "sklearn": "demo",
    "transformers": "hf",
}
