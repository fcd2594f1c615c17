"""Networks as text: one line of words per layer, so that a run's whole architecture reads in its config.json.

    dense SIZE ACTIVATION [irange=] [sparse=] [bias=] [brange=]    SIZE a number, or "out" for the data's size
    maxout UNITSxPIECES [irange=] [bias=] [brange=]
    conv-maxout CHANNELSxPIECES kernel= [pad=] pool= stride= [irange=]
    reshape CHANNELSxHEIGHTxWIDTH
    deconv CHANNELS ACTIVATION kernel= stride= [irange=]   transposed convolution, a bias per output value
    pretrained                                             all layers of another run's generator

irange=r draws weights uniformly from [-r, r], brange=r biases; sparse=n gives each unit n weights from N(0, 1); bias=b
is the same for all units, bias=marginal the logit of the training mean. Layers are separated by commas. Nothing here
needs torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gancli.errors import UsageError

ACTIVATIONS = ("relu", "sigmoid", "tanh", "linear")

# kind -> (numbers in its size, has an activation, options it must have, options it may have)
_KINDS: dict[str, tuple[int, bool, tuple[str, ...], tuple[str, ...]]] = {
    "dense": (1, True, (), ("irange", "sparse", "bias", "brange")),
    "maxout": (2, False, (), ("irange", "bias", "brange")),
    "conv-maxout": (2, False, ("kernel", "pool", "stride"), ("pad", "irange")),
    "reshape": (3, False, (), ()),
    "deconv": (1, True, ("kernel", "stride"), ("irange",)),
    "pretrained": (0, False, (), ()),
}
_ROLES = {
    "generator": ("dense", "maxout", "reshape", "deconv", "pretrained"),
    "discriminator": ("dense", "maxout", "conv-maxout"),
}
_WHOLE_NUMBERS = ("kernel", "pad", "pool", "stride", "sparse")
_Wrong = Callable[[str], UsageError]
DEFAULT_IRANGE = 0.05  # of layers whose text names neither irange nor sparse
OUT = -1  # a size that the data set determines


@dataclass(frozen=True)
class Layer:
    """One layer as parsed.

    Attributes:
        kind: a word of the grammar above.
        size: its numbers; OUT stands for the data's size.
        activation: relu, sigmoid, tanh or linear; empty where the kind has none.
        options: irange, bias and the like; bias="marginal" is kept as a word.
    """

    kind: str
    size: tuple[int, ...] = ()
    activation: str = ""
    options: dict[str, float | str] = field(default_factory=dict)

    def number(self, name: str, default: float = 0.0) -> float:
        """Return a numeric option."""
        return float(self.options.get(name, default))

    def __str__(self) -> str:
        """Return the layer in the grammar it is parsed from."""
        size = "x".join("out" if part == OUT else str(part) for part in self.size)
        options = [
            f"{name}={value:.10g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in self.options.items()
        ]
        return " ".join(filter(None, [self.kind, size, self.activation, *options]))


def parse(text: str, *, role: str) -> tuple[Layer, ...]:
    """Parse a network.

    Args:
        text: layers in the grammar above, separated by commas.
        role: "generator" or "discriminator", which decides the layers that may stand in it.

    Raises:
        UsageError: a word is unknown or missing; the message quotes the layer.
    """
    layers = tuple(_parse_layer(part.strip(), role) for part in text.split(","))
    last = layers[-1]
    if role == "discriminator" and (last.kind, last.size, last.activation) != ("dense", (1,), "sigmoid"):
        raise UsageError(f"--discriminator must end with 'dense 1 sigmoid', got {str(last)!r}.")
    return layers


def render(layers: tuple[Layer, ...]) -> str:
    """Return the text that parses to `layers`."""
    return ", ".join(map(str, layers))


def _parse_layer(text: str, role: str) -> Layer:
    def wrong(what: str) -> UsageError:
        return UsageError(f"--{role}, layer {text!r}: {what}.")

    kind, *words = text.split() or [""]
    if kind not in _ROLES[role]:
        raise wrong(f"expected one of {', '.join(_ROLES[role])} as the first word, got {kind!r}")
    numbers, activated, required, optional = _KINDS[kind]
    size = _parse_size(words.pop(0) if numbers and words else "", numbers, wrong)
    activation = words.pop(0) if activated and words else ""
    if activated and activation not in ACTIVATIONS:
        raise wrong(f"expected an activation ({', '.join(ACTIVATIONS)}) after the size, got {activation!r}")
    options = dict(_parse_option(word, required + optional, wrong) for word in words)
    for name in required:
        if name not in options:
            raise wrong(f"{name}= is missing")
    return Layer(kind, size, activation, options)


def _parse_size(text: str, numbers: int, wrong: _Wrong) -> tuple[int, ...]:
    if numbers == 0:
        return ()
    if text == "out" and numbers == 1:
        return (OUT,)
    parts = text.split("x")
    if len(parts) != numbers or not all(map(_is_size, parts)):
        form = {1: "1200 (or out)", 2: "240x5", 3: "80x10x10"}[numbers]
        raise wrong(f"expected a size such as {form}, got {text!r}")
    return tuple(int(part) for part in parts)


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 7 and int(text) > 0


def _parse_option(word: str, allowed: tuple[str, ...], wrong: _Wrong) -> tuple[str, float | str]:
    name, equals, text = word.partition("=")
    if not equals or name not in allowed:
        raise wrong(f"unknown word {word!r}; options here are {', '.join(f'{a}=' for a in allowed) or 'none'}")
    if (name, text) == ("bias", "marginal"):
        return name, text
    try:
        value = float(text)
    except ValueError:
        raise wrong(f"{name}= must be a number, got {text!r}") from None
    least = 1 if name in _WHOLE_NUMBERS and name != "pad" else 0
    if name != "bias" and not least <= value < 1e6:
        raise wrong(f"{name}= must be at least {least}, got {text}")
    if abs(value) > 1e6 or value != value or (name in _WHOLE_NUMBERS and value != int(value)):
        raise wrong(f"{name}= must be a {'whole number' if name in _WHOLE_NUMBERS else 'moderate number'}, got {text}")
    return name, value
