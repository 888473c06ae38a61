"""Words of the first screen, in Japanese."""

WORDS = {
    "screen": "ひと目でわかる要点",
    # the question
    "question": "問い",
    "question_groups": "{first}と{second}とで、モデルの内部では何が違うのか。",
    "question_edges": "モデルの結果はどの特徴に支えられ、必要な相互作用はどこまで減らせるのか。",
    "question_plain": "モデルの内部にはどのような特徴があり、どれが特に重要なのか。",
    # the finding
    "finding": "わかったこと",
    "find_verified": (
        "特徴{name}を取り除くと、モデルの{metric}は {base} から {without} に変わります（変化 {change}）。分"
        "散が同じランダムな方向を取り除いた場合の変化は、平均 {control} です。"
    ),
    "find_groups": (
        "{first}から{second}へ移ると、出力{output}の平均は {before} から {after} に変わります（変化 {change}）。"
    ),
    "find_groups_feature": ("両者の差が最も大きい特徴は{name}で、その差は特徴の標準偏差の {size} 倍です。"),
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
    # marks
    "mark_verified": "介入で検証済み",
    "mark_association": "関連のみ",
    "interval": "95% 信頼区間 {low} ～ {high}",
    "interval_none": "信頼区間は未測定",
    "words_note": (
        "特徴とは、モデルの中のある場所（サイト）の数値が持つ一つの方向です。相互作用とは、ある特徴が次のサイトの特徴に"
        "どれだけ強く働きかけるかを表します。"
    ),
    "marks_note": (
        "「{verified}」：その特徴だけを平均値に固定したとき、スコアの変化がランダムな方向の場合を上回ったもの。「"
        "{association}」：そのような試験を通っていないもの。原因は示しません。"
    ),
    # how sure
    "sure": "どこまで確かか",
    "sure_none": "個々の特徴への介入は行っていないため、ここで述べることはすべて関連です。",
    "sure_passed": (
        "一つずつ試した {tested} 個の特徴のうち、{passed} 個でスコアの変化がランダムな方向を上回りました。ほかに述べる"
        "ことは関連です。"
    ),
    "sure_samples": "スコアはテスト結果 {samples} 件の平均です。",
    "sure_exact": "重要度はすべて、与えられたデータの上で、乱数による近似なしに計算しました。",
    "sure_sampled": "{sections} 区間のうち {sampled} 区間の重要度は、ランダムなプローブによる推定値です。",
    "sure_stability": "乱数の種を変えて求め直したとき、候補のグループの一致度は {agreement} です（1 が完全な一致）。",
    "sure_no_groups": "相互作用には、偶然を超える特徴のまとまりは見られません。",
    # what was tested
    "tested": "試したこと",
    "tested_nothing": "モデルからは何も取り除いていません。このレポートは、ありのままのモデルを記述したものです。",
    "tested_edges": (
        "相互作用の除去（一度に一区間、計 {sections} 区間、{methods}）。テスト結果 {samples} 件で{metric}を測定。許容す"
        "る悪化は {drop}。"
    ),
    "tested_nodes": (
        "特徴の除去（一度に一か所、計 {sites} か所のサイト、{methods}）。テスト結果 {samples} 件で{metric}を測定。"
    ),
    "tested_cards": (
        "{cards} 個の特徴のうち {tested} 個を一つずつ除去し、それぞれランダムな方向 {controls} 本と比べて{metric}を測定"
        "。"
    ),
    "tested_groups": "{first}（{n_first} 標本）と{second}（{n_second} 標本）の比較。",
    "tested_more_groups": "ほかに {more} グループありますが、この画面には示していません。",
    # what to do next
    "next": "次にすること",
    "next_confirm": "検証済みの結果に基づいて行動する前に、このレポートで使っていないデータで試し直してください。",
    "next_suspect": "{names}への介入を試してください。グループ間の差は、今のところ関連にすぎません。",
    "next_reject": "{names}を判断の根拠にしないでください。取り除いた影響は、ランダムな方向と変わりませんでした。",
    "next_test": "下の特徴を一つずつ試してください。関連が、検証された主張になります。",
    "next_cards": ("特徴カードを集めてください（libasis.collect）。例、出力への効果、特徴ごとの試験結果が加わります。"),
    "next_ablate": (
        "モデルに必要な相互作用の数を測ってください（libasis.ablate_edges または libasis ablate コマンド）。"
    ),
    "next_label": (
        "例を見て、特徴に自分の言葉で名前を付けてください。候補は統計量から作ったもので、意味を表すとは限りません。"
    ),
    "next_compare": "同じ条件で PCA も測ってください。この基底のほうが疎かどうかは、比べなければわかりません。",
    # features
    "features": "特に重要な特徴",
    "features_rule_verified": "介入で検証済みのものを、変化の大きい順に先に並べ、",
    "features_rule_groups": "続いてグループ間の差の大きい順に並べています。",
    "features_rule_share": "続いてサイト内の重要度の割合が大きい順に並べています。",
    "features_rule_only_share": "サイト内の重要度の割合が大きい順で、一つのサイトからは最大 {per} 個です。",
    "features_rule_only_groups": "グループ間の差が大きい順です。",
    "features_count": "{total} 個のうち {shown} 個を示します。",
    "name_label": "ユーザーが付けた名前",
    "name_suggestion": "候補、{statistic} {value}",
    "name_suggestion_plain": "候補",
    "name_id": "名前は未定",
    "wave": "周波数 {value}/{modulus}",
    "feature_ablated": (
        "平均値に固定すると、{metric}は {base} → {without}（変化 {change}）。ランダムな方向 {controls} 本では "
        "{control}。"
    ),
    "feature_contrast": "平均は{first}で {before}、{second}で {after}（差 {change}）。",
    "feature_effect": "標準偏差 1 つ分上げると、出力{output}は {effect}。",
    "feature_share": "{site} の重要度の {share}。",
    "examples": "値が最も大きい例",
    "examples_low": "値が最も小さい例",
    "examples_none": "例は集められていません。",
    "example_right": "{target}、正答",
    "example_wrong": "{target}、モデルは {prediction}",
    "example_target": "正解 {target}",
    "example_prediction": "モデルは {prediction}",
    "example_image": "標本 {sample}、{width} × {height} 画素",
    # the picture
    "picture": "モデルを通る経路",
    "picture_alt": "{modules} 個のモジュールと {sites} か所のサイト。強調した経路は {path}。",
    "picture_lanes": "行はモジュール、列はサイト。点はサイトの重要度に占めるモジュールの割合です。",
    "picture_features": "列はサイトで、特に重要な特徴を並べています。点はサイトの重要度に占める特徴の割合です。",
    "picture_links": "線は区間の強さに占める割合です（{least} 以上のもの）。",
    "picture_path": "太線は、{name}から前後へ最も強い相互作用をたどった経路です。",
    "picture_hidden": "{total} 個のモジュールのうち、重要な {shown} 個を描いています。",
    "picture_hidden_features": "{total} 個の特徴のうち {shown} 個を描いています。",
    "picture_hidden_sites": "{total} か所のサイトのうち、最後の {shown} か所を描いています。",
    "picture_from_user": "モジュールはユーザーが決めたものです。",
    "picture_from_communities": "モジュールは、相互作用から計算した候補のグループです。",
    "group_with": "グループ {number}：{name}",
    # the bars
    "bars": "{first}と{second}の比較",
    "bars_note": (
        "各出力の平均を、モデル本来の単位で示します。測定されている場合は 95% 信頼区間も示します。差の大きい順に "
        "{total} 個のうち {shown} 個です。"
    ),
    "bars_alt": "出力{output}：{first} {before}、{second} {after}。",
    # limits
    "limits": "このレポートからは言えないこと",
    "limit_cause": "相互作用は、与えられたデータの上での関連です。個々の相互作用を単独で試したわけではありません。",
    "limit_one": "特徴を一つだけ試した結果は、二つ同時に取り除いた場合や、ほかのデータの場合については何も示しません。",
    "limit_sections": "区間は一つずつ切って測りました。区間ごとの数を足し合わせることはできません。",
    "limit_meaning": "名前や候補は、例に見られたものの呼び名です。誤った名前も、もっともらしく見えます。",
    "limit_rotation": "重要度がほぼ等しい特徴どうしは、その間の回転を除いてしか定まりません。",
    "limit_superposition": (
        "一つのサイトの特徴は、座標の数より多くなりません。重なり合って蓄えられた概念（重ね合わせ）は分けきれません。"
    ),
    "limit_language": "言語モデルでは、この手法が PCA より優れる度合いは、これまでのところわずかです。",
}
