"""Words of the figures for papers, in Japanese."""

WORDS = {
    "importance": "重要度",
    "fig_features": "特徴 {shown} / {total}",
    "fig_edges": "エッジ {shown} / {total}",
    "fig_edges_needed": "必要なエッジ {shown} / {needed}",
    "fig_share": "強さの {share}",
    "fig_kept": "{method}：{total} 中 {kept} を保持",
    "fig_required": "{method}：{required}（安定 {stable}）",
    "legend_size": "面積：重要度の平方根",
    "axis_rank": "特徴の順位",
    "axis_importance": "重要度（最大＝1）",
    "axis_edges": "残したエッジの数",
    "axis_features": "残した特徴の数",
    "axis_close_up": "拡大",
}
