"""Words of the first screen, in English."""

WORDS = {
    "screen": "At a glance",
    # the question
    "question": "Question",
    "question_groups": "What differs inside the model between {first} and {second}?",
    "question_edges": "Which features does the model’s result rest on, and how few of their interactions does it need?",
    "question_plain": "Which features are there inside the model, and which of them matter most?",
    # the finding
    "finding": "Finding",
    "find_verified": (
        "Without the feature {name}, the model’s {metric} changes from {base} to {without}, by {change}. "
        "Taking away random directions of the same variance changes it by {control} on average."
    ),
    "find_groups": (
        "From {first} to {second}, the mean of the output {output} changes from {before} to {after}, by {change}."
    ),
    "find_groups_feature": (
        "The feature that differs most between the two is {name}: by {size} of its standard deviations."
    ),
    "find_where": "At {section}",
    "find_where_most": "At {section}, where the two differ most",
    "find_pair": (
        "{where}, {lib} of {lib_total} interactions in the LIB basis keep {metric} within {drop} of the model’s "
        "{base}; PCA needs {pca} of {pca_total}."
    ),
    "find_stable": "These are stable counts; the bisection ends at {lib} and {pca}.",
    "find_all": "By stable count LIB needs fewer interactions than PCA in {fewer} of {sections} sections.",
    "find_nothing_passes": (
        "No section can be compared: for LIB or PCA not even all interactions together keep {metric} within {drop} "
        "of the model’s {base}."
    ),
    "find_plain": (
        "{method} describes the {sites} sites by {features} features; between them {edges} interactions are "
        "possible, and the strongest 1% of each section carry {share} of its strength."
    ),
    "find_plain_kept": (
        "{method} describes the {sites} sites by {features} features; between them {edges} interactions are possible."
    ),
    "find_plain_one": "{method} describes the site by {features} features; with one site there are no interactions.",
    "find_one": (
        "In each of the {sections} sections, cut alone, {share} of the interactions in the {method} basis or fewer "
        "are enough to keep {metric} within {drop} of the model’s {base} (stable counts)."
    ),
    "find_one_section": (
        "At {section}, {stable} of {total} interactions in the {method} basis keep {metric} within {drop} of the "
        "model’s {base} (stable count)."
    ),
    "find_no_comparison": (
        "Whether another basis needs fewer or more is not compared here: that takes edge ablations of LIB and of PCA "
        "with stable counts and the same metric, samples and allowance."
    ),
    "find_no_claim": "How many of them the model needs was not measured here; an edge ablation tells.",
    # marks
    "mark_verified": "verified by intervention",
    "mark_association": "association only",
    "interval": "95% interval {low} to {high}",
    "interval_none": "no interval measured",
    "words_note": (
        "A feature is a direction in the numbers at one place (site) of the model; an interaction is how strongly a "
        "feature acts on one of the next site."
    ),
    "marks_note": (
        "“{verified}”: the feature alone was held at its mean, and the score changed more than with random directions. "
        "“{association}”: anything that has not passed such a test; it shows no cause."
    ),
    # how sure
    "sure": "How sure",
    "sure_none": "No feature was tested by an intervention of its own, so every claim here is an association.",
    "sure_passed": (
        "{passed} of {tested} features tested one by one did more to the score than random directions; the other "
        "claims here are associations."
    ),
    "sure_samples": "Scores are means over {samples} test results.",
    "sure_exact": "All importances were computed exactly on the data, without sampling.",
    "sure_sampled": "Estimated from random probes were the importances of {sampled} of {sections} sections.",
    "sure_stability": "Found again from other random seeds, the suggested groups agree by {agreement} (1 is perfect).",
    "sure_no_groups": "The interactions show no groups of features beyond what chance gives.",
    # what was tested
    "tested": "What was tested",
    "tested_nothing": "Nothing was taken out of the model: the report describes it as it is.",
    "tested_edges": (
        "Interactions taken out, one section at a time ({methods}; sections: {sections}): {metric} on {samples} test "
        "results, allowed worsening {drop}."
    ),
    "tested_nodes": (
        "Features taken out, one site at a time ({methods}; sites: {sites}): {metric} on {samples} test results."
    ),
    "tested_cards": (
        "{tested} of {cards} features taken out one by one, each beside {controls} random directions: {metric}."
    ),
    "tested_groups": "{first} ({n_first} samples) beside {second} ({n_second} samples).",
    "tested_more_groups": "Groups not shown on this screen: {more}.",
    # what to do next
    "next": "What to do next",
    "next_confirm": "Before acting on what is verified here, repeat the test on data that this report has not used.",
    "next_suspect": "Test {names} by an intervention: so far its difference between the groups is an association.",
    "next_reject": "Rest no decision on {names}: taking it out did no more than taking out random directions.",
    "next_test": "Test the features below one by one, so that associations become tested claims.",
    "next_cards": (
        "Collect feature cards (libasis.collect): they add examples, effects on the outputs and a test of each feature."
    ),
    "next_ablate": "Measure how many interactions the model needs (libasis.ablate_edges, or libasis ablate).",
    "next_label": (
        "Look at the examples and label the features in your own words: a suggestion is a statistic, not a meaning."
    ),
    "next_compare": "Measure PCA in the same way: only a comparison says whether this basis is sparser.",
    # features
    "features": "The features that matter most",
    "features_rule_verified": "First those verified by intervention, the largest change leading;",
    "features_rule_groups": "then by their difference between the groups.",
    "features_rule_share": "then by their share of the importance at their site.",
    "features_rule_only_share": "By their share of the importance at their site, at most {per} of a site.",
    "features_rule_only_groups": "By their difference between the groups.",
    "features_count": "Shown are {shown} of {total}.",
    "name_label": "label by the user",
    "name_suggestion": "suggestion, {statistic} {value}",
    "name_suggestion_plain": "suggestion",
    "name_id": "no label yet",
    "wave": "frequency {value} of {modulus}",
    "feature_ablated": (
        "Held at its mean: {metric} {base} → {without}, change {change}; random directions ({controls}): {control}."
    ),
    "feature_contrast": "Mean {before} in {first}, {after} in {second}: difference {change}.",
    "feature_effect": "Raised by one standard deviation: output {output} {effect}.",
    "feature_share": "{share} of the importance at {site}.",
    "examples": "Highest values",
    "examples_low": "Lowest values",
    "examples_none": "No examples were collected.",
    "example_right": "{target}, right",
    "example_wrong": "{target}, model said {prediction}",
    "example_target": "target {target}",
    "example_prediction": "model said {prediction}",
    "example_image": "Sample {sample}, {width} × {height} pixels",
    # the picture
    "picture": "The path through the model",
    "picture_alt": "{modules} modules at {sites} sites; the highlighted path is {path}.",
    "picture_lanes": "Rows are modules, columns are sites. A dot shows the module’s share of the site’s importance.",
    "picture_features": (
        "Columns are sites with their most important features. A dot shows a feature’s share of the site’s importance."
    ),
    "picture_links": "A line shows its share of the section’s strength, from {least} on.",
    "picture_path": "Thick: from {name}, the strongest interaction at every step, forwards and backwards.",
    "picture_hidden": "{shown} of {total} modules are drawn, the most important ones.",
    "picture_hidden_features": "{shown} of {total} features are drawn.",
    "picture_hidden_sites": "The last {shown} of {total} sites are drawn.",
    "picture_from_user": "The modules are the user’s.",
    "picture_from_communities": "The modules are suggested groups, computed from the interactions.",
    "group_with": "Group {number}: {name}",
    # the bars
    "bars": "{first} beside {second}",
    "bars_note": (
        "Mean of each output in the model’s own units, with its 95% interval where it was measured; the outputs that "
        "differ most come first, {shown} of {total}."
    ),
    "bars_alt": "Output {output}: {first} {before}, {second} {after}.",
    # limits
    "limits": "What this report cannot show",
    "limit_cause": "An interaction is an association on the given data; no single interaction was tested by itself.",
    "limit_one": "A feature tested alone says nothing about two taken out together, nor about other data.",
    "limit_sections": "Each section was cut alone; the numbers of several sections do not add up.",
    "limit_meaning": "Labels and suggestions are names for what was seen in examples; a wrong name looks just as good.",
    "limit_rotation": "Features of nearly equal importance are only defined up to a rotation among them.",
    "limit_superposition": (
        "A site has at most as many features as coordinates: ideas stored on top of each other (superposition) are "
        "not taken apart."
    ),
    "limit_language": "On language models the method has so far gained little over PCA.",
}
