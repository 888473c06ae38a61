"""One checked store for every result: a folder with a JSON manifest and safetensors, never a pickle."""

from .card import Shared
from .folder import check_target, digest_of, tidy
from .result import Stored, frame_of, listed, load, save
from .values import all_finite

__all__ = ["Shared", "Stored", "all_finite", "check_target", "digest_of", "frame_of", "listed", "load", "save", "tidy"]
