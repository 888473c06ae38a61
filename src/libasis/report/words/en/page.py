"""Words of the page: tables, curves, features, record, in English."""

WORDS = {
    # the page
    "title": "Which features act on which",
    "kicker": "libasis report",
    "contents": "Contents",
    "lead": (
        "A neural network hands numbers on from step to step. Here the model is cut at {sites} places, called sites. "
        "At each site the numbers are described by a few directions, called features, and the pictures show how "
        "strongly each feature acts on the features of the next site."
    ),
    "about_lib": (
        "The Local Interaction Basis (LIB) picks the features so that they are uncorrelated and ranks them by how "
        "much the next step depends on them."
    ),
    "about_pca": "Principal components (PCA), the usual yardstick, rank them by how much they vary.",
    "about_neuron": "Neurons are the model’s own coordinates, unchanged.",
    "about_global": "The global basis ranks them by how much the model’s final output depends on them.",
    "about_sparse": (
        "Sparse LIB turns the LIB features at each site so that fewer interactions are needed; they describe the same "
        "numbers and stay uncorrelated."
    ),
    "graph_kept": (
        "{method}: of the interactions into each feature only the {k} strongest were kept. They carry at least {share} "
        "of each section’s strength; the others are not shown here and no ablation could choose them."
    ),
    # tables
    "tables": "How much can be removed",
    "tables_none": "No ablation was given, so nothing is said here about what can be removed.",
    "edges_table": "Interactions needed, section by section",
    "edges_note": (
        "Only the strongest interactions of one section are kept, the rest of the model stays whole. “Bisection” is "
        "the number at which the search ends; “stable” is the smallest number from which every larger number "
        "measured also passes; its bar compares the bases within a section. Use the stable one for claims."
    ),
    "nodes_table": "Features needed, site by site",
    "nodes_note": (
        "Only the most important features of one site are kept, the others are held at their mean. “Kept” is the "
        "smallest number measured from which every larger one also stays within {drop} of the model’s score."
    ),
    "settings": "{methods}: {metric}, model’s score {base}, allowed worsening {drop}, {samples} scores.",
    "settings_coarse": (
        "With {samples} scores a single one weighs {step}, more than the allowed worsening: the model may not lose "
        "even one."
    ),
    "col_section": "Section",
    "col_site": "Site",
    "col_method": "Basis",
    "col_edges": "Interactions",
    "col_required": "Needed: bisection",
    "col_stable": "Needed: stable",
    "col_features": "Features",
    "col_kept": "Kept",
    "col_none_kept": "Score with no feature",
    # the graph
    "graph": "The interaction graph",
    "graph_intro": (
        "Each column is a site, each dot a feature, each line an interaction. Point at a dot to light what it acts on, "
        "click it to read its card and to walk along its edges."
    ),
    "graph_no_script": (
        "The graph needs JavaScript, which is switched off here. The tables below have its main numbers."
    ),
    # pictures
    "curves": "Curves",
    "spectra_title": "How importance falls off",
    "spectra_note": (
        "The features of each site from the most to the least important, each line divided by its first value. A "
        "line that falls early means that few features matter. Lines of different bases have different units, so "
        "compare their shapes only. The marker is the last feature kept; the legend says how many of the site’s "
        "directions those are."
    ),
    "edge_curves_title": "Score against interactions kept",
    "edge_curves_note": (
        "From left to right more of a section’s interactions are kept, the strongest first. The lower panels enlarge "
        "the place where the curves come within reach of the model’s score; shaded is the allowed worsening. A curve "
        "can leave the band and return, which is why the stable number can be larger than the bisection’s."
    ),
    "node_curves_title": "Score against features kept",
    "node_curves_note": "From left to right more features of one site are kept, the most important first.",
    # features
    "features": "The most important features",
    "features_note": (
        "{method}, at most {limit} features per site. “Acts most on” and “most acted on by” name the strongest "
        "interaction to the next and from the previous site, with its strength in brackets."
    ),
    "features_count": "{shown} of {total}",
    "features_sites": "The table shows the first {shown} of {total} sites.",
    "col_feature": "Feature",
    "col_importance": "Importance",
    "col_share": "Share of site",
    "col_out": "Acts most on",
    "col_in": "Most acted on by",
    # provenance
    "provenance": "How these numbers were computed",
    "provenance_note": "As recorded with each result: method, rule, rank decision, data, seed and versions.",
    "prov_basis": "{method}: the basis",
    "prov_ranks": "{method}: rank decision at each site",
    "prov_edges": "{method}: the interactions",
    "prov_edge_ablation": "{method}: edge ablation",
    "prov_node_ablation": "{method}: node ablation",
    "prov_cards": "Feature cards",
    "prov_communities": "Suggested groups",
    "prov_empty": "Nothing was recorded.",
    "more_values": "… {count} more values",
    "more_text": "… {count} more characters",
}
