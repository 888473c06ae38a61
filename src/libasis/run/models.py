"""Model sources: a factory, a local Hugging Face directory, an exported program."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..cut import Traced
from ..data.hugging_face import check_files, quiet_transformers, tokenizer_in
from ..errors import SourceError, first_line, optional
from ..files import DESCRIPTION, missing, parse_json, read_bytes
from .objects import call_factory

KEY = "model.source"
MOST_LAYERS = 1000
"""A description that asks for more would take minutes to build before its weights are missed."""


def open_model(source: str, arguments: Mapping[str, Any] | None = None) -> nn.Module | Traced:
    """The model that ``model.source`` names.

    Args:
        source: ``"package.module:factory"`` (a function without arguments that returns a module in eval mode, or a
            `libasis.Chain`), ``"hf:DIRECTORY"`` (saved by ``save_pretrained``; nothing is ever downloaded) or a
            ``FILE.pt2`` of ``torch.export.save``.
        arguments: keyword arguments of the function.

    Raises:
        SourceError: there is no such model, or it cannot be opened.
    """
    if arguments and (":" not in source or source.startswith("hf:")):
        raise SourceError(f"model.arguments is given, but {source!r} is no factory; remove it.")
    if source.startswith("hf:"):
        return _open_hugging_face(Path(source[3:]))
    if source.endswith(".pt2"):
        path = Path(source)
        if not os.path.exists(path):
            raise SourceError(f"{KEY} is {missing(source)}")
        from .pt2 import open_pt2

        return open_pt2(path)
    if ":" not in source:
        raise SourceError(f'{KEY} is {source!r}; it must be "package.module:factory", "hf:DIRECTORY" or a FILE.pt2.')
    model = call_factory(source, KEY, arguments)
    if not isinstance(model, nn.Module | Traced):
        raise SourceError(
            f"{KEY} is {source!r}, but it returned a {type(model).__name__}; return a torch.nn.Module or libasis.Chain."
        )
    return model


def hugging_face_directory(source: str) -> Path | None:
    """The directory of an ``"hf:DIRECTORY"`` source, else None."""
    return Path(source[3:]) if source.startswith("hf:") else None


def open_tokenizer(source: str, purpose: str) -> Any:
    """The tokenizer of a model source, if that is a local Hugging Face folder.

    Raises:
        SourceError: it is none, or has no tokenizer that can be opened.
    """
    directory = hugging_face_directory(source)
    if directory is None:
        raise SourceError(
            f'{purpose} needs the tokenizer of {KEY} = "hf:DIRECTORY", but {KEY} is {source!r}; give token numbers by '
            "a factory or a .npz file instead."
        )
    return tokenizer_in(directory, optional("transformers", "hf", purpose))


def _open_hugging_face(directory: Path) -> nn.Module:
    """The architecture that config.json names, in float32 with eager attention, weights from safetensors only."""
    name = _architecture(directory)
    check_files(directory)
    transformers = optional("transformers", "hf", f'{KEY} = "hf:..."')
    kind: Any = getattr(transformers, name, None) if name else transformers.AutoModel
    if name and not (isinstance(kind, type) and any(base is nn.Module for base in kind.__mro__)):
        raise SourceError(f"{directory} names the architecture {name!r}, which transformers does not have.")
    try:
        with quiet_transformers(transformers):
            model, report = kind.from_pretrained(
                str(directory),
                local_files_only=True,
                trust_remote_code=False,  # code in the folder is never run, nor asked about
                use_safetensors=True,
                attn_implementation="eager",
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:
        raise SourceError(
            f"The model in {directory} cannot be opened: {first_line(error)}; it must be a folder written by "
            "save_pretrained with safetensors weights."
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise SourceError(
            f"The model in {directory} lacks {len(missing)} weights ({missing[0]!r} is one), which would be random; "
            "save the whole model with save_pretrained."
        )
    if name and (foreign := sorted(report["unexpected_keys"])):
        raise SourceError(
            f"The weights in {directory} hold {len(foreign)} that the model of its config.json does not have "
            f"({foreign[0]!r} is one); give a folder whose config.json and weights belong together."
        )
    return model.eval()


def _architecture(directory: Path) -> str | None:
    path = directory / "config.json"
    if not os.path.exists(path):
        raise SourceError(
            f'{KEY} is "hf:{directory}", but there is no {path}; give a folder written by save_pretrained (libasis '
            "downloads nothing)."
        )
    data = read_bytes(path, DESCRIPTION, refusal=SourceError)
    config = parse_json(data, path, finite=False, refusal=SourceError)
    names = (config.get("architectures") if isinstance(config, dict) else 0) or [None]
    if not isinstance(config, dict) or not isinstance(names, list) or not isinstance(names[0], str | None):
        raise SourceError(f"{path} describes no model; give a folder written by save_pretrained.")
    for key, count in config.items():
        if "layer" in key and isinstance(count, int) and count > MOST_LAYERS:
            raise SourceError(f"{path} asks for {key} = {count:.3g}, but at most {MOST_LAYERS} are built here.")
    return names[0]
