"""Options that commands share, and the ones that derive from the configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import click

from gancli.config import Config, field_type, option_name

F = TypeVar("F", bound=Callable[..., Any])

# Of fields whose default is no value of their own.
_DEFAULTS_IN_WORDS = {
    "data_dir": "$GANCLI_DATA, else ./data, else ~/.cache/gancli",
    "max_column_norm": "no bound",
    "max_gradient_norm": "no bound",
}
_FIELDS = {declared.name: declared for declared in dataclasses.fields(Config)}


def config_options(*names: str, **defaults: str) -> Callable[[F], F]:
    """Add the options of some configuration fields; each is None unless given, so that presets keep their say.

    Args:
        names: of the fields.
        defaults: what help says is a field's default, where that is not the field's own.
    """

    def decorate(command: F) -> F:
        for name in reversed(names):
            command = _config_option(_FIELDS[name], defaults.get(name))(command)
        return command

    return decorate


def _config_option(declared: dataclasses.Field[Any], default: str | None = None) -> Callable[[F], F]:
    kind, _ = field_type(declared)
    rules = declared.metadata
    metavar = rules["metavar"] or {int: "N", float: "X", str: "NAME"}[kind]
    if rules["choices"]:
        metavar = "|".join(rules["choices"])
    # Values are checked by Config, once, for options and files alike; click only turns text into numbers.
    return click.option(
        option_name(declared.name),
        declared.name,
        type=kind,
        default=None,
        metavar=metavar,
        envvar={"data_dir": "GANCLI_DATA"}.get(declared.name),
        help=_help(declared, default),
    )


def _help(declared: dataclasses.Field[Any], default: str | None = None) -> str:
    """Return the sentence on a field and its default."""
    text = declared.metadata["text"]
    return f"{text[0].upper()}{text[1:]}.{_default(declared) if default is None else f'  [{default}]'}"


def _default(declared: dataclasses.Field[Any]) -> str:
    if declared.name in _DEFAULTS_IN_WORDS:
        return f"  [{_DEFAULTS_IN_WORDS[declared.name]}]"
    if declared.default is None or declared.name in ("preset", "dataset"):
        return ""
    text = f"{declared.default:g}" if isinstance(declared.default, float) and declared.default < 1 else declared.default
    return f"  [{text}]"


def config_fields(*groups: str) -> list[str]:
    """Return the names of the fields of some groups, in the order of declaration."""
    return [name for name, declared in _FIELDS.items() if declared.metadata["group"] in groups]


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
device_option = click.option("--device", default="auto", metavar="NAME", help=_help(_FIELDS["device"]))
backend_option = click.option("--backend", default="auto", metavar="auto|torch|native", help=_help(_FIELDS["backend"]))
data_dir_option = click.option("--data-dir", metavar="DIR", envvar="GANCLI_DATA", help=_help(_FIELDS["data_dir"]))
