"""From the user's model to sections: sites, export, the check for bypasses, records of batches."""

from .chain import Chain
from .check import SiteRow, SiteSpec, SiteTable
from .derivatives import pull_back, push_forward
from .program import digest_of_tensors
from .record import Context, Record
from .trace import find_sites, trace
from .traced import Mask, Section, Site, Traced

__all__ = [
    "Chain",
    "Context",
    "Mask",
    "Record",
    "Section",
    "Site",
    "SiteRow",
    "SiteSpec",
    "SiteTable",
    "Traced",
    "digest_of_tensors",
    "find_sites",
    "pull_back",
    "push_forward",
    "trace",
]
