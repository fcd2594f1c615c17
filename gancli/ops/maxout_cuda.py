"""The maxout layer on a GPU: csrc/cuda/maxout*.cu behind the functions that `gancli.ops.maxout` calls."""

from __future__ import annotations

import torch
from torch import Tensor

from gancli.ops import native

# The pieces of a unit lie in one tile of the kernel (csrc/cuda/maxout.h).
MOST_PIECES = 64


def forward(x: Tensor, weight: Tensor, bias: Tensor, y: Tensor, index: Tensor) -> None:
    """Write y (batch, units) and index (batch, units) uint8; all contiguous, on one GPU, nothing empty.

    Where the product is large enough for tensor cores it needs memory for both operands packed while it runs: 4 bytes a
    number as in float32, each row filled up to a multiple of 32 numbers, and a scale for each row.
    """
    module = native.require("_cuda", "gancli::maxout")
    shape = _shape(x, weight)
    with torch.cuda.device(x.device):
        workspace = x.new_empty(module.maxout_workspace_bytes(**shape), dtype=torch.uint8)
        module.maxout_forward(
            x=x.data_ptr(),
            weight=weight.data_ptr(),
            bias=bias.data_ptr(),
            **shape,
            y=y.data_ptr(),
            index=index.data_ptr(),
            workspace=workspace.data_ptr(),
            device=x.device.index,
            stream=torch.cuda.current_stream().cuda_stream,
        )


def backward(
    v_y: Tensor,
    index: Tensor,
    x: Tensor,
    weight: Tensor,
    v_x: Tensor | None,
    v_weight: Tensor | None,
    v_bias: Tensor | None,
) -> None:
    """Write the gradients that are not None from the cotangent v_y (batch, units); arguments as for `forward`."""
    module = native.require("_cuda", "gancli::maxout_backward")
    with torch.cuda.device(x.device):
        module.maxout_backward(
            v_y=v_y.data_ptr(),
            index=index.data_ptr(),
            x=x.data_ptr(),
            weight=weight.data_ptr(),
            **_shape(x, weight),
            v_x=native.address(v_x),
            v_weight=native.address(v_weight),
            v_bias=native.address(v_bias),
            device=x.device.index,
            stream=torch.cuda.current_stream().cuda_stream,
        )


def _shape(x: Tensor, weight: Tensor) -> dict[str, int]:
    (batch, inputs), (units, pieces, _) = x.shape, weight.shape
    return {"batch": batch, "in_": inputs, "units": units, "pieces": pieces}
