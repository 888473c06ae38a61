"""Text as batches for a language model: tokenised, packed or padded, with the next tokens as targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..arguments import typed
from ..errors import OptionError
from .file_batches import FileBatches
from .text import IGNORED

LEAST = 2
"""Tokens of the shortest sequence with a target."""


@typed
def language(  # noqa: PLR0913 - keyword options of the public face
    tokenizer: Any,
    text: str | Sequence[str] | Path,
    *,
    sequence_length: int = 128,
    batch_size: int = 8,
    pack: bool = True,
    padding_side: Literal["left", "right"] | None = None,
    position_ids: bool | None = None,
    max_sequences: int | None = None,
) -> FileBatches:
    r"""Batches of a text: pairs of inputs and targets, for `trace`, `fit` and the ablations.

    The inputs are ``{"input_ids", "attention_mask"}``, ``[batch, sequence_length]``; write
    ``mask="attention_mask"`` in `trace` so that padding does not count, or ``mask=libasis.data.without_first()`` to
    leave out the first token of each sequence, too. The targets are the next tokens, -100 (not counted) where there is
    none.

    Args:
        tokenizer: of transformers, or any function of a text that returns ``{"input_ids": [...]}``.
        text: one document, several, or the path of a file of UTF-8 text.
        sequence_length: of every sequence.
        batch_size: sequences in a batch.
        pack: documents are joined, with the end-of-text token after each, and cut; without it each is a sequence of its
            own, cut at the end.
        padding_side: where a sequence is filled up; None is the tokenizer's side.
        position_ids: whether to give them; None does so where padding stands on the left, which moves every token.
        max_sequences: at most so many; None for all.

    Raises:
        OptionError: an option is out of range, the tokenizer gives no tokens, or the text has too few.
    """
    for name, value, least in (
        ("sequence_length", sequence_length, LEAST),
        ("batch_size", batch_size, 1),
        ("max_sequences", 1 if max_sequences is None else max_sequences, 1),
    ):
        if value < least:
            raise OptionError(f"{name} is {value}; give a whole number of at least {least}.")
    if isinstance(text, Path):
        text = _read(text)
    documents = [_tokens(tokenizer, one) for one in ([text] if isinstance(text, str) else text)]
    rows = _packed(documents, getattr(tokenizer, "eos_token_id", None), sequence_length) if pack else documents
    rows = [row[:sequence_length] for row in rows if len(row) >= LEAST][:max_sequences]
    if not rows:
        longest = max(map(len, documents), default=0)
        raise OptionError(f"The text has no document of {LEAST} tokens (the longest has {longest}); give more text.")
    left = (padding_side or getattr(tokenizer, "padding_side", "right")) == "left"
    filler = next((i for n in ("pad", "eos") if (i := getattr(tokenizer, f"{n}_token_id", None)) is not None), 0)
    ids = torch.stack([_filled(row, sequence_length, filler, left) for row in rows])
    real = torch.stack([_filled([1] * len(row), sequence_length, 0, left) for row in rows])
    inputs = {"input_ids": ids, "attention_mask": real}
    if position_ids if position_ids is not None else left and not bool(real.all()):
        inputs["position_ids"] = (real.cumsum(1) - 1).clamp_min(0)
    return FileBatches(inputs, next_tokens(ids, real), batch_size)


def next_tokens(ids: Tensor, real: Tensor) -> Tensor:
    """The token after each, -100 where it or its successor is padding, ``[n, t]``."""
    following = torch.full_like(ids, IGNORED)
    following[:, :-1] = torch.where((real[:, :-1] * real[:, 1:]).bool(), ids[:, 1:], IGNORED)
    return following


class _WithoutFirst:
    """See `without_first`."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, inputs: Any) -> Tensor:
        parts = (
            list(inputs.values()) if isinstance(inputs, Mapping) else [inputs] if isinstance(inputs, Tensor) else inputs
        )
        tokens = next(part for part in parts if isinstance(part, Tensor) and part.ndim > 1)
        given = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
        real = torch.ones(tokens.shape[:2], device=tokens.device) if given is None or given.ndim != 2 else given
        return (real != 0) & ((real != 0).cumsum(1) > self.count)


@typed
def without_first(count: int = 1) -> _WithoutFirst:
    """A ``mask`` for `trace` that leaves the first tokens of each sequence out of the count, wherever padding stands.

    Language models often park a massive activation at their first token: it makes up almost all of the variance there
    and takes little part in the answer. Padding, by an input ``attention_mask``, is left out as well.

    Args:
        count: how many tokens.
    """
    return _WithoutFirst(count)


def _tokens(tokenizer: Any, text: str) -> list[int]:
    try:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    except TypeError as error:
        try:  # a function of the text alone
            return list(tokenizer(text)["input_ids"])
        except (TypeError, KeyError):
            raise OptionError(
                f"tokenizer, of type {type(tokenizer).__name__}, gives no tokens ({error}); give a tokenizer of "
                'transformers, or a function of a text that returns {"input_ids": [...]}.'
            ) from error


def _packed(documents: Sequence[list[int]], end: int | None, length: int) -> list[list[int]]:
    """All documents in a row, cut into pieces; the last one may be shorter."""
    stream = [token for document in documents for token in [*document, *([] if end is None else [end])]]
    return [stream[start : start + length] for start in range(0, len(stream), length)]


def _filled(row: Sequence[int], length: int, filler: int, left: bool) -> Tensor:
    filling = [filler] * (length - len(row))
    return torch.tensor([*filling, *row] if left else [*row, *filling])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"text is the path {path}, which cannot be read as UTF-8 text ({error}).") from error
