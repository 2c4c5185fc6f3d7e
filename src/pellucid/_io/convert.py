"""A torch module as an OpenVINO model."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

_one_at_a_time = threading.Lock()  # two threads in OpenVINO's frontend end in "Check 'false' failed"


def convert(module: nn.Module, example: Tensor) -> Any:
    """Convert a module to an ``openvino.Model`` for batches of any size.

    By OpenVINO's frontend: ``openvino.convert_model`` would do the same and report to its maker.

    Args:
        module: takes images (B, 3, H, W).
        example: images of the size that the model will take, any number of them.

    Raises:
        RuntimeError: OpenVINO has no rule for an operation of the module.
    """
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    frontend = FrontEndManager().load_by_framework("pytorch")
    with _one_at_a_time, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # its own, about sizes that are constants here
        unchecked = {"check_trace": False}  # it would run twice more and import half of torch, a second of every start
        decoder = TorchScriptPythonDecoder(module, example_input=example, trace_kwargs=unchecked)  # kept until the end
        model = frontend.convert(frontend.load(decoder))
    model.reshape([-1, *example.shape[1:]])
    return model
