"""Words that every topic may use, in Japanese."""

WORDS = {
    "language": "日本語",
    "scrolls": "{title}（横にスクロールできます）",
    "none_passes": "該当なし",
    "panels_shown": "{total} 枚のうち、最初の {shown} 枚を示します。",
    # legends of pictures
    "legend_base": "モデル本来のスコア",
    "legend_allowed": "許容する悪化",
    "legend_required": "必要数：二分探索",
    "legend_stable": "必要数：安定",
    "legend_positive": "平均して相手を上げる",
    "legend_negative": "平均して相手を下げる",
    "legend_strength": "太さ：強さの平方根",
    "legend_hollow": "線を描いていない特徴",
    # names of methods, metrics and statistics; what has none keeps its own
    "method_lib": "LIB",
    "method_pca": "PCA",
    "method_neuron": "ニューロン",
    "method_global": "グローバル",
    "method_sparse": "疎な LIB",
    "method_random": "無作為に回転した LIB",
    "method_unnamed": "名前のない基底",
    "metric_accuracy": "正解率",
    "metric_cross_entropy": "交差エントロピー",
    "metric_mse": "平均二乗誤差",
    "metric_output_mse": "出力の平均二乗変化",
    "statistic_correlation": "相関",
    "statistic_share of variance": "分散に占める割合",
    # what a statistic suggests
    "suggests_class": "クラス {value}",
    "suggests_token": "トークン『{value}』",
    "suggests_column": "列 {value}",
    "suggests_frequency": "周波数 {value}",
    "suggests_output": "出力 {value}",
    "low_end": "{name}（低い側）",
    # grammar
    "quote": "「{text}」",
    "reference": "{name}（{id}）",
    "and": "と",
    "comma": "、",
    "space": "",
}
