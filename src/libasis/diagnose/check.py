"""`check`: what is wrong with a model and data on the first day, each finding one sentence with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from ..ambient import neutral
from ..arguments import typed
from .alarm import alarm_of
from .first_look import checked
from .groups import read_groups
from .labelled import checked_rows


@typed
@neutral
def check(
    model: nn.Module,
    normal: Any,
    anomalous: Any = None,
    columns: Sequence[str] | None = None,
    metric: str | Callable[..., Any] | None = None,
    *,
    threshold: float | None = None,
    normal_class: int | None = None,
) -> list[str]:
    """What is wrong with a model and two groups of rows, in sentences with a remedy each; empty where nothing is found.

    Whether the alarm tells the groups apart better than chance; the scale of the inputs and the order of the columns
    against what the model seems to expect; the number of rows; columns that do not vary or are the same; rows that
    depend on those before them; drift within the normal rows. `diagnose` begins with the same. Of rows of one kind, the
    score instead: whether the model is better than giving the most frequent class, or the mean of the targets, to all.

    Args:
        model: in eval mode, with one input tensor.
        normal: as in `diagnose`; or all rows, best batches of pairs (inputs, targets).
        anomalous: as in `diagnose`; None where there are no two groups.
        columns: as in `diagnose`.
        metric: as in `diagnose`.
        threshold: as in `diagnose`.
        normal_class: as in `diagnose`.

    Raises:
        BatchError: the groups are not what the model takes.
        ModelStateError: the model is in training mode.
        OptionError: an option does not go with the data.
    """
    if anomalous is None:
        return [one["text"] for one in checked_rows(model, normal, columns)]
    groups = read_groups(model, normal, anomalous, columns)
    return [one["text"] for one in checked(model, groups, alarm_of(model, groups, metric, threshold, normal_class))]
