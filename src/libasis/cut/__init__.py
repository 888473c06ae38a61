"""From the user's model to sections: sites, export, the check for bypasses, batches."""

from .chain import Chain
from .check import SiteRow, SiteSpec, SiteTable
from .records import Records, keep
from .trace import find_sites, trace
from .traced import Context, Mask, Record, Section, Site, Traced, prepare

__all__ = [
    "Chain",
    "Context",
    "Mask",
    "Record",
    "Records",
    "Section",
    "Site",
    "SiteRow",
    "SiteSpec",
    "SiteTable",
    "Traced",
    "find_sites",
    "keep",
    "prepare",
    "trace",
]
