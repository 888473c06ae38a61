"""The words of the page that compares two graphs."""

from __future__ import annotations

DIFF: dict[str, dict[str, str]] = {
    "en": {
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
    },
    "ja": {
        "title": "二つのグラフの違い",
        "kicker": "libasis diff",
        "finding": "わかったこと",
        "claim": (
            "A の特徴のうち {matched} 個は B にも対応するものがあります。A だけにある特徴は {only_a} 個、"
            "B だけにある特徴は {only_b} 個です。"
            "両方にある特徴の間のエッジのうち、B で新たに現れたものは {gained} 本、消えたものは {lost} 本、"
            "強さが変わったものは {changed} 本です。"
        ),
        "how_directions": (
            "データが与えられていないため、特徴は方向で比べています。エッジの違いは、標本によるばらつきにすぎない可能性があります。"
            "確かめるには、libasis.diff に traced と batches を渡してください。"
        ),
        "how_values": "特徴は、同じ標本での値によって比べています。{noise}",
        "noise_measured": (
            "エッジは、標本による標準誤差の 3 倍を超えて異なる場合にだけ、違いとして数えています"
            "（標本を {parts} 個に分けて測りました）。"
            "基底を推定し直すことによるばらつきは、これに含まれていません。"
        ),
        "noise_missing": "エッジのばらつきは測っていないため、違いは標本によるばらつきにすぎない可能性があります。",
        "rules": (
            "類似度が {least} 以上の特徴を対応するものとみなします。"
            "強さは、エッジが向かう特徴への入力全体に占める割合です。"
            "{threshold} 以上のエッジを「ある」とし、{factor} 倍以上異なるエッジを「変わった」とします。"
        ),
        "sites": "サイトごとの特徴",
        "site": "サイト",
        "matched": "対応あり",
        "only_a": "A だけ",
        "only_b": "B だけ",
        "importance_a": "対応する重要度の割合（A）",
        "importance_b": "対応する重要度の割合（B）",
        "similarity": "類似度",
        "sections": "区間ごとのエッジ",
        "section": "区間の始まり",
        "compared": "比べた数",
        "gained": "B で新しい",
        "lost": "B で消えた",
        "changed": "変わった",
        "same": "同じ",
        "unmatched_a": "対応のない強さの割合（A）",
        "unmatched_b": "対応のない強さの割合（B）",
        "edges": "異なるエッジ",
        "edge": "エッジ（A での名前）",
        "edge_b": "B での名前",
        "kind": "種類",
        "a": "A",
        "b": "B",
        "noise": "標準誤差",
        "features": "対応する特徴",
        "feature_a": "A の特徴",
        "feature_b": "B の特徴",
        "share_a": "重要度の割合（A）",
        "share_b": "重要度の割合（B）",
        "alone": "対応のない特徴",
        "feature": "特徴",
        "share": "重要度の割合",
        "nearest": "もう一方で最も似ている特徴",
        "where": "グラフ",
        "none": "ありません。",
        "more": "{total} 件のうち最初の {shown} 件を示しています。すべては JSON ファイルにあります。",
        "limits": "ここからは言えないこと",
        "limit_1": (
            "重要度がほぼ等しい特徴どうしは、その間の回転を除いてしか定まりません。個々の特徴は対応しなくても、"
            "そのような特徴の張る部分空間が対応する場合は、まとめて一つとして数えています。"
        ),
        "limit_2": "エッジはデータの上での関連です。異なるエッジを、介入によって確かめたわけではありません。",
    },
}
