"""Memory that one batch frees and the next one takes."""

from __future__ import annotations

from functools import cache

import torch

_MOST = 2**25 - 2**16
"""A little less than 32 MiB, above which glibc learns nothing."""


@cache
def reuse_freed_memory() -> None:
    """Let tensors that one batch frees serve the next, once for the process.

    glibc maps every large block by itself and unmaps it when it is freed, and each batch then pays again for every page
    that it touches. It stops doing so for blocks up to the largest that it has seen freed; so it is shown one, of which
    no page is ever touched. At most twice its size of freed memory stays with the process. Elsewhere this does nothing.
    """
    torch.empty(_MOST, dtype=torch.uint8)
