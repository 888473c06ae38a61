"""A language model of three blocks, small enough to measure in seconds."""

import pytest
import torch


def tiny_llama():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=20,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.6,
    )
    return transformers.LlamaForCausalLM(config).eval()
