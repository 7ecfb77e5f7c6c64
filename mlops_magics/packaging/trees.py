"""Trees: scikit-learn's ensembles as ONNX's TreeEnsemble, whose thresholds and sums are double.

The operators that skl2onnx writes round thresholds to 32 bits, so that a value between a threshold
and its rounding takes the other branch. ``TreeEnsemble`` (ai.onnx.ml 5) has double ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlops_magics.packaging.graph import ML, Graph

__all__ = ["converters"]

_SUM = 1


@dataclass
class _Forest:
    """Attributes of a TreeEnsemble in the making.

    Each leaf adds its weight to one target.
    """

    features: list[int] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    missing_left: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    left_is_leaf: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    right_is_leaf: list[int] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)

    def add(
        self,
        left: Any,
        right: Any,
        feature: Any,
        threshold: Any,
        missing_left: Any,
        leaf: Any,
        weights: Any,
        target: int,
    ) -> None:
        """Add a tree given as arrays with one entry for each node, of which the first is the root.

        ``x <= threshold`` goes left.
        """
        inner, leaves = np.flatnonzero(~leaf), np.flatnonzero(leaf)
        place = np.empty(len(leaf), dtype=np.int64)
        place[inner] = len(self.features) + np.arange(len(inner))
        place[leaves] = len(self.weights) + np.arange(len(leaves))
        self.roots.append(len(self.features))
        self.weights += np.asarray(weights, dtype=float)[leaves].tolist()
        self.targets += [target] * len(leaves)
        if not len(inner):  # a tree is at least one question
            self._ask([0], [0.0], [0], place[[0]], [1], place[[0]], [1])
            return
        left, right = np.asarray(left)[inner], np.asarray(right)[inner]
        self._ask(
            np.asarray(feature)[inner],
            np.asarray(threshold)[inner],
            np.asarray(missing_left)[inner],
            place[left],
            leaf[left],
            place[right],
            leaf[right],
        )

    def _ask(self, *columns: Any) -> None:
        lists = (
            self.features,
            self.thresholds,
            self.missing_left,
            self.left,
            self.left_is_leaf,
            self.right,
            self.right_is_leaf,
        )
        for found, values in zip(lists, columns, strict=True):
            found += np.asarray(values).tolist()

    def node(self, graph: Graph, rows: str, targets: int) -> str:
        """Add the ensemble to a graph; return the name of its sums, (n_rows, targets)."""
        from onnx import numpy_helper

        count = len(self.features)
        return graph.node(
            "TreeEnsemble",
            rows,
            domain=ML,
            aggregate_function=_SUM,
            post_transform=0,
            n_targets=targets,
            tree_roots=self.roots,
            nodes_modes=numpy_helper.from_array(np.zeros(count, dtype=np.uint8), "modes"),
            nodes_featureids=self.features,
            nodes_splits=numpy_helper.from_array(np.array(self.thresholds), "splits"),
            nodes_missing_value_tracks_true=[int(each) for each in self.missing_left],
            nodes_truenodeids=self.left,
            nodes_trueleafs=[int(each) for each in self.left_is_leaf],
            nodes_falsenodeids=self.right,
            nodes_falseleafs=[int(each) for each in self.right_is_leaf],
            leaf_targetids=self.targets,
            leaf_weights=numpy_helper.from_array(np.array(self.weights), "weights"),
        )


def _add_tree(forest: _Forest, tree: Any, weights: Any, target: int) -> None:
    nodes = tree.__getstate__()["nodes"]
    forest.add(
        nodes["left_child"],
        nodes["right_child"],
        nodes["feature"],
        nodes["threshold"],
        nodes["missing_go_to_left"],
        nodes["left_child"] < 0,
        weights,
        target,
    )


def _single(graph: Graph) -> str:
    """Return the rows rounded to single precision, as these trees see them."""
    from onnx import TensorProto

    return graph.double(graph.node("Cast", graph.matrix(), to=TensorProto.FLOAT))


def _mean_of(graph: Graph, trees: list[Any]) -> str:
    """Return the trees' mean answers; one tree's leaf holds a distribution or a value."""
    width = trees[0].value.shape[2]
    if trees[0].value.shape[1] != 1:
        raise NotImplementedError("several targets")
    rows = _single(graph)
    forest = _Forest()
    if width <= 2:
        for tree in trees:
            _add_tree(forest, tree, tree.value[:, 0, -1], 0)
        total = forest.node(graph, rows, 1)
        mean = graph.node("Div", total, graph.constant(np.array([float(len(trees))])))
        if width == 1:
            return mean
        other = graph.node("Sub", graph.constant(np.array([1.0])), mean)
        return graph.node("Concat", other, mean, axis=1)
    # a leaf adds to one target only: the trees give the leaf's number, a table its distribution
    from onnx import TensorProto

    table: list[Any] = []
    for index, tree in enumerate(trees):
        leaves = np.flatnonzero(tree.children_left < 0)
        numbers = np.zeros(tree.node_count)
        numbers[leaves] = len(table) + np.arange(len(leaves))
        table += tree.value[leaves, 0, :].tolist()
        _add_tree(forest, tree, numbers, index)
    found = forest.node(graph, rows, len(trees))
    reached = graph.node("Cast", found, to=TensorProto.INT64)
    answers = graph.node("Gather", graph.constant(np.array(table)), reached, axis=0)
    total = graph.node("ReduceSum", answers, graph.constant(np.array([1])), keepdims=0)
    return graph.node("Div", total, graph.constant(np.array([float(len(trees))])))


def _trees_of(model: Any) -> list[Any]:
    if getattr(model, "n_outputs_", 1) != 1:
        raise NotImplementedError("several targets")
    return [each.tree_ for each in getattr(model, "estimators_", [model])]


def _forest_classifier(scope: Any, operator: Any, container: Any) -> None:
    graph = Graph(scope, operator, container)
    trees = _trees_of(graph.model)
    if len(graph.model.classes_) == 1:
        raise NotImplementedError("a single class")
    graph.give_classes(_mean_of(graph, trees))


def _forest_regressor(scope: Any, operator: Any, container: Any) -> None:
    graph = Graph(scope, operator, container)
    graph.give(_mean_of(graph, _trees_of(graph.model)))


def _link(graph: Graph, raw: str) -> str:
    """Return probabilities of a boosted classifier's raw scores."""
    loss = type(graph.model._loss).__name__
    if loss == "HalfMultinomialLoss":
        return graph.node("Softmax", raw, axis=1)
    if loss == "ExponentialLoss":
        raw = graph.node("Mul", raw, graph.constant(np.array([2.0])))
    elif loss != "HalfBinomialLoss":
        raise NotImplementedError(f"the loss {loss}")
    positive = graph.node("Sigmoid", raw)
    other = graph.node("Sub", graph.constant(np.array([1.0])), positive)
    return graph.node("Concat", other, positive, axis=1)


def _boosted_raw(graph: Graph) -> str:
    """Return the raw scores of gradient boosting."""
    model = graph.model
    if model.init_ != "zero" and not type(model.init_).__name__.startswith("Dummy"):
        raise NotImplementedError(f"init={type(model.init_).__name__}")
    first = model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32))
    forest = _Forest()
    for stage in model.estimators_:
        for target, each in enumerate(stage):
            _add_tree(forest, each.tree_, model.learning_rate * each.tree_.value[:, 0, 0], target)
    total = forest.node(graph, _single(graph), model.estimators_.shape[1])
    return graph.node("Add", total, graph.constant(np.asarray(first, dtype=float)))


def _histogram_raw(graph: Graph) -> str:
    """Return the raw scores of histogram-based gradient boosting."""
    model = graph.model
    if model.is_categorical_ is not None:
        raise NotImplementedError("categorical_features")
    forest = _Forest()
    for stage in model._predictors:
        for target, each in enumerate(stage):
            nodes = each.nodes
            forest.add(
                nodes["left"],
                nodes["right"],
                nodes["feature_idx"],
                nodes["num_threshold"],
                nodes["missing_go_to_left"],
                nodes["is_leaf"].astype(bool),
                nodes["value"],
                target,
            )
    targets = len(model._predictors[0])
    total = forest.node(graph, graph.matrix(), targets)
    base = np.asarray(model._baseline_prediction, dtype=float).reshape(1, targets)
    return graph.node("Add", total, graph.constant(base))


def _boosted_classifier(scope: Any, operator: Any, container: Any) -> None:
    graph = Graph(scope, operator, container)
    graph.give_classes(_link(graph, _boosted_raw(graph)))


def _boosted_regressor(scope: Any, operator: Any, container: Any) -> None:
    graph = Graph(scope, operator, container)
    graph.give(_boosted_raw(graph))


def _histogram_classifier(scope: Any, operator: Any, container: Any) -> None:
    graph = Graph(scope, operator, container)
    graph.give_classes(_link(graph, _histogram_raw(graph)))


def _histogram_regressor(scope: Any, operator: Any, container: Any) -> None:
    graph = Graph(scope, operator, container)
    raw = _histogram_raw(graph)
    link = type(graph.model._loss.link).__name__
    if link == "LogLink":  # poisson, gamma
        raw = graph.node("Exp", raw)
    elif link != "IdentityLink":
        raise NotImplementedError(f"the link {link}")
    graph.give(raw)


def _classifier_shapes(operator: Any) -> None:
    from skl2onnx.common import data_types

    model, rows = operator.raw_operator, operator.inputs[0].get_first_dimension()
    kind = {"O": "String", "U": "String", "T": "String", "f": "Double"}.get(
        model.classes_.dtype.kind, "Int64"
    )
    operator.outputs[0].type = getattr(data_types, f"{kind}TensorType")([rows])
    operator.outputs[1].type = data_types.DoubleTensorType([rows, len(model.classes_)])


def _regressor_shapes(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType

    operator.outputs[0].type = DoubleTensorType([operator.inputs[0].get_first_dimension(), 1])


def converters() -> dict[type, tuple[Any, Any]]:
    """Return converter and shape calculator by estimator's type."""
    from sklearn import ensemble, tree

    return {
        tree.DecisionTreeClassifier: (_forest_classifier, _classifier_shapes),
        tree.ExtraTreeClassifier: (_forest_classifier, _classifier_shapes),
        ensemble.RandomForestClassifier: (_forest_classifier, _classifier_shapes),
        ensemble.ExtraTreesClassifier: (_forest_classifier, _classifier_shapes),
        ensemble.GradientBoostingClassifier: (_boosted_classifier, _classifier_shapes),
        ensemble.HistGradientBoostingClassifier: (_histogram_classifier, _classifier_shapes),
        tree.DecisionTreeRegressor: (_forest_regressor, _regressor_shapes),
        tree.ExtraTreeRegressor: (_forest_regressor, _regressor_shapes),
        ensemble.RandomForestRegressor: (_forest_regressor, _regressor_shapes),
        ensemble.ExtraTreesRegressor: (_forest_regressor, _regressor_shapes),
        ensemble.GradientBoostingRegressor: (_boosted_regressor, _regressor_shapes),
        ensemble.HistGradientBoostingRegressor: (_histogram_regressor, _regressor_shapes),
    }
