r"""Intervals that hold at every look: confidence sequences.

Of a mean by the normal mixture (Robbins 1970; Waudby-Smith et al. 2024 for unknown variance): with a standard error s
after n units the half width is :math:`s \sqrt{(1+r) \log((1+r)/(r \alpha^2))}` with :math:`r = \rho/n`, where
:math:`\rho` is fixed beforehand so that it is smallest at a planned n. Of a rate exactly, by the beta-binomial mixture.
"""

from __future__ import annotations

import math
from typing import Any

from ..arguments import typed
from ..errors import OptionError


def wider(n: float, planned: float, alpha: float) -> float:
    """Standard errors on each side after ``n`` units, tightest for its size at ``planned``; 3.0 there for 5%."""
    ratio = best(alpha) * planned / n
    return math.sqrt((1 + ratio) * math.log((1 + ratio) / (ratio * alpha**2)))


def best(alpha: float) -> float:
    """The ratio of the mixture's precision to n at which the half width is smallest."""
    from scipy.special import lambertw

    return float(-1 / (1 + lambertw(-(alpha**2) / math.e, -1).real))


@typed
def exact_rate(hits: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    r"""An interval of a rate after n trials that holds at every n together with probability 1 - alpha, exactly.

    It holds each rate p with :math:`p^h (1-p)^{n-h} \ge \alpha B(1 + h, 1 + n - h)`.

    Raises:
        OptionError: there are not 0 to n hits, or alpha is not between 0 and 1.
    """
    from scipy.optimize import brentq
    from scipy.special import betaln, xlog1py, xlogy

    if not 0 <= hits <= n or not 0 < alpha < 1:
        raise OptionError(f"{hits} hits in {n} trials at alpha {alpha:g} are none; give 0 to n hits and 0 < alpha < 1.")
    if not n:
        return 0.0, 1.0
    level = math.log(alpha) + betaln(1 + hits, 1 + n - hits)

    def above(p: float) -> float:
        return float(xlogy(hits, p) + xlog1py(n - hits, -p) - level)

    rate = hits / n
    low: Any = brentq(above, 1e-300, rate) if hits and above(1e-300) < 0 else 0.0
    high: Any = brentq(above, rate, 1 - 1e-16) if hits < n and above(1 - 1e-16) < 0 else 1.0
    return float(low), float(high)
