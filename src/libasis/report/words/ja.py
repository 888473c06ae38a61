"""The words of the page and the figures, in Japanese."""

from __future__ import annotations

JA: dict[str, str] = {
    # the page
    "title": "どの特徴が、どの特徴に働きかけるか",
    "kicker": "libasis レポート",
    "contents": "目次",
    "language": "日本語",
    "lead": (
        "ニューラルネットワークは、数値を次々と先の段へ受け渡していきます。ここではモデルを {sites} か所（サイト）で"
        "切り、各サイトの数値を少数の方向（特徴）で表して、それぞれの特徴が次のサイトの特徴にどれだけ強く働きかけるか"
        "を図にしました。"
    ),
    "about_lib": (
        "局所相互作用基底（LIB）は、互いに無相関になるように特徴を選び、次の段がどれだけそれに依存するかで順位を付け"
        "ます。"
    ),
    "about_pca": "比較の基準である主成分分析（PCA）は、ばらつきの大きさで順位を付けます。",
    "about_neuron": "ニューロンは、モデルの座標をそのまま使ったものです。",
    "about_global": "グローバル基底は、モデルの最終出力がどれだけ依存するかで順位を付けます。",
    "about_sparse": (
        "スパースLIBは、必要な相互作用が少なくなるように、各サイトの LIB の特徴を回転したものです。表す内容は同じで、"
        "特徴どうしは無相関のままです。"
    ),
    # the finding
    "find_where": "{section} では",
    "find_where_most": "両者の差が最も大きい {section} では",
    "find_pair": (
        "{where}、LIB 基底の相互作用 {lib_total} 本のうち {lib} 本を残せば、{metric}はモデル本来の {base} から {drop}"
        " 以内に収まります。PCA では {pca_total} 本のうち {pca} 本が必要です。"
    ),
    "find_stable": "いずれも安定な必要数です（二分探索が行き着いた数は、それぞれ {lib} 本と {pca} 本）。",
    "find_all": (
        "安定な必要数で比べると、{sections} 区間のうち {fewer} 区間で、LIB のほうが PCA より少ない相互作用で済みます。"
    ),
    "find_nothing_passes": (
        "比較できる区間がありません。LIB か PCA のどちらかで、相互作用をすべて残しても、{metric}がモデル本来の {base}"
        " から {drop} 以内に収まりません。"
    ),
    "find_plain": (
        "{method}は {sites} か所のサイトを {features} 個の特徴で表します。その間にありうる相互作用は {edges} 本で、各"
        "区間の上位 1% が強さ全体の {share} を占めます。"
    ),
    "find_plain_kept": (
        "{method}は {sites} か所のサイトを {features} 個の特徴で表します。その間にありうる相互作用は {edges} 本です。"
    ),
    "find_kept": (
        "{method}：各特徴に入る相互作用は、強い順に {k} 本だけを残しています。残したものは、どの区間でも強さ全体の "
        "{share} 以上を占めます。ほかの相互作用はここには示されず、アブレーションの候補にもなっていません。"
    ),
    "find_plain_one": (
        "{method}はこのサイトを {features} 個の特徴で表します。サイトが一つなので、相互作用はありません。"
    ),
    "find_one": (
        "{sections} 区間のそれぞれで、その区間だけを切ったとき、{method} 基底の相互作用の多くとも {share} を残せば、"
        "{metric}はモデル本来の {base} から {drop} 以内に収まります（安定な必要数）。"
    ),
    "find_one_section": (
        "{section} では、{method} 基底の相互作用 {total} 本のうち {stable} 本を残せば、{metric}はモデル本来の {base} "
        "から {drop} 以内に収まります（安定な必要数）。"
    ),
    "find_no_comparison": (
        "ほかの基底ならもっと少なくて済むのかどうかは、ここでは比べていません。比べるには、指標・標本・許容幅をそろえ"
        "、安定な必要数まで求めたエッジ・アブレーションが、LIB と PCA の両方に必要です。"
    ),
    "find_no_claim": (
        "モデルがそのうち何本を必要とするかは、ここでは測っていません。エッジ・アブレーションを行うとわかります。"
    ),
    # tables
    "tables": "どれだけ取り除けるか",
    "tables_none": "アブレーションの結果が渡されていないため、どれだけ取り除けるかについては何も述べません。",
    "edges_table": "必要な相互作用の数（区間ごと）",
    "edges_note": (
        "一つの区間だけ、強い順に相互作用を残し、モデルのほかの部分はそのままにします。「二分探索」は探索が行き着いた"
        "数、「安定」は、それ以上のどの数で測っても基準を満たす最小の数です（棒は同じ区間での基底どうしの比較）。主張"
        "には「安定」を使ってください。"
    ),
    "nodes_table": "必要な特徴の数（サイトごと）",
    "nodes_note": (
        "一つのサイトだけ、重要な順に特徴を残し、ほかは平均値に固定します。「残す数」は、それ以上のどの数で測ってもモ"
        "デル本来のスコアから {drop} 以内に収まる最小の数です。"
    ),
    "settings": "{methods}：指標は{metric}、モデル本来のスコア {base}、許容する悪化 {drop}、評価数 {samples}。",
    "settings_coarse": (
        "評価数が {samples} のとき、一つの重みは {step} で、許容する悪化より大きいため、正解を一つも失えません。"
    ),
    "settings_nodes": "{methods}：指標は{metric}、モデル本来のスコア {base}、評価数 {samples}。",
    "col_section": "区間",
    "col_site": "サイト",
    "col_method": "基底",
    "col_edges": "相互作用",
    "col_required": "必要数：二分探索",
    "col_stable": "必要数：安定",
    "col_features": "特徴",
    "col_kept": "残す数",
    "col_none_kept": "特徴なしのスコア",
    "none_passes": "該当なし",
    # the graph
    "graph": "相互作用グラフ",
    "graph_intro": (
        "列がサイト、点が特徴、線が相互作用です。点にポインターを重ねると、その特徴とつながる相手が浮かび上がります。"
        "クリックすると、カードを読み、エッジをたどれます。"
    ),
    "graph_no_script": "グラフの表示には JavaScript が必要ですが、無効になっています。主な数値は下の表にあります。",
    # pictures
    "curves": "曲線",
    "spectra_title": "重要度の減り方",
    "spectra_note": (
        "各サイトの特徴を重要な順に並べ、先頭の値で割って示します。早く下がる線は、少数の特徴だけが効いていることを表"
        "します。基底が違えば単位も違うので、形だけを比べてください。印は残した最後の特徴で、サイトの方向のうちいくつ"
        "を残したかは凡例に示します。"
    ),
    "edge_curves_title": "残した相互作用の数とスコア",
    "edge_curves_note": (
        "右へ行くほど、強い順に多くの相互作用を残しています。下の段は、曲線がモデル本来のスコアに届くあたりを拡大した"
        "もので、網掛けは許容する悪化の範囲です。曲線はいったん範囲を外れて戻ることがあり、そのため「安定」の数は二分"
        "探索の数より大きくなることがあります。"
    ),
    "node_curves_title": "残した特徴の数とスコア",
    "node_curves_note": "右へ行くほど、一つのサイトの特徴を重要な順に多く残しています。",
    "scrolls": "{title}（横にスクロールできます）",
    # features
    "features": "重要な特徴",
    "features_note": (
        "{method}。各サイト最大 {limit} 個。「最も働きかける先」と「最も働きかけてくる元」は、次のサイトへの、または"
        "前のサイトからの最も強い相互作用で、括弧内はその強さです。"
    ),
    "features_count": "{total} 個中 {shown} 個",
    "features_sites": "{total} サイトのうち、最初の {shown} サイトを示します。",
    "col_feature": "特徴",
    "col_importance": "重要度",
    "col_share": "サイト内の割合",
    "col_out": "最も働きかける先",
    "col_in": "最も働きかけてくる元",
    # provenance
    "provenance": "数値の出どころ",
    "provenance_note": "各結果とともに記録された、方法、計算規則、階数の判断、データ、乱数の種、バージョンです。",
    "prov_basis": "{method}：基底",
    "prov_ranks": "{method}：各サイトの階数の判断",
    "prov_edges": "{method}：相互作用",
    "prov_edge_ablation": "{method}：エッジ・アブレーション",
    "prov_node_ablation": "{method}：ノード・アブレーション",
    "prov_cards": "特徴カード",
    "prov_communities": "候補のグループ",
    "prov_empty": "記録はありません。",
    "more_values": "… ほか {count} 個",
    "more_text": "… ほか {count} 文字",
    # figures
    "importance": "重要度",
    "fig_features": "特徴 {shown} / {total}",
    "fig_edges": "エッジ {shown} / {total}",
    "fig_edges_needed": "必要なエッジ {shown} / {needed}",
    "fig_share": "強さの {share}",
    "fig_kept": "{method}：{total} 中 {kept} を保持",
    "fig_required": "{method}：{required}（安定 {stable}）",
    "fig_panels": "{total} 枚のうち、最初の {shown} 枚を示します。",
    "legend_positive": "平均して相手を上げる",
    "legend_negative": "平均して相手を下げる",
    "legend_strength": "太さ：強さの平方根",
    "legend_size": "面積：重要度の平方根",
    "legend_hollow": "線を描いていない特徴",
    "legend_base": "モデル本来のスコア",
    "legend_allowed": "許容する悪化",
    "legend_required": "必要数：二分探索",
    "legend_stable": "必要数：安定",
    "axis_rank": "特徴の順位",
    "axis_importance": "重要度（最大＝1）",
    "axis_edges": "残したエッジの数",
    "axis_features": "残した特徴の数",
    "axis_close_up": "拡大",
    "method_lib": "LIB",
    "method_pca": "PCA",
    "method_neuron": "ニューロン",
    "method_global": "グローバル",
    "method_sparse": "疎なLIB",
    "method_random": "無作為に回転したLIB",
    "method_unnamed": "名前のない基底",
    "metric_accuracy": "正解率",
    "metric_cross_entropy": "交差エントロピー",
    "metric_mse": "平均二乗誤差",
}
