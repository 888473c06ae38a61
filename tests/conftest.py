import gc
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


@pytest.fixture(autouse=True, scope="session")
def _rare_collections():
    """What was imported and collected stays, and exports make many objects: looking through them all takes its time."""
    gc.collect()
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()
