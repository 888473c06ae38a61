"""What a folder of ``save_pretrained`` of transformers holds beside weights: read here, never downloaded or run."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import SourceError, first_line
from ..files import DESCRIPTION, open_regular


def tokenizer_in(directory: Path, transformers: Any) -> Any:
    """The tokenizer of a folder.

    Raises:
        SourceError: there is none that can be opened.
    """
    check_files(directory)
    try:
        with quiet_transformers(transformers):
            found = transformers.AutoTokenizer.from_pretrained(
                str(directory), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        raise SourceError(f"{directory} holds no tokenizer that can be opened: {first_line(error)}.") from error
    if len(found) <= len(found.all_special_tokens):  # what transformers makes of a folder without any
        raise SourceError(f"{directory} holds no tokenizer: save it there with save_pretrained.")
    return found


def tokenizer_beside(model: nn.Module) -> Any:
    """The tokenizer in the local folder from which a model of transformers was loaded; None where there is none."""
    transformers = sys.modules.get("transformers")
    if transformers is None:
        return None
    own = (module for module in model.modules() if isinstance(module, transformers.PreTrainedModel))
    source = getattr(getattr(next(own, None), "config", None), "name_or_path", None)
    if not source or not os.path.isdir(source):
        return None
    try:
        return tokenizer_in(Path(source), transformers)
    except SourceError:  # of a model of something else than text, or a folder without names of tokens
        return None


def check_files(directory: Path) -> None:
    """Every file that transformers could read is a regular one, and what only describes is small."""
    for path in sorted({*directory.glob("*"), *directory.glob("additional_chat_templates/*")}):
        if not path.is_dir():
            most = DESCRIPTION if path.suffix == ".json" else None
            open_regular(path, most, refusal=SourceError).close()


@contextlib.contextmanager
def quiet_transformers(transformers: Any) -> Iterator[None]:
    """No progress bars and log lines of transformers; its settings are put back."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    try:
        log.set_verbosity_error()
        log.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
