"""Text for language models: tokenised, packed into sequences of one length, with the next tokens as targets."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..errors import SourceError, StoreError, first_line
from ..files import open_regular, parse_json
from .file_batches import FileBatches

BLOCK = 2**20  # characters tokenised at once
IGNORED = -100


def read_text(path: Path, tokenizer: Any, sequence_length: int, max_sequences: int | None) -> FileBatches:
    """Sequences ``{"input_ids": [batch, sequence_length]}`` and their next tokens, -100 at the last position.

    A .txt file is one document, each line of a .jsonl file is one (its key "text"). Documents are tokenised without
    special tokens, joined with the tokenizer's end-of-text token after each, and cut; the rest that fills no sequence
    is left out.

    Raises:
        SourceError: there is no tokenizer, or the text cannot be read or is too short.
    """
    if tokenizer is None:
        raise SourceError(f"{path} is text, which only a tokenizer turns into numbers; give the model's as tokenizer.")
    wanted = None if max_sequences is None else max_sequences * sequence_length
    tokens: list[int] = []
    for text, ends in _blocks(path):
        tokens += tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if ends and tokenizer.eos_token_id is not None:
            tokens.append(tokenizer.eos_token_id)
        if wanted is not None and len(tokens) >= wanted:
            break
    count = (len(tokens) if wanted is None else min(len(tokens), wanted)) // sequence_length
    if not count:
        raise SourceError(
            f"{path} has {len(tokens)} tokens, fewer than one sequence of sequence_length = {sequence_length}."
        )
    ids = torch.tensor(tokens[: count * sequence_length]).view(count, sequence_length)
    targets = torch.cat([ids[:, 1:], torch.full((count, 1), IGNORED)], 1)
    return FileBatches({"input_ids": ids}, targets)


def _blocks(path: Path) -> Iterator[tuple[str, bool]]:
    """Pieces of text, and whether each ends a document."""
    try:
        with io.TextIOWrapper(open_regular(path, refusal=SourceError), encoding="utf-8-sig") as file:
            left = os.fstat(file.fileno()).st_size  # what another process adds meanwhile is not followed
            if path.suffix.lower() == ".jsonl":
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield _text_of(line, number, path), True
                    if (left := left - len(line)) <= 0:
                        return
                return
            while left > 0 and (text := file.read(BLOCK)):
                left -= len(text)
                yield text + file.readline(), False
            yield "", True
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text: {first_line(error)}.") from error


def _text_of(line: str, number: int, path: Path) -> str:
    where = f"{path}, line {number}"
    try:
        found = parse_json(line, where)
    except StoreError as error:
        raise SourceError(f'{str(error)[:-1]}; each line is an object with a text at the key "text".') from None
    text = found.get("text") if isinstance(found, dict) else None
    if not isinstance(text, str) or any("\ud800" <= c <= "\udfff" for c in text):  # halves of characters
        raise SourceError(f'{where} is no JSON object with a text at the key "text".')
    return text
