"""Words that every topic may use, in English."""

WORDS = {
    "language": "English",
    "scrolls": "{title} (scrolls sideways)",
    "none_passes": "none passes",
    "panels_shown": "The first {shown} of {total} panels are drawn.",
    # legends of pictures
    "legend_base": "model’s score",
    "legend_allowed": "allowed worsening",
    "legend_required": "needed: bisection",
    "legend_stable": "needed: stable",
    "legend_positive": "raises its target on average",
    "legend_negative": "lowers it on average",
    "legend_strength": "width: root of strength",
    "legend_hollow": "no edge of it is drawn",
    # names of methods, metrics and statistics; what has none keeps its own
    "method_lib": "LIB",
    "method_pca": "PCA",
    "method_neuron": "Neurons",
    "method_global": "Global",
    "method_sparse": "Sparse LIB",
    "method_random": "LIB turned at random",
    "method_unnamed": "Unnamed basis",
    "metric_accuracy": "accuracy",
    "metric_cross_entropy": "cross-entropy",
    "metric_mse": "mean squared error",
    "metric_output_mse": "mean squared change of the output",
    "statistic_correlation": "correlation",
    "statistic_share of variance": "share of variance",
    # what a statistic suggests
    "suggests_class": "class {value}",
    "suggests_token": "token ‘{value}’",
    "suggests_column": "column {value}",
    "suggests_frequency": "frequency {value}",
    "suggests_output": "output {value}",
    "low_end": "{name} (low end)",
    # grammar
    "quote": "“{text}”",
    "reference": "{name} ({id})",
    "and": " and ",
    "comma": ", ",
    "space": " ",
}
