import pytest
import torch
from torch.utils import _pytree as pytree

import libasis
from cut.cutting import F64, trace_module
from models import ZOO


@pytest.fixture(scope="session")
def zoo():
    """Name to (case, model, traced), in float64."""
    found = {}
    for case in ZOO:
        model = case.model()
        found[case.name] = case, model, libasis.trace(model, case.example(), case.sites)
    return found


_programs = {}


@pytest.fixture
def one_export(monkeypatch):
    """A model of these tests is exported once for the same inputs, however often it is cut."""
    original = trace_module.export_program

    def export(model, args, kwargs, heard):
        shapes = str([(t.shape, t.dtype) for t in pytree.tree_leaves((args, kwargs))])
        if (id(model), shapes) not in _programs:
            _programs[id(model), shapes] = model, original(model, args, kwargs, heard)
        return _programs[id(model), shapes][1]

    monkeypatch.setattr(trace_module, "export_program", export)


@pytest.fixture(params=[case.name for case in ZOO])
def traced_case(request, zoo):
    return zoo[request.param]


SMALL = {
    "vocab_size": 17, "hidden_size": 8, "num_attention_heads": 4, "intermediate_size": 12,
    "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip


def make_language_model(name, attention, layers=2):
    from transformers.models.bert import BertConfig, BertModel
    from transformers.models.gpt2 import GPT2Config, GPT2LMHeadModel
    from transformers.models.gpt_neox import GPTNeoXConfig, GPTNeoXForCausalLM
    from transformers.models.llama import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    if name == "gpt2":
        tokens = {"bos_token_id": 0, "eos_token_id": 0, "vocab_size": 17}
        config = GPT2Config(n_embd=8, n_layer=layers, n_head=2, n_positions=16, attn_implementation=attention, **tokens)
        return GPT2LMHeadModel(config)
    if name == "gpt_neox":
        turned = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0}  # a quarter of 2 is none
        sizes = {**SMALL, "num_hidden_layers": layers, "rope_parameters": turned}
        return GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, attn_implementation=attention))
    if name == "llama":
        sizes = {**SMALL, "num_hidden_layers": layers, "num_key_value_heads": 2}
        return LlamaForCausalLM(LlamaConfig(**sizes, attn_implementation=attention))
    return BertModel(BertConfig(**SMALL, num_hidden_layers=layers, attn_implementation=attention))


BLOCKS = {
    "gpt2": ["transformer.h.0:in", "transformer.h.1:in", "transformer.ln_f:in", "output"],
    "gpt_neox": ["gpt_neox.layers.0:in", "gpt_neox.layers.1:in", "gpt_neox.final_layer_norm:in", "output"],
    "llama": ["model.layers.0:in", "model.layers.1:in", "model.norm:in", "output"],
    "bert": ["encoder.layer.0:in", "encoder.layer.1:in", "encoder.layer.1", "output"],
}


def tokens(padding, length=5, side="right"):
    """One sample per entry of padding, each with that many tokens of padding."""
    ids = torch.randint(17, (len(padding), length), generator=torch.Generator().manual_seed(len(padding)))
    mask = torch.ones_like(ids)
    for row, count in zip(mask, padding, strict=True):
        row[slice(length - count, None) if side == "right" else slice(0, count)] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture(scope="session")
def language_models():
    """(name, attention) to (model in float64, traced), made when first asked for."""
    found = {}

    def get(name, attention="eager"):
        if (name, attention) not in found:
            model = make_language_model(name, attention).to(F64).eval()
            traced = libasis.trace(model, tokens([0, 2]), BLOCKS[name], mask="attention_mask")
            found[name, attention] = model, traced
        return found[name, attention]

    return get
