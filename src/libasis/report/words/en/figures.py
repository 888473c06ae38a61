"""Words of the figures for papers, in English."""

WORDS = {
    "importance": "importance",
    "fig_features": "{shown} of {total} features",
    "fig_edges": "{shown} of {total} edges",
    "fig_edges_needed": "{shown} of {needed} needed edges",
    "fig_share": "{share} of the strength",
    "fig_kept": "{method}: {kept} of {total} kept",
    "fig_required": "{method}: {required}, stable {stable}",
    "legend_size": "area: root of importance",
    "axis_rank": "rank of the feature",
    "axis_importance": "importance / largest",
    "axis_edges": "edges kept",
    "axis_features": "features kept",
    "axis_close_up": "close-up",
}
