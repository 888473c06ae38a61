"""What is replaced at a site and by what, and how each sample scores then."""

from .metrics import Metric, MetricSpec, parse_metric

__all__ = ["Metric", "MetricSpec", "parse_metric"]
