import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from hypothesis import settings

settings.register_profile("libasis", deadline=None, max_examples=10, derandomize=True)
settings.load_profile("libasis")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Small matrices: threads cost more than they give, and results are the same on every machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
