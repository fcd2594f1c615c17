"""Layers and initialisation against hand-worked values and explicit loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from gancli.nets import (
    Deconv,
    Dense,
    Discriminator,
    Dropout,
    Generator,
    MaxoutConv2d,
    draw_noise,
    initialise,
    initialise_network,
)


def test_dense_is_the_activation_of_a_linear_map() -> None:
    layer = Dense(2, 2, "relu")
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [-1.0, 0.0]]))
        layer.bias.copy_(torch.tensor([0.5, 0.25]))
    assert layer(torch.tensor([[1.0, 1.0]])).tolist() == [[3.5, 0.0]]


def test_maxout_convolution_takes_pieces_then_windows_to_the_edge() -> None:
    layer = MaxoutConv2d(1, 1, 2, kernel=1, pad=0, pool=2, stride=2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))  # the two pieces: x and −x, so |x|
    image = torch.tensor([[[[1.0, -2.0, 3.0], [0.0, 0.0, -9.0], [-4.0, 5.0, 6.0]]]])
    assert layer(image).tolist() == [[[[2.0, 9.0], [5.0, 6.0]]]]  # windows over the edge count what is there
    assert layer.output_side(3) == 2


def test_deconvolution_adds_shifted_filters() -> None:
    layer = Deconv((1, 2, 2), 1, "linear", kernel=2, stride=1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
        layer.bias.copy_(torch.arange(9.0).view(1, 3, 3) * 100)
    out = layer(torch.tensor([[[[1.0, 0.0], [0.0, 10.0]]]]))
    # 1·filter at (0, 0) and 10·filter at (1, 1), on top of a bias of its own for each value
    assert out[0, 0].tolist() == [[1.0, 102.0, 200.0], [303.0, 414.0, 520.0], [600.0, 730.0, 840.0]]


def test_dropout_keeps_the_stated_share_and_scales_it() -> None:
    layer = Dropout(0.8)
    layer.rng = torch.Generator().manual_seed(1)
    x = torch.ones(1000, 100)
    y = layer(x)
    assert sorted(y.unique().tolist()) == [0.0, 1.25]
    kept = (y > 0).double().mean().item()
    assert abs(kept - 0.8) < 5 * math.sqrt(0.8 * 0.2 / x.numel())
    layer.eval()
    assert torch.equal(layer(x), x)


def test_dropout_gradient_is_its_mask() -> None:
    layer = Dropout(0.5)
    layer.rng = torch.Generator().manual_seed(1)
    x = torch.randn(4, 5, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad * x, y)


def test_discriminator_drops_at_the_input_of_every_layer() -> None:
    D = Discriminator("maxout 3x2, maxout 3x2, dense 1 sigmoid", (1, 2, 2), keep_input=0.8, keep_hidden=0.5)
    assert [layer.keep for layer in D.layers if isinstance(layer, Dropout)] == [0.8, 0.5, 0.5]


def test_discriminator_returns_logits() -> None:
    D = Discriminator("dense 1 sigmoid", (1, 2, 2))
    with torch.no_grad():
        D.weighted[0].weight.fill_(2.0)
        D.weighted[0].bias.fill_(1.0)
    assert D(torch.ones(3, 1, 2, 2)).tolist() == [9.0, 9.0, 9.0]


def test_generator_initialisation_follows_its_text() -> None:
    mean = torch.tensor([0.0, 0.25, 0.5, 1.0])
    G = Generator("dense 500 relu irange=0.05 bias=-2, dense out sigmoid sparse=7 bias=marginal", 50, (1, 2, 2))
    initialise_network(G, torch.Generator().manual_seed(3), mean)
    first, last = G.weighted
    assert first.weight.abs().max() <= 0.05
    assert first.weight.std().item() == pytest.approx(0.05 / math.sqrt(3), rel=0.05)
    assert torch.equal(first.bias, torch.full((500,), -2.0))
    assert (last.weight != 0).sum(dim=1).tolist() == [7, 7, 7, 7]
    # log(p/(1 − p)); an always-black or always-white pixel stays finite
    assert last.bias[1].item() == pytest.approx(-math.log(3))
    assert last.bias[2].item() == 0
    assert torch.isfinite(last.bias).all()
    assert torch.sigmoid(last.bias).tolist() == pytest.approx(mean.tolist(), abs=1e-6)


def test_biases_can_be_drawn() -> None:
    D = Discriminator("maxout 200x2 irange=0.1 brange=3, dense 1 sigmoid", (1, 1, 1))
    initialise_network(D, torch.Generator().manual_seed(3))
    bias = D.weighted[0].bias
    assert 2.9 < bias.max() <= 3
    assert bias.std().item() == pytest.approx(3 / math.sqrt(3), rel=0.1)


def test_same_seed_gives_same_weights_and_another_seed_others() -> None:
    nets = [Generator("dense out sigmoid", 5, (1, 2, 2)) for _ in range(3)]
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        initialise_network(net, torch.Generator().manual_seed(seed))
    first, same, other = (net.weighted[0].weight for net in nets)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("shape", "incoming"), [((5, 8), (-1,)), ((3, 2, 8), (-1,)), ((4, 2, 3, 3), (1, 2, 3))])
def test_column_norm_bound_scales_only_what_exceeds_it(shape: tuple[int, ...], incoming: tuple[int, ...]) -> None:
    weight = torch.randn(shape)
    before = weight.clone()
    initialise.bound_column_norm_(weight, 2.0, incoming)
    norms = before.double().square().sum(dim=incoming, keepdim=True).sqrt()
    expected = before * (norms.clamp(max=2.0) / norms)
    torch.testing.assert_close(weight.double(), expected, rtol=1e-6, atol=1e-7)
    assert (norms > 2).any()
    assert (norms < 2).any() or shape == (4, 2, 3, 3)


def test_column_norm_bound_leaves_zero_weights_zero() -> None:
    weight = torch.zeros(2, 3)
    initialise.bound_column_norm_(weight, 1.0, (-1,))
    assert torch.equal(weight, torch.zeros(2, 3))


def test_noise_has_the_stated_distribution() -> None:
    rng = torch.Generator().manual_seed(5)
    uniform = draw_noise("uniform", 20_000, 10, rng)
    assert uniform.abs().max() <= math.sqrt(3)
    assert uniform.var().item() == pytest.approx(1.0, abs=0.01)
    # the fourth moment tells uniform (9/5) from Gaussian (3)
    assert uniform.pow(4).mean().item() == pytest.approx(1.8, abs=0.02)
    gaussian = draw_noise("gaussian", 20_000, 10, rng)
    assert gaussian.var().item() == pytest.approx(1.0, abs=0.02)
    assert gaussian.pow(4).mean().item() == pytest.approx(3.0, abs=0.1)
    spherical = draw_noise("spherical", 100, 10, rng)
    torch.testing.assert_close(spherical.norm(dim=1), torch.ones(100))


def test_conv_preset_layers_agree_with_plain_torch_convolutions() -> None:
    layer = MaxoutConv2d(3, 4, 2, kernel=8, pad=4, pool=4, stride=2)
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
    x = torch.randn(2, 3, 32, 32)
    pieces = F.conv2d(x, layer.weight, layer.bias, padding=4)
    even_odd = torch.maximum(pieces[:, 0::2], pieces[:, 1::2])
    padded = F.pad(even_odd, (0, 1, 0, 1), value=-math.inf)  # 33 wide: the last window of 4 at 30 reaches 33
    windows = padded.unfold(2, 4, 2).unfold(3, 4, 2).amax(dim=(-2, -1))
    assert layer(x).shape == (2, 4, 16, 16)
    torch.testing.assert_close(layer(x), windows)
