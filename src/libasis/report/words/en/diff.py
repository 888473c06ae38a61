"""Words of the page that compares two graphs, in English."""

WORDS = {
    "title": "What differs between two graphs",
    "kicker": "libasis diff",
    "finding": "Finding",
    "claim": (
        "{matched} features of A have a counterpart in B; {only_a} are only in A and {only_b} only in B. Of the "
        "edges between features that both have, {gained} are new in B, {lost} are gone and {changed} changed."
    ),
    "how_directions": (
        "No data were given: features are compared by their directions, and a difference of edges may be the noise "
        "of the samples. Give traced and batches to libasis.diff to know."
    ),
    "how_values": "Features are compared by their values on the same samples. {noise}",
    "noise_measured": (
        "An edge counts as different only beyond three standard errors of the sample (from {parts} parts of it); "
        "the noise of fitting the bases anew is not in them."
    ),
    "noise_missing": "The noise of edges was not measured, so a difference may be the noise of the sample.",
    "rules": (
        "Features match from a similarity of {least}. Strengths are shares of the input of the feature an edge "
        "leads to; an edge is there from {threshold}, and changed from a factor of {factor}."
    ),
    "sites": "Features by site",
    "site": "Site",
    "matched": "Matched",
    "only_a": "Only in A",
    "only_b": "Only in B",
    "importance_a": "Importance matched, A",
    "importance_b": "Importance matched, B",
    "similarity": "Similarity",
    "sections": "Edges by section",
    "section": "Section from",
    "compared": "Compared",
    "gained": "New in B",
    "lost": "Gone in B",
    "changed": "Changed",
    "same": "The same",
    "unmatched_a": "Strength without a match, A",
    "unmatched_b": "Strength without a match, B",
    "edges": "Edges that differ",
    "edge": "Edge, as named in A",
    "edge_b": "As named in B",
    "kind": "Kind",
    "a": "A",
    "b": "B",
    "noise": "Standard error",
    "features": "Features that match",
    "feature_a": "In A",
    "feature_b": "In B",
    "share_a": "Share of importance, A",
    "share_b": "Share of importance, B",
    "alone": "Features without a match",
    "feature": "Feature",
    "share": "Share of importance",
    "nearest": "Most similar in the other",
    "where": "Graph",
    "none": "There are none.",
    "more": "The first {shown} of {total} are shown; all are in the JSON file.",
    "limits": "What this does not say",
    "limit_1": (
        "Features of nearly equal importance are only defined up to a rotation among them. Where single features "
        "do not match but the subspaces of such a group do, the group counts as one."
    ),
    "limit_2": "Edges are associations on the data; an edge that differs has not been tested by an intervention.",
}
