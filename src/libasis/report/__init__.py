"""The page to explore results in, and figures for papers; only the figures need ``libasis[figures]``.

Nothing here imports matplotlib before a figure is drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import pages
from ..causal import CausalEffect
from ..diagnose import Diagnosis
from ..evaluate import EdgeEffects, GraphDiff
from ..graphs import InteractionGraph
from ..local import Contributions, Counterfactuals, InputSensitivity
from ..practice import ABDesign, ABOutcome, PracticePlan, ValueEstimate
from ..verify import Verification
from .canvas import FiguresError, to_svg
from .diagnosis import write_diagnosis
from .diff import write_diff
from .edges import draw_calibration, write_edges
from .evaluation import draw_needed, draw_recovered, draw_sensitivity
from .figures import draw_edge_curves, draw_node_curves, draw_spectra
from .inputs import write_sensitivity
from .local import write_contributions, write_counterfactuals
from .page import notebook_frame, write_page
from .picture import draw_graph
from .practice import write_practice
from .results import Results, suggested_groups
from .shell import MARK
from .trials import write_design, write_outcome
from .verification import write_verification
from .worth import write_effect, write_value

__all__ = [
    "MARK",
    "FiguresError",
    "Results",
    "draw_calibration",
    "draw_edge_curves",
    "draw_graph",
    "draw_needed",
    "draw_node_curves",
    "draw_recovered",
    "draw_sensitivity",
    "draw_spectra",
    "notebook_frame",
    "suggested_groups",
    "to_svg",
    "write_diagnosis",
    "write_diff",
    "write_page",
    "write_practice",
]


@pages.write_page.register
def _(result: InteractionGraph, path: str | Path, lang: str = "en", **options: Any) -> Path:
    several = {f"{kind}s": [given] for kind in ("edge_ablation", "node_ablation") if (given := options.pop(kind, None))}
    return write_page(path, Results([result], **several, **options), lang)


@pages.write_page.register
def _(result: GraphDiff, path: str | Path, lang: str = "en", **options: Any) -> Path:
    return write_diff(path, result, lang, **options)


for _kind, _write in (
    (Contributions, write_contributions),
    (Counterfactuals, write_counterfactuals),
    (Diagnosis, write_diagnosis),
    (InputSensitivity, write_sensitivity),
    (EdgeEffects, write_edges),
    (Verification, write_verification),
    (PracticePlan, write_practice),
    (ABDesign, write_design),
    (ABOutcome, write_outcome),
    (CausalEffect, write_effect),
    (ValueEstimate, write_value),
):
    pages.write_page.register(_kind, _write)


@pages.frame.register
def _(result: InteractionGraph) -> str:
    return notebook_frame(Results([result]))
