"""The layers that the paper's networks are made of."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gancli.nets import initialise
from gancli.ops import dense, dropout, maxout, maxout_conv2d

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "linear": lambda x: x,
}


class WeightedLayer(nn.Module):
    """A layer with weights and biases.

    Attributes:
        incoming: the dimensions of `weight` along which one unit's incoming weights lie.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    incoming: tuple[int, ...] = (-1,)

    def bound_column_norm_(self, largest: float) -> None:
        """Scale down in place the units whose incoming weights exceed the L2 norm `largest`."""
        initialise.bound_column_norm_(self.weight, largest, self.incoming)


class Dense(WeightedLayer):
    """A fully connected layer, y = f(x·Wᵀ + b)."""

    def __init__(self, inputs: int, units: int, activation: str, backend: str = "auto") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(units, inputs))
        self.bias = nn.Parameter(torch.zeros(units))
        self.activation, self.backend = activation, backend

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs) to (batch, units)."""
        return dense(x, self.weight, self.bias, self.activation, backend=self.backend)


class Maxout(WeightedLayer):
    """A maxout layer, y_u = max_j (x·w_uj + b_uj).

    Source: Goodfellow et al. 2013, "Maxout Networks"; "240×5" is 240 units of 5 pieces.
    """

    def __init__(self, inputs: int, units: int, pieces: int, backend: str = "auto") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(units, pieces, inputs))
        self.bias = nn.Parameter(torch.zeros(units, pieces))
        self.backend = backend

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs) to (batch, units)."""
        return maxout(x, self.weight, self.bias, backend=self.backend)


class MaxoutConv2d(WeightedLayer):
    """A convolution, the maximum over the pieces of each channel, then over each pooling window.

    Windows that reach over the lower or right edge count (Pylearn2 pools to the end of the image), so a side of s
    becomes ⌈(s − pool)/stride⌉ + 1. One bias for each channel and piece.

    Source: cifar10_convolutional.yaml, MaxoutConvC01B.
    """

    incoming = (1, 2, 3)

    def __init__(
        self,
        inputs: int,
        channels: int,
        pieces: int,
        *,
        kernel: int,
        pad: int,
        pool: int,
        stride: int,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels * pieces, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels * pieces))
        self.pieces, self.pad, self.pool, self.stride, self.backend = pieces, pad, pool, stride, backend

    def output_side(self, side: int) -> int:
        """Return the height (or width) of the output for an input of height (or width) `side`."""
        convolved = side + 2 * self.pad - self.weight.shape[-1] + 1
        return math.ceil((convolved - self.pool) / self.stride) + 1 if convolved >= self.pool else 0

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in, height, width) to (batch, channels, pooled height, pooled width)."""
        return maxout_conv2d(
            x,
            self.weight,
            self.bias,
            pieces=self.pieces,
            pad=self.pad,
            pool=self.pool,
            stride=self.stride,
            backend=self.backend,
        )


class Deconv(WeightedLayer):
    """A transposed convolution with a bias of its own for every output value.

    Source: cifar10_convolutional.yaml, adversarial.deconv.Deconv with tied_b: 0.
    """

    incoming = (0, 2, 3)

    def __init__(
        self, shape: tuple[int, int, int], channels: int, activation: str, *, kernel: int, stride: int
    ) -> None:
        super().__init__()
        inputs, height, width = shape
        self.shape = (channels, (height - 1) * stride + kernel, (width - 1) * stride + kernel)
        self.weight = nn.Parameter(torch.zeros(inputs, channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(self.shape))
        self.stride, self.activation = stride, activation

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in, height, width) to (batch, channels, (height − 1)·stride + kernel, likewise)."""
        return _ACTIVATIONS[self.activation](F.conv_transpose2d(x, self.weight, stride=self.stride) + self.bias)


class Dropout(nn.Module):
    """Keep each value with probability `keep` and scale it by 1/keep; drop the rest. Only while training.

    Draws from `rng`, which the network shares among its layers, so that a checkpoint of that one generator's state
    repeats the masks.
    """

    def __init__(self, keep: float, backend: str = "auto") -> None:
        super().__init__()
        self.keep, self.backend = keep, backend
        self.rng: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return x·mask/keep, the shape of x."""
        if not self.training or self.keep == 1:
            return x
        return dropout(x, self.keep, self.rng, backend=self.backend)
