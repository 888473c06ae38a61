import pytest

from report.synthetic import make_edge_ablation, make_graph, make_node_ablation


@pytest.fixture(scope="session")
def lib():
    return make_graph()


@pytest.fixture(scope="session")
def pca():
    return make_graph(sizes=(114, 40, 88, 114), method="pca")


@pytest.fixture(scope="session")
def edge_ablations(lib, pca):
    return [
        make_edge_ablation(lib, (133, 82, 633), (151, 127, 702)),
        make_edge_ablation(pca, (142, 114, 682), (149, 163, 777)),
    ]


@pytest.fixture(scope="session")
def node_ablations(lib, pca):
    return [make_node_ablation(lib), make_node_ablation(pca)]
