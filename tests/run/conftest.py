import sys
import uuid

import pytest
import torch
from torch import nn

from libasis.run import cli
from libasis.run.config import parse_config

MODEL_CODE = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(3, 5)
        self.act = nn.ReLU()
        self.fc2 = nn.Linear(5, 2)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))

def model():
    torch.manual_seed(0)
    return Tiny().eval()

def batches(seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 3, generator=generator)
    with torch.no_grad():
        y = model()(x).argmax(-1)
    return [(x[:12], y[:12]), (x[12:], y[12:])]

def train_and_test():
    return batches(1), batches(2)

def one_shot():
    return iter(batches())

def one_batch():
    x = torch.randn(4, 3)
    return [x, x]

def tuple_of_batches():
    (a, b) = batches()
    return a, b

def broken():
    return undefined_name

def nothing():
    return None

def score(outputs, targets):
    return (outputs.argmax(-1) == targets).double()

NUMBER = 3
"""


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(3, 5)
        self.act = nn.ReLU()
        self.fc2 = nn.Linear(5, 2)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


@pytest.fixture
def command(capfd):
    """Runs the command line in this process, with nobody who hears of progress: exit code, stdout, stderr."""

    def run(*arguments):
        code = cli.run([str(a) for a in arguments], lambda event: None)
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return Tiny().eval()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder; what is imported from it is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def code(folder):
    """The name of a module of the current folder with a model and data."""
    name = f"user_code_{uuid.uuid4().hex}"
    (folder / f"{name}.py").write_text(MODEL_CODE)
    return name


@pytest.fixture
def settings(code, folder):
    """A complete settings file for that module."""
    text = f'sites = ["fc1:in", "fc2:in", "output"]\n[model]\nsource = "{code}:model"\n'
    text += f'[data]\nsource = "{code}:train_and_test"\n'
    (folder / "libasis.toml").write_text(text)
    return folder / "libasis.toml"


@pytest.fixture
def config():
    """Makes a configuration from keyword arguments of [data] and the model's source."""

    def make(source, model="m:f", **data):
        return parse_config({"model": {"source": model}, "data": {"source": str(source), **data}})

    return make


@pytest.fixture(scope="session")
def hf_directory(tmp_path_factory):
    """A tiny random GPT-2 with a tokenizer of words, as save_pretrained writes them."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    directory = tmp_path_factory.mktemp("gpt2")
    words = ["<end>", "<unk>", "the", "cat", "sat", "on", "a", "mat", "dog", "ran"]
    model = tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>")
    fast.save_pretrained(directory)
    torch.manual_seed(0)
    shape = transformers.GPT2Config(vocab_size=10, n_positions=16, n_embd=8, n_layer=2, n_head=2)
    transformers.GPT2LMHeadModel(shape).save_pretrained(directory)
    return directory
