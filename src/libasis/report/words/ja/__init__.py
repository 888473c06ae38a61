"""The words of the report in Japanese, by topic."""

from . import common, diff, figures, first, graph, page

COMMON = common.WORDS
TOPICS = {"page": page.WORDS, "first": first.WORDS, "graph": graph.WORDS, "figures": figures.WORDS, "diff": diff.WORDS}
