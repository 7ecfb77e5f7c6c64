"""Graphs: what converters of our own write with, and the inputs before a converted model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlops_magics.store.onnx import MISSING, Input

__all__ = ["ML", "Graph", "joined"]

ML = "ai.onnx.ml"
"""Domain of the operators of classical models."""

_OPSET = {"": 19, ML: 2}  # Equal takes text from 19 on
_WITH_TREES = 5  # skl2onnx knows versions up to 3
_IR = 10
_TENSORS = {
    "str": "STRING",
    "bool": "BOOL",
    "float64": "DOUBLE",
    "float32": "FLOAT",
    "int64": "INT64",
    "int32": "INT32",
}


class Graph:
    """The part of an ONNX graph that one operator becomes.

    Parameters
    ----------
    scope, operator, container : object
        As skl2onnx hands them to a converter.
    """

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        self.model = operator.raw_operator
        self._scope, self._operator, self._container = scope, operator, container

    @property
    def text(self) -> bool:
        """Whether the operator's inputs are text."""
        kinds = {_is_text(each) for each in self._operator.inputs}
        if len(kinds) > 1:
            raise NotImplementedError("text and numbers in one step")
        return kinds.pop()

    def matrix(self) -> str:
        """Return the name of all input columns as one matrix; numbers are double."""
        names = [
            each.full_name if self.text else self.double(each.full_name)
            for each in self._operator.inputs
        ]
        return names[0] if len(names) == 1 else self.node("Concat", *names, axis=1)

    def columns(self) -> list[tuple[str, bool]]:
        """Return names of the input columns, each of shape (n_rows, 1), and whether it is text."""
        found = []
        for each in self._operator.inputs:
            width = each.type.shape[1]
            if not isinstance(width, int):
                raise NotImplementedError("a number of columns that is not known")
            if width == 1:
                found.append((each.full_name, _is_text(each)))
                continue
            for index in range(width):
                place = self.constant(np.array([index]))
                column = self.node("Gather", each.full_name, place, axis=1)
                found.append((column, _is_text(each)))
        return found

    def double(self, name: str) -> str:
        """Return a tensor as double; nothing is computed when it is one."""
        from onnx import TensorProto

        return self.node("Cast", name, to=TensorProto.DOUBLE)

    def constant(self, values: Any) -> str:
        """Return the name of a constant: numbers as they are, or text."""
        from onnx import TensorProto, helper

        array = np.asarray(values)
        name = self._scope.get_unique_variable_name("constant")
        if array.dtype.kind in "OUT":
            kind, content = TensorProto.STRING, [str(each).encode() for each in array.reshape(-1)]
        else:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            content = array.reshape(-1).tolist()
        self._container.add_initializer(name, kind, list(array.shape), content)
        return str(name)

    def node(
        self,
        kind: str,
        *inputs: str,
        domain: str = "",
        version: int | None = None,
        output: str | None = None,
        **attributes: Any,
    ) -> str:
        """Add a node; return the name of its output."""
        output = output or str(self._scope.get_unique_variable_name(kind.lower()))
        self._container.add_node(
            kind,
            list(inputs),
            [output],
            op_domain=domain,
            op_version=version or _OPSET[domain],
            name=self._scope.get_unique_operator_name(kind),
            **attributes,
        )
        return output

    def give(self, name: str, index: int = 0) -> None:
        """Make a tensor the operator's output."""
        self.node("Identity", name, output=self._operator.outputs[index].full_name)

    def give_classes(self, probabilities: str) -> None:
        """Give the most probable class, and the probabilities."""
        classes = self.model.classes_
        if classes.dtype.kind == "b":
            classes = classes.astype(np.int64)
        best = self.node("ArgMax", probabilities, axis=1, keepdims=0)
        self.give(self.node("Gather", self.constant(classes), best, axis=0))
        self.give(probabilities, 1)


def _is_text(variable: Any) -> bool:
    from skl2onnx.common.data_types import StringTensorType

    return isinstance(variable.type, StringTensorType)


def joined(
    proto: Any, inputs: Sequence[Input], categories: Mapping[str, Any], precision: str
) -> Any:
    """Put a signature's inputs before a converted model.

    Parameters
    ----------
    proto : onnx.ModelProto
        Its inputs are columns, or one matrix of the same name as the only one of ``inputs``.
    inputs : sequence of Input
        As callers give them: one for each column, or a matrix.
    categories : mapping
        By column of text, those that are none of a missing value.
    precision : {"double", "single"}
        Of the numbers inside.
    """
    from onnx import TensorProto, helper

    graph = proto.graph
    versions: dict[str, int] = {}
    for each in proto.opset_import:
        versions[each.domain] = max(each.version, versions.get(each.domain, 1))
    if any(node.op_type == "TreeEnsemble" for node in graph.node):
        versions[ML] = _WITH_TREES
    before = []
    for each in inputs:
        kind = TensorProto.DOUBLE if precision == "double" else TensorProto.FLOAT
        if each.name in categories:
            versions[ML] = max(versions.get(ML, 1), 2)
            known = list(categories[each.name])
            # as pandas makes a missing value of what is no category
            before.append(
                helper.make_node(
                    "LabelEncoder",
                    [each.name],
                    [_inner(each.name)],
                    domain=ML,
                    keys_strings=known,
                    values_strings=known,
                    default_string=MISSING,
                )
            )
        elif each.kind == "str":
            before.append(helper.make_node("Identity", [each.name], [_inner(each.name)]))
        else:
            before.append(helper.make_node("Cast", [each.name], [_inner(each.name)], to=kind))
    (matrix,) = inputs if len(inputs) == 1 else (None,)
    if matrix is not None and [each.name for each in graph.input] != [matrix.name]:
        # one matrix for all, of which the model chooses columns
        count: dict[str, Any] = {"num_outputs": len(matrix.columns)} if versions[""] >= 18 else {}
        parts = [_inner(name) for name in matrix.columns]
        before.append(helper.make_node("Split", [_inner(matrix.name)], parts, axis=1, **count))
    after, outputs = [], []
    for each in graph.output:
        tensor = each.type.tensor_type
        if tensor.elem_type in (TensorProto.FLOAT, TensorProto.DOUBLE):
            # what skl2onnx declares is not always what its nodes give
            after.append(
                helper.make_node("Cast", [_inner(each.name)], [each.name], to=TensorProto.DOUBLE)
            )
            tensor.elem_type = TensorProto.DOUBLE
        outputs.append(each)
    inner = {name for node in before for name in node.output}
    inner |= {name for node in after for name in node.input}
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if _inner(name) in inner:
                    names[place] = _inner(name)
    values = [
        helper.make_tensor_value_info(
            each.name, getattr(TensorProto, _TENSORS[each.kind]), [None, len(each.columns)]
        )
        for each in inputs
    ]
    return helper.make_model(
        helper.make_graph(
            [*before, *graph.node, *after], "model", values, outputs, list(graph.initializer)
        ),
        opset_imports=[helper.make_opsetid(*each) for each in versions.items()],
        ir_version=_IR,
        producer_name="mlops_magics",
    )


def _inner(name: str) -> str:
    """Return the name inside the graph of what an input gives."""
    return f"{name} (inner)"
