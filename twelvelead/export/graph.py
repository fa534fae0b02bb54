"""The ONNX graph of an ensemble: recorded for one member by torch's exporter, then joined for all of them.

    model = onnx_model(ensemble)        # an onnx.ModelProto

Recording a network takes torch ten seconds or more. The members of an ensemble differ in their weights alone, so one of
them is recorded, and the others are copies of its graph with other weights.

                       ┌ member 0 ┐
    signal → x, valid ─┼ …        ┼─ member_scores → mean → map → probabilities
                       └ member n ┘

The part before the members pads recordings to a multiple of 64 samples, the largest stride of any network, and rounds
them to half precision, as inference.predict does. The map is thresholds.probabilities.LogisticMap; a recipe that is not
calibrated has none.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import UserError
from ..inference.ensemble import Ensemble
from ..inference.predict import MULTIPLE
from ..thresholds.probabilities import NEAREST, LogisticMap
from .network import ExportableMember, check_exportable

if TYPE_CHECKING:  # an optional package
    import onnx

OPSET = 20  # version of ONNX's operations, the default of torch's exporter
INPUTS, OUTPUTS = ("signal", "valid", "metadata"), ("probabilities", "member_scores")
MEMBER_INPUTS, MEMBER_OUTPUT = ("x", "padded_valid", "metadata"), "scores"


def onnx_model(ensemble: Ensemble) -> onnx.ModelProto:
    """The model of an ensemble that was loaded by `load_ensemble(folder, accelerate=False)`.

    Raises
    ------
    UserError
        If its architecture uses an operation that ONNX does not have; the line names it.
    """
    (recipe,) = ensemble.recipe.parts
    architecture, channels = recipe.model, recipe.input.channels
    check_exportable(architecture)
    networks = [ExportableMember(model, recipe.input).eval() for model in ensemble.models]
    inputs = channels, recipe.input.metadata_numbers
    program = _recorded(_with_noise(networks[0]), *inputs, architecture)
    if _weights_of(networks[0]).keys() <= set(program.model.graph.initializers):
        members = []
        for network in networks:
            program.apply_weights(_weights_of(network))
            members.append(program.model_proto)
    else:  # the exporter has computed in advance what depends on weights alone, and has stored that instead of them
        members = [_recorded(network, *inputs, architecture).model_proto for network in networks]
    return _joined(members, *inputs, len(ensemble.classes.codes), ensemble.probabilities)


def _weights_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers that scores depend on; counts of batches are not among them."""
    return {name: tensor.contiguous() for name, tensor in network.state_dict().items() if tensor.is_floating_point()}


def _with_noise(network: torch.nn.Module) -> torch.nn.Module:
    """A copy with noise for weights, so that nothing of what is recorded rests on the value of a weight, such as 0."""
    network = copy.deepcopy(network)
    for values in network.state_dict().values():
        if values.is_floating_point():
            values.copy_(torch.rand_like(values) + 0.5)
    return network


def _recorded(network: torch.nn.Module, channels: int, metadata: int, architecture: str) -> torch.onnx.ONNXProgram:
    """A member's operations, with open numbers of recordings and of blocks of 64 samples."""
    batch = torch.export.Dim("batch", min=1, max=2**20)
    time = MULTIPLE * torch.export.Dim("blocks", min=1, max=2**20)
    # Numbers of their own for batch and blocks, since torch would take a size of 1 for one that never changes.
    example = (
        torch.randn(2, channels, 5 * MULTIPLE),
        torch.ones(2, 5 * MULTIPLE, dtype=torch.bool),
        torch.zeros(2, metadata),
    )
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                network,
                example,
                input_names=list(MEMBER_INPUTS),
                output_names=[MEMBER_OUTPUT],
                dynamic_shapes={"x": {0: batch, 2: time}, "valid": {0: batch, 1: time}, "metadata": {0: batch}},
                opset_version=OPSET,
                dynamo=True,
                optimize=False,  # which would compute in advance what depends on weights alone, and drop these weights
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(f"the architecture '{architecture}' cannot be exported: {_cause(error)}") from error
    assert program is not None  # only torch's older exporter returns nothing
    return program


def _cause(error: BaseException) -> str:
    """The first line of the innermost of the errors behind an error, which names the operation."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's remarks on torch's own code from the user, who can do nothing about them."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


# ------------------------------------------------------------------------------------------------------------- joining


def _joined(
    members: list[onnx.ModelProto], channels: int, metadata: int, classes: int, line: LogisticMap | None
) -> onnx.ModelProto:
    """One model of all members; see the first lines of this file."""
    import onnx
    from onnx.compose import add_prefix_graph

    nodes, constants = _input_nodes()
    scores = []
    for k, member in enumerate(members):
        prefix = f"member_{k:02d}/"
        graph = add_prefix_graph(member.graph, prefix, rename_inputs=False)
        nodes += graph.node
        constants += graph.initializer
        scores.append(prefix + MEMBER_OUTPUT)
    node = onnx.helper.make_node
    nodes += [
        node("Concat", scores, [OUTPUTS[1]], axis=0),
        node("ReduceMean", [OUTPUTS[1], "first_axis"], [OUTPUTS[0] if line is None else "mean"], keepdims=0),
    ]
    if line is not None:
        of_map, its_constants = _map_nodes(line)
        nodes += of_map
        constants += its_constants
    real, truth = onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "twelvelead",
        inputs=[
            value(INPUTS[0], real, ["batch", channels, "time"]),
            value(INPUTS[1], truth, ["batch", "time"]),
            value(INPUTS[2], real, ["batch", metadata]),
        ],
        outputs=[
            value(OUTPUTS[0], real, ["batch", classes]),
            value(OUTPUTS[1], real, [len(members), "batch", classes]),
        ],
        initializer=constants,
    )
    return onnx.helper.make_model(
        graph,
        opset_imports=members[0].opset_import,
        functions=members[0].functions,
        ir_version=members[0].ir_version,
        producer_name="twelvelead",
    )


def _map_nodes(line: LogisticMap) -> tuple[list[Any], list[Any]]:
    """The nodes that make probabilities of the mean, in double precision, and their constants."""
    import onnx

    node, number = onnx.helper.make_node, onnx.numpy_helper.from_array
    nodes = [
        node("Cast", ["mean"], ["precise"], to=onnx.TensorProto.DOUBLE),
        node("Clip", ["precise", "nearest_0", "nearest_1"], ["inside"]),
        node("Sub", ["one", "inside"], ["rest"]),
        node("Div", ["inside", "rest"], ["odds"]),
        node("Log", ["odds"], ["log_odds"]),
        node("Mul", ["log_odds", "slopes"], ["stretched"]),
        node("Add", ["stretched", "intercepts"], ["shifted"]),
        node("Sigmoid", ["shifted"], ["mapped"]),
        node("Cast", ["mapped"], [OUTPUTS[0]], to=onnx.TensorProto.FLOAT),
    ]
    constants = [
        number(np.array(NEAREST), "nearest_0"),
        number(np.array(1 - NEAREST), "nearest_1"),
        number(np.array(1.0), "one"),
        number(line.slopes, "slopes"),
        number(line.intercepts, "intercepts"),
    ]
    return nodes, constants


def _input_nodes() -> tuple[list[Any], list[Any]]:
    """The nodes that make the inputs of the members from those of the file, and the constants of all nodes."""
    import onnx

    node, number = onnx.helper.make_node, onnx.numpy_helper.from_array
    nodes = [
        node("Shape", ["signal"], ["time"], start=2, end=3),
        node("Neg", ["time"], ["minus_time"]),
        node("Mod", ["minus_time", "multiple"], ["lacking"]),  # from 0 to 63
        node("Concat", ["nothing", "lacking"], ["padding"], axis=0),  # before and after
        node("Pad", ["signal", "padding", "", "third_axis"], ["padded_signal"]),
        node("Pad", ["valid", "padding", "", "second_axis"], [MEMBER_INPUTS[1]]),
        node("Cast", ["padded_signal"], ["half"], to=onnx.TensorProto.FLOAT16),
        node("Cast", ["half"], ["rounded"], to=onnx.TensorProto.FLOAT),
        node("Unsqueeze", [MEMBER_INPUTS[1], "second_axis"], ["valid_of_channels"]),
        node("Where", ["valid_of_channels", "rounded", "silence"], [MEMBER_INPUTS[0]]),
    ]
    constants = [
        number(np.array([MULTIPLE]), "multiple"),
        number(np.array([0]), "nothing"),
        number(np.array([0]), "first_axis"),
        number(np.array([1]), "second_axis"),
        number(np.array([2]), "third_axis"),
        number(np.array(0, dtype=np.float32), "silence"),
    ]
    return nodes, constants
