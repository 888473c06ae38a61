import pytest

from libasis.evaluate import Bootstrap, summarise

B = 40


def result(edges, *, nodes=3, spread=0):
    replicates = [edges + spread * (i % 2) if edges is not None else None for i in range(B)]
    row = {"section": "a", "to": "b", "edges_total": 50, "edges_required": edges, "edges_required_stable": edges}
    node = {"site": "a", "d": 5, "k": 4, "recovered": {}, "features_required_stable": nodes}
    return {
        "metric": "accuracy",
        "base_score": 0.9,
        "samples": 7,
        "edges": [row],
        "nodes": [node],
        "sites": [{"site": "a", "k": 4, "kurtosis": 3.0}],
        "replicates": {"edges": {"a": replicates}, "nodes": {"a": [nodes] * B}},
        "cpu_seconds": {"fit": 1.0, "edges": 2.0},
    }


def rows(summary, kind):
    return {row["method"]: row for row in summary[kind]}


def test_means_ratios_and_intervals_over_models():
    runs = {"0": {"lib": result(10), "pca": result(20)}, "1": {"lib": result(20), "pca": result(40)}}
    found = rows(summarise(runs, Bootstrap(B)), "edges")
    assert (found["lib"]["mean"], found["lib"]["low"], found["lib"]["high"]) == (15, 10, 20)
    assert found["lib"]["counts"] == [10, 20]
    assert (found["lib"]["ratio"], found["lib"]["ratio_low"], found["lib"]["ratio_high"]) == (0.5, 0.5, 0.5)
    assert found["pca"]["ratio"] is None
    assert found["lib"]["edges_total"] == 50


def test_samples_alone_give_an_interval_for_one_model():
    found = rows(summarise({"0": {"lib": result(10, spread=2)}}, Bootstrap(B)), "edges")["lib"]
    assert (found["models"], found["mean"], found["low"], found["high"]) == (1, 10, 10, 12)


def test_a_control_on_one_model_is_compared_with_pca_on_that_model():
    runs = {"0": {"pca": result(20), "neuron": result(40)}, "1": {"pca": result(1000)}}
    found = rows(summarise(runs, Bootstrap(B)), "edges")
    assert found["neuron"]["models"] == 1
    assert found["neuron"]["ratio"] == 2
    assert found["pca"]["models"] == 2


def test_where_no_count_passes_there_is_no_mean():
    found = rows(summarise({"0": {"lib": result(10), "pca": result(None)}}, Bootstrap(B)), "edges")
    assert found["pca"]["mean"] is None
    assert found["pca"]["high"] is None
    assert found["lib"]["ratio"] is None
    assert found["lib"]["ratio_high"] == 0  # a finite count against none


def test_models_sites_and_seconds():
    found = summarise({"0": {"lib": result(1)}, "1": {"lib": result(2)}}, Bootstrap(B))
    assert found["models"][0] == {"model": "0", "metric": "accuracy", "base_score": 0.9, "samples": 7}
    assert found["sites"] == [{"site": "a", "method": "lib", "models": 2, "k": 4.0, "kurtosis": 3.0}]
    assert found["cpu_seconds"] == {"lib": pytest.approx(6)}
