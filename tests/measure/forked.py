"""Several processes without torchrun: forks of this one that find each other."""

import contextlib
import os
import socket
import traceback

import libasis
from libasis.errors import LibasisError


def forked(size, work, timeout=300.0):
    """What ``work(rank)`` returned in each of so many processes, as text; an error of libasis as its sentence.

    With ``timeout=None`` they are not put into a context.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(size):
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            found = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in found.items()})
            os.write(into, _said(work, rank, timeout).encode())
            os._exit(0)
        os.close(into)
        children.append((child, out))
    return [_heard(*child) for child in children]


def _said(work, rank, timeout):
    try:
        with contextlib.nullcontext() if timeout is None else libasis.distributed(timeout=timeout):
            return str(work(rank))
    except LibasisError as error:
        return f"{type(error).__name__}: {error}"
    except BaseException:
        return traceback.format_exc()


def _heard(child, out):
    with os.fdopen(out) as said:
        text = said.read()
    os.waitpid(child, 0)
    return text
