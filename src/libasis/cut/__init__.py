"""From the user's model to sections: sites, export, the check for bypasses, records of batches."""

from . import presets
from .chain import Chain
from .check import SiteSpec
from .derivatives import differentiable, pull_back, push_forward
from .limits import NormLimits, norms
from .program import digest_of_tensors
from .record import Context, Record
from .shorter import shorter
from .site_table import SiteRow, SiteTable
from .trace import survey, trace
from .traced import Mask, Section, Site, Traced

__all__ = [
    "Chain",
    "Context",
    "NormLimits",
    "Mask",
    "Record",
    "Section",
    "Site",
    "SiteRow",
    "SiteSpec",
    "SiteTable",
    "Traced",
    "digest_of_tensors",
    "presets",
    "differentiable",
    "norms",
    "pull_back",
    "push_forward",
    "shorter",
    "survey",
    "trace",
]
