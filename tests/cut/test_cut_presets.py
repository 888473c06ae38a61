"""Names for what people mean: the residual stream, the hidden units of MLPs, what attention adds."""

import pytest
import torch
from torch import nn

import libasis
from libasis import presets
from libasis.errors import OptionError

SIZES = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "vocab_size": 20}


def made(name, **sizes):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{name}Config")(**{**SIZES, **sizes})
    kind = {"ViT": "ViTModel", "Bert": "BertModel"}.get(name, f"{name}ForCausalLM")
    torch.manual_seed(0)
    return getattr(transformers, kind)(config).eval()


class Hooked(nn.Module):
    """Weights and hook points named as TransformerLens does it."""

    class Block(nn.Module):
        def __init__(self, d, h):
            super().__init__()
            self.hook_resid_pre, self.hook_resid_mid, self.hook_resid_post = (nn.Identity() for _ in range(3))
            self.ln1, self.ln2, self.attn, self.mlp = (
                nn.LayerNorm(d),
                nn.LayerNorm(d),
                Hooked.Attention(d, h),
                Hooked.MLP(d),
            )
            self.hook_attn_out, self.hook_mlp_out = nn.Identity(), nn.Identity()

        def forward(self, x):
            x = self.hook_resid_pre(x)
            x = self.hook_resid_mid(x + self.hook_attn_out(self.attn(self.ln1(x))))
            return self.hook_resid_post(x + self.hook_mlp_out(self.mlp(self.ln2(x))))

    class Attention(nn.Module):
        def __init__(self, d, h):
            super().__init__()
            self.W = nn.ParameterList(torch.randn(h, d, d // h) for _ in range(3))
            self.W_O, self.hook_z = nn.Parameter(torch.randn(h, d // h, d)), nn.Identity()

        def forward(self, x):
            q, k, v = (torch.einsum("btd,hde->bhte", x, W) for W in self.W)
            z = torch.einsum("bhts,bhse->bthe", (q @ k.mT).softmax(-1), v)
            return torch.einsum("bthe,hed->btd", self.hook_z(z), self.W_O)

    class MLP(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.W_in, self.W_out = nn.Parameter(torch.randn(d, 3 * d)), nn.Parameter(torch.randn(3 * d, d))
            self.hook_pre, self.hook_post = nn.Identity(), nn.Identity()

        def forward(self, x):
            return self.hook_post(nn.functional.gelu(self.hook_pre(x @ self.W_in))) @ self.W_out

    def __init__(self, d=8, h=2):
        super().__init__()
        self.cfg = type("Config", (), {"d_vocab": 20})()
        self.embed, self.blocks = nn.Embedding(20, d), nn.ModuleList(self.Block(d, h) for _ in range(2))
        self.ln_final, self.unembed = nn.LayerNorm(d), nn.Linear(d, 20)

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.unembed(self.ln_final(x))


def layers(text, *ends):
    """Names of two layers: ``{}`` is the layer."""
    return [part.format(i) for i in range(2) for part in text.split()] + [*ends]


CASES = {
    "llama": (
        lambda: made("Llama"),
        layers("model.layers.{0}.input_layernorm:in model.layers.{0}.post_attention_layernorm:in", "model.norm:in"),
        layers("model.layers.{0}.mlp.down_proj:in"),
        layers("model.layers.{0}.self_attn.o_proj:out"),
    ),
    "attention beside the MLP": (
        lambda: made("GPTNeoX"),
        layers("gpt_neox.layers.{0}.input_layernorm:in", "gpt_neox.final_layer_norm:in"),
        layers("gpt_neox.layers.{0}.mlp.dense_4h_to_h:in"),
        layers("gpt_neox.layers.{0}.attention.dense:out"),
    ),
    "norms behind, in the branches": (
        lambda: made("Olmo2"),
        layers("model.layers.{0}.self_attn:in model.layers.{0}.mlp:in", "model.norm:in"),
        layers("model.layers.{0}.mlp.down_proj:in"),
        layers("model.layers.{0}.self_attn.o_proj:out"),
    ),
    "norms behind the sums": (
        lambda: made("Bert"),
        [
            "embeddings.LayerNorm:in",
            *layers("encoder.layer.{0}.attention.output.LayerNorm:in encoder.layer.{0}.output.LayerNorm:in"),
        ],
        layers("encoder.layer.{0}.output.dense:in"),
        layers("encoder.layer.{0}.attention.output.dense:out"),
    ),
    "images": (
        lambda: made("ViT", image_size=8, patch_size=4),
        layers("layers.{0}.layernorm_before:in layers.{0}.layernorm_after:in", "layernorm:in"),
        layers("layers.{0}.mlp.fc2:in"),
        layers("layers.{0}.attention.o_proj:out"),
    ),
    "hook points": (
        lambda: Hooked().eval(),
        layers("blocks.{0}.ln1:in blocks.{0}.ln2:in", "ln_final:in"),
        layers("blocks.{0}.mlp.hook_post:out"),
        layers("blocks.{0}.attn:out"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_places_of_a_family(name):
    make, stream, hidden, mixed = CASES[name]
    model = make()
    assert presets.residual_stream(model) == stream
    if name in ("llama", "attention beside the MLP", "hook points"):
        assert presets.mlp_hidden(model) == hidden
        assert presets.attention_out(model) == mixed


def test_an_unknown_model_needs_an_example_and_its_stream_is_a_cut():
    model, x = (
        nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval(),
        torch.randn(2, 3),
    )
    with pytest.raises(OptionError, match="give some as example"):
        presets.residual_stream(model)
    assert presets.residual_stream(model, x) == ["1:in", "3:in", "output"]
    assert presets.mlp_hidden(model, x) == ["2:in", "4:in"]
    with pytest.raises(OptionError, match="no attention"):
        presets.attention_out(model, x)
    hooked = Hooked().eval()
    sites = presets.residual_stream(hooked, where="mlp", final=False)
    assert sites == layers("blocks.{0}.ln2:in")
    both = presets.residual_stream(hooked)
    assert [s.name for s in libasis.trace(hooked, torch.arange(6).view(2, 3), both).sites] == both
