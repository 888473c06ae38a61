"""Cards of a language model in Python name tokens as the command does: by the tokenizer in the model's own folder."""

import shutil

import pytest
import torch
from torch import nn

import libasis

transformers = pytest.importorskip("transformers")
TOKENS = torch.randint(10, (8, 5), generator=torch.Generator().manual_seed(0))
SITES = ["transformer.h.1.ln_1:in", "transformer.ln_f:in", "output"]


def cards(folder, **options):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    model.config.use_cache = False
    batches = [{"input_ids": TOKENS}]
    traced = libasis.trace(model, batches[0], SITES)
    basis = libasis.fit(traced, batches)
    return libasis.collect(traced, basis, batches, features=1, examples=1, tested=0, samples=4, **options)


def shown(found):
    card = found.cards[f"{SITES[0]}:0"]
    return card["top"][0]["content"]["tokens"], found.outputs


def test_tokens_and_outputs_have_their_texts(hf_directory):
    tokens, outputs = shown(cards(hf_directory))
    words = {"<end>", "<unk>", "the", "cat", "sat", "on", "a", "mat", "dog", "ran"}
    assert set(tokens) <= words
    assert set(outputs) == words


def test_what_is_given_goes_before(hf_directory):
    tokens, _ = shown(cards(hf_directory, vocabulary=[f"w{i}" for i in range(10)]))
    assert all(token.startswith("w") for token in tokens)


def test_a_folder_without_a_tokenizer_gives_numbers(hf_directory, tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(hf_directory / name, tmp_path / name)
    tokens, _ = shown(cards(tmp_path))
    assert all(token.isdigit() for token in tokens)


def test_other_models_have_none():
    assert libasis.data.tokenizer_beside(nn.Linear(2, 2)) is None
