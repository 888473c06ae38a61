"""Hugging Face: every family that a small configuration makes runnable, at hidden size 8 and one layer."""
# ruff: noqa: E501
# fmt: off


from collections.abc import Mapping
from typing import Any

import torch

from .row import floats, named, rows

TINY: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "embed_dim", "word_embed_proj_dim"), 8),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers", "decoder_layers", "num_hidden_groups"), 1),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "hidden_dim", "ffn_hidden_size"), 16),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "v_head_dim", "d_kv", "head_dim"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 8),
    "vocab_size": 11, "num_key_value_heads": 1, "num_experts_per_tok": 2, "qk_rope_head_dim": 4, "state_size": 3, "type_vocab_size": 2, "num_labels": 3,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "image_size": 8, "patch_size": 4, "num_channels": 3, "rotary_dim": 4,
}  # fmt: skip
SHORT = {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1], "groups_width": 4}
REMBERT = {"input_embedding_size": 8, "output_embedding_size": 8}
MLA = {"num_key_value_heads": 2}


def family(kind: str, model_type: str, options: Mapping[str, Any], experts: str | None = None) -> Any:
    """A function that makes the model of a family."""

    def make() -> torch.nn.Module:
        import transformers
        from transformers.models.auto import configuration_auto, modeling_auto

        transformers.logging.set_verbosity_error()
        names = {"causal": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "masked": modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
                 "image": modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, "seq2seq": modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES}[kind]
        config = configuration_auto.CONFIG_MAPPING[model_type]
        base = config()
        chosen = {k: v for k, v in TINY.items() if hasattr(base, k)} | dict(options)
        name = names[model_type]
        settings = config(**chosen)
        if experts is not None:
            settings._experts_implementation = experts  # the kernel for groups of them knows no float64
        return getattr(transformers, name if isinstance(name, str) else name[0])(settings)

    return make


COMMON = {"gpt2", "llama", "mistral", "gemma2", "gpt_neox", "olmo2", "mixtral", "bert"}
"""Causal ones that are tried every time."""


def add(kind, names, inputs, sites="norms", **more):
    into = rows(f"Hugging Face, {kind}")
    for name in names.split():
        options = more.get("options", {}).get(name, {})
        expect = "exact" if name in more.get("not_closed", "").split() else more.get("expect", "closed")
        expect = "refused" if name in more.get("says", {}) else expect
        given = named(pixel_values=floats(3, n, n)) if (n := more.get("shape", {}).get(name)) else inputs
        into(name, family(kind, name, options), given, more.get("cut", {}).get(name, sites), expect=expect, dtype="float64", size=6, rare=kind != "causal" or name not in COMMON, needs="transformers", plain=family(kind, name, options, "eager"),
             says=more.get("says", {}).get(name, ""), instead=more.get("instead", {}).get(name, ""), channels=more.get("channels", {}).get(name, {}))


add("causal", """apertus apertus1p5_text arcee aria_text bart beam bert bert-generation big_bird bigbird_pegasus biogpt bitnet blenderbot blenderbot-small bloom
camembert codegen cohere cohere2 cohere2_moe ctrl cwm data2vec-text deepseek_v2 deepseek_v3 diffllama doge dory dots1 electra ernie ernie4_5 ernie4_5_moe exaone exaone4
falcon_mamba flex_olmo flint gemma gemma2 gemma3_text glm glm4 glm4_moe glm4_moe_lite gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj granite
granite_swa granitemoe granitemoe_swa granitemoeshared helium hrm_text hunyuan_v1_dense hunyuan_v1_moe hyperclovax internlm3 jais2 jetmoe lfm2 llama llama4_text mamba marian
mbart megatron-bert minicpm3 minimax minimax_m2 ministral ministral3 mistral mixtral modernbert-decoder moshi mpt mvp nanochat nemotron olmo olmo2 olmo3 olmo_hybrid olmoe
openai-gpt opt pegasus persimmon phi phi3 phimoe plbart qwen2 qwen2_moe qwen3 qwen3_moe rembert roberta roberta-prelayernorm roformer rwkv seed_oss smollm3
stablelm starcoder2 trocr vaultgemma whisper xglm xlm xlm-roberta xlm-roberta-xl""", named(input_ids=lambda n, g: torch.randint(3, 11, (n, 5), generator=g)),
    options={"codegen": {"rotary_dim": 4}, "deepseek_v2": MLA, "deepseek_v3": {**MLA, "n_group": 2, "topk_group": 1}, "glm4_moe_lite": {**MLA, "n_group": 1, "topk_group": 1}, "minicpm3": MLA, "diffllama": MLA,
             "dots1": {"n_shared_experts": 1, "n_group": 1, "topk_group": 1}, "gpt_neo": {"attention_types": [[["local"], 1]]}, "rembert": REMBERT, "rwkv": {"attention_hidden_size": 8, "num_hidden_layers": 2},
             "olmo_hybrid": {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]}},
    not_closed="diffllama doge falcon_mamba mamba olmo_hybrid rwkv",
    says={"dory": "ActivationError.*use_cache", "jetmoe": "ExportError.*tolist"},
    instead={"dory": "model.config.use_cache = False", "jetmoe": "it counts the tokens of each expert with .tolist(); a Chain from the embeddings on"})
add("masked", """albert bart bert big_bird camembert convbert data2vec-text deberta deberta-v2 distilbert electra ernie esm eurobert flaubert fnet gte ibert
layoutlm luke mbart megatron-bert mobilebert modernbert mpnet mra mvp nomic_bert nystromformer rembert roberta roberta-prelayernorm roformer squeezebert tapas xlm
xlm-roberta xlm-roberta-xl yoso""", named(input_ids=lambda n, g: torch.randint(3, 11, (n, 5), generator=g)), options={"rembert": REMBERT}, not_closed="convbert deberta deberta-v2 fnet luke mra nystromformer yoso",
    channels={"squeezebert": {"transformer.encoder.layers.0.post_attention.layernorm:in": 1, "transformer.encoder.layers.0.output.layernorm:in": 1}})
add("image", "beit data2vec-vision deit dinov2 dinov2_with_registers focalnet ijepa poolformer regnet resnet swiftformer vit vit_msn",
    named(pixel_values=floats(3, 8, 8)), options={"poolformer": {"hidden_sizes": [8] * 4, "depths": [1] * 4}, "regnet": SHORT, "resnet": SHORT,
    "swiftformer": {"embed_dims": [8] * 4, "depths": [1] * 4}}, not_closed="beit data2vec-vision dinov2 dinov2_with_registers ijepa focalnet poolformer regnet resnet swiftformer")
add("seq2seq", "bart blenderbot longt5 m2m_100 marian mbart mt5 mvp pegasus plbart t5", named(input_ids=lambda n, g: torch.randint(3, 11, (n, 5), generator=g), decoder_input_ids=lambda n, g: torch.randint(3, 11, (n, 5), generator=g)), sites="", expect="exact",
    says={"longt5": "ExportError"}, instead={"longt5": "give attention_mask (ones where nothing is padded), which its local attention reads"})
add("image", "convnext levit siglip swin swinv2", named(pixel_values=floats(3, 8, 8)), not_closed="convnext levit siglip swin swinv2", options={
    **dict.fromkeys(("swin", "swinv2"), {"patch_size": 2, "depths": [2, 1], "num_heads": [2, 2], "num_attention_heads": [2, 2], "window_size": 2, "mlp_ratio": 2.0}),
    "siglip": {"vision_config": {k: TINY[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size")}},
    "convnext": {"hidden_sizes": [8, 8], "depths": [1, 1], "num_stages": 2, "patch_size": 2},
    "levit": {"image_size": 32, "patch_size": 16, "hidden_sizes": [8] * 3, "num_attention_heads": [2] * 3, "depths": [1] * 3, "key_dim": [4] * 3}}, shape={"levit": 32},
    cut={"convnext": "", "levit": "levit.encoder.stages.0.layers.0.module:in levit.encoder.stages.0.layers.1.module.linear_up.linear:in levit.encoder.stages.0.layers.2:in output"})
add("image", "mobilenet_v1 mobilenet_v2", named(pixel_values=floats(3, 16, 16)), not_closed="mobilenet_v1 mobilenet_v2", options={
    "mobilenet_v1": {"image_size": 16, "depth_multiplier": 0.125, "min_depth": 4, "initializer_range": 0.5},
    "mobilenet_v2": {"image_size": 16, "depth_multiplier": 0.1, "min_depth": 4, "depth_divisible_by": 4, "initializer_range": 0.5}},
    cut={"mobilenet_v1": "mobilenet_v1.layer.25.normalization:in classifier:in output", "mobilenet_v2": "mobilenet_v2.layer.15:out classifier:in output"})
