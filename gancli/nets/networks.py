"""Generator and discriminator, built from the text that config.json holds."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gancli.errors import UsageError
from gancli.nets import initialise, layers, spec

Shape = tuple[int, int, int]  # channels, height, width


class Generator(nn.Module):
    """G(z): noise to images, a multilayer perceptron without dropout.

    Attributes:
        noise_dim: dimensions of z.
        shape: (channels, height, width) of an image.
    """

    def __init__(self, text: str, noise_dim: int, shape: Shape, backend: str = "auto") -> None:
        super().__init__()
        self.noise_dim, self.shape = noise_dim, shape
        self.text = spec.parse(text, role="generator")
        self.layers = nn.ModuleList()
        current: tuple[int, ...] = (noise_dim,)
        for layer in self.text:
            module, current = _build(layer, current, math.prod(shape), activation=layer.activation, backend=backend)
            self.layers.append(module)
        if math.prod(current) != math.prod(shape):
            raise UsageError(
                f"--generator ends with {math.prod(current)} values, an image has {math.prod(shape)} {shape}."
            )

    @property
    def weighted(self) -> list[layers.WeightedLayer]:
        """The layers that hold weights, in the order of the text."""
        return [layer for layer in self.layers if isinstance(layer, layers.WeightedLayer)]

    def forward(self, z: Tensor) -> Tensor:
        """Map z (batch, noise_dim) to x (batch, channels, height, width)."""
        for layer in self.layers:
            z = layer(z)
        return z.reshape(-1, *self.shape)


class Discriminator(nn.Module):
    """D(x): the logit of the probability that x comes from the data, with dropout at the input of every layer.

    In train() mode dropout is on, in eval() mode off; eval() needs no rescaling, since kept values are scaled up.
    """

    def __init__(
        self, text: str, shape: Shape, *, keep_input: float = 1.0, keep_hidden: float = 1.0, backend: str = "auto"
    ) -> None:
        super().__init__()
        self.text = spec.parse(text, role="discriminator")
        self.layers = nn.ModuleList()
        current: tuple[int, ...] = shape
        for number, layer in enumerate(self.text):
            if layer.kind != "conv-maxout" and len(current) > 1:
                self.layers.append(nn.Flatten())
                current = (math.prod(current),)
            self.layers.append(layers.Dropout(keep_hidden if number else keep_input, backend))
            # The last layer's sigmoid belongs to the losses, which need its logit to be exact where D is sure.
            logit = number == len(self.text) - 1
            module, current = _build(
                layer, current, 1, activation="linear" if logit else layer.activation, backend=backend
            )
            self.layers.append(module)

    @property
    def weighted(self) -> list[layers.WeightedLayer]:
        """The layers that hold weights, in the order of the text."""
        return [layer for layer in self.layers if isinstance(layer, layers.WeightedLayer)]

    def share_rng(self, rng: torch.Generator) -> None:
        """Let all dropout masks come from `rng`, which must be on the network's device."""
        for layer in self.layers:
            if isinstance(layer, layers.Dropout):
                layer.rng = rng

    def forward(self, x: Tensor) -> Tensor:
        """Map x (batch, channels, height, width) to logits (batch,): D(x) = sigmoid(logit)."""
        for layer in self.layers:
            x = layer(x)
        return x.squeeze(1)


def initialise_network(network: Generator | Discriminator, rng: torch.Generator, mean: Tensor | None = None) -> None:
    """Draw a network's initial weights as its text says: irange or sparse, bias a number or marginal.

    Args:
        network: changed in place.
        rng: a CPU generator; the same seed gives the same weights on every device.
        mean: (values,) training mean of every pixel in [0, 1], for bias=marginal.
    """
    specified = [layer for layer in network.text if layer.kind != "reshape"]
    for layer, module in zip(specified, network.weighted, strict=True):
        if "sparse" in layer.options:
            initialise.sparse_(module.weight, int(layer.number("sparse")), rng)
        else:
            initialise.uniform_(module.weight, layer.number("irange", spec.DEFAULT_IRANGE), rng)
        bias = layer.options.get("bias", 0.0)
        with torch.no_grad():
            if "brange" in layer.options:
                initialise.uniform_(module.bias, layer.number("brange"), rng)
            elif bias != "marginal":
                module.bias.fill_(float(bias))
            elif mean is None or mean.numel() != module.bias.numel():
                raise UsageError(
                    f"Layer {str(layer)!r}: bias=marginal needs one unit for each pixel, values in [0, 1]."
                )
            else:
                module.bias.copy_(initialise.marginal_bias(mean).reshape(module.bias.shape))


def _build(
    layer: spec.Layer, current: tuple[int, ...], out: int, *, activation: str, backend: str
) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the module of one layer and the shape it puts out, given the shape that reaches it."""

    def number(name: str) -> int:
        return int(layer.number(name))

    size = tuple(out if part == spec.OUT else part for part in layer.size)
    if layer.kind == "dense":
        return layers.Dense(math.prod(current), size[0], activation, backend), size
    if layer.kind == "maxout":
        return layers.Maxout(math.prod(current), size[0], size[1], backend), size[:1]
    if layer.kind == "reshape":
        if math.prod(current) != math.prod(size):
            raise UsageError(f"Layer {str(layer)!r} takes {math.prod(size)} values, {math.prod(current)} reach it.")
        return nn.Unflatten(1, size), size
    if layer.kind not in ("conv-maxout", "deconv"):
        raise UsageError(f"Layer {str(layer)!r} must be replaced by the pretrained run's layers first.")
    if len(current) != 3:
        raise UsageError(f"Layer {str(layer)!r} needs channels, height and width; {current} reaches it.")
    channels, height, width = current
    if layer.kind == "deconv":
        deconv = layers.Deconv(
            (channels, height, width), size[0], activation, kernel=number("kernel"), stride=number("stride")
        )
        return deconv, deconv.shape
    conv = layers.MaxoutConv2d(
        channels,
        *size,
        kernel=number("kernel"),
        pad=number("pad"),
        pool=number("pool"),
        stride=number("stride"),
        backend=backend,
    )
    if min(conv.output_side(height), conv.output_side(width)) < 1:
        raise UsageError(
            f"Layer {str(layer)!r} leaves nothing of a {height}×{width} input; images are too small for it."
        )
    return conv, (size[0], conv.output_side(height), conv.output_side(width))
