"""Text for language models: tokenised, packed into sequences of one length, with the next tokens as targets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .data import FileBatches
from .errors import SourceError
from .models import hugging_face_directory, quiet_transformers
from .objects import first_line, library

if TYPE_CHECKING:
    from .config import Config

BLOCK = 2**20  # characters tokenised at once
IGNORED = -100


def open_text(path: Path, config: Config) -> FileBatches:
    """Sequences ``{"input_ids": [batch, sequence_length]}`` and their next tokens, -100 at the last position.

    A .txt file is one document, each line of a .jsonl file is one (its key "text"). Documents are tokenised without
    special tokens, joined with the tokenizer's end-of-text token after each, and cut; the rest that fills no sequence
    is left out.

    Raises:
        SourceError: the model is no ``"hf:DIRECTORY"`` with a tokenizer, or the text cannot be read or is too short.
    """
    section = config.data
    tokenizer = open_tokenizer(config, f"Reading {path}")
    length = section.sequence_length
    wanted = None if section.max_sequences is None else section.max_sequences * length
    tokens: list[int] = []
    for text, ends in _blocks(path):
        tokens += tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if ends and tokenizer.eos_token_id is not None:
            tokens.append(tokenizer.eos_token_id)
        if wanted is not None and len(tokens) >= wanted:
            break
    count = len(tokens) // length if wanted is None else min(len(tokens), wanted) // length
    if not count:
        raise SourceError(
            f"{path} has {len(tokens)} tokens, fewer than one sequence of data.sequence_length = {length}."
        )
    ids = torch.tensor(tokens[: count * length]).view(count, length)
    targets = torch.cat([ids[:, 1:], torch.full((count, 1), IGNORED)], 1)
    return FileBatches({"input_ids": ids}, targets)


def open_tokenizer(config: Config, purpose: str) -> Any:
    """The tokenizer of the model, a local Hugging Face folder.

    Raises:
        SourceError: the model is none, or has no tokenizer that can be opened.
    """
    directory = hugging_face_directory(config.model.source)
    if directory is None:
        raise SourceError(
            f'{purpose} needs the tokenizer of model.source = "hf:DIRECTORY", but model.source is '
            f"{config.model.source!r}; give token numbers by a factory or a .npz file instead."
        )
    transformers = library("transformers", "hf", purpose)
    try:
        with quiet_transformers(transformers):
            return transformers.AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    except Exception as error:
        raise SourceError(f"{directory} holds no tokenizer that can be opened: {first_line(error)}.") from error


def _blocks(path: Path) -> Iterator[tuple[str, bool]]:
    """Pieces of text, and whether each ends a document."""
    try:
        with path.open(encoding="utf-8") as file:
            if path.suffix.lower() == ".jsonl":
                yield from ((_text_of(line, number, path), True) for number, line in enumerate(file, 1) if line.strip())
                return
            while text := file.read(BLOCK):
                yield text + file.readline(), False
            yield "", True
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text: {first_line(error)}.") from error


def _text_of(line: str, number: int, path: Path) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise SourceError(f'{path}, line {number} is no JSON object with a text at the key "text".')
    return text
