"""Results as Markdown tables, ready to be kept beside the code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gancli.reproduce.baselines import BASELINES
from gancli.reproduce.context import CURVE_SAMPLES
from gancli.reproduce.results import model_of
from gancli.reproduce.starts import chosen_from, fate, starts_in_words
from gancli.reproduce.timing import in_words


def table1_markdown(result: Mapping[str, Any]) -> str:
    """Return result.md of a Table 1 row with its seeds and its context."""
    published = [(f"{row['model']}, the paper's table", row["text"], "", "") for row in result["published"]]
    ours = (
        f"**`{model_of(result)}`, {_seeds(result)}**",
        f"**{_figure(result)}**",
        "" if result["spread"] is None else f"± {result['spread']:.1f} over seeds",
        _nats(result["refined_log_likelihood"]),
    )
    first = f"seed {result['seeds'][0]['seed']}"
    parts = [
        f"# {result['target']}: log-likelihood in nats, {result['seeds'][0]['num_samples']:,} samples\n",
        f"`gancli reproduce {result['target']} --preset {model_of(result)} --seeds {len(result['seeds'])}"
        f"{_starts_options(result)} {_length(result)}`\n",
        _table(("model", "log-likelihood", "spread", "σ refined"), [*published, ours]),
        "## Seeds\n",
        _table(
            (
                "seed",
                "test",
                "σ",
                "σ refined",
                "validation",
                "best epoch",
                "of",
                "training",
                f"to {_yardstick(result)}",
            ),
            [_seed_row(row) for row in result["seeds"]],
        ),
        "Training is the time of iterations alone, without validation, pictures and scores; the last column, until "
        "validation passed that figure.\n",
        *_starts(result),
        "## Samples that no model made, by the same protocol\n",
        _table(("samples", "test", "σ", "published"), [_baseline_row(result, b) for b in BASELINES]),
        "## Error bars, in nats\n",
        _table(("over", "±"), _error_rows(result)),
        f"## Number of samples, {first}\n",
        _table(
            ("samples", "test", "σ"),
            [(f"{row['num_samples']:,}", _figure(row), f"{row['sigma']:.4f}") for row in result["over_samples"]],
        ),
        f"On training images instead of test images, {first}: {_figure(result['on_training_images']['estimate'])}.\n",
        _warnings_and_machine(result),
    ]
    return "\n".join(parts)


def _length(result: Mapping[str, Any]) -> str:
    """Return the options that say how long the runs were, and how far the curve goes where that is not its default."""
    config, most = result["config"], result["over_samples"][-1]["num_samples"]
    steps = f" --steps {config['steps']}" if config["steps"] else ""
    curve = f" --curve-samples {most}" if most != CURVE_SAMPLES else ""
    return f"--epochs {config['epochs']}{steps}{curve}"


def tfd_markdown(result: Mapping[str, Any]) -> str:
    """Return result.md of a TFD row with its folds."""
    published = [(f"{row['model']}, the paper's table", row["text"]) for row in result["published"]]
    ours = (f"**`{result['preset']}`, standard error across folds**", f"**{_figure(result)}**")
    folds = [
        (str(number), _figure(score["estimate"]), f"{score['estimate']['sigma']:.4f}", f"{score['num_test']:,}")
        for number, score in enumerate(result["folds"])
    ]
    parts = [
        f"# {result['target']}: log-likelihood in nats, {result['folds'][0]['num_samples']:,} samples\n",
        _table(("model", "log-likelihood"), [*published, ours]),
        "## Folds\n",
        _table(("fold", "test", "σ", "test images"), folds),
        _warnings_and_machine(result),
    ]
    return "\n".join(parts)


def cifar10_markdown(result: Mapping[str, Any]) -> str:
    """Return result.md of the CIFAR-10 runs."""
    rows = [
        (
            f"`{row['preset']}`",
            f"{row['epochs']:,} ({row['steps']:,} iterations)",
            _figure(row),
            str(row["best_epoch"] or ""),
            f"{row['samples_distance']:.1f}",
            f"{row['data_distance']:.1f}",
            f"{row['distance_ratio']:.2f}",
            in_words(row["training_seconds"]),
        )
        for row in result["runs"]
    ]
    heads = ("preset", "epochs", "log-likelihood", "of epoch", "samples' distance", "data's", "ratio", "training")
    parts = [
        "# cifar10: Figure 2 c and d\n",
        _table(heads, rows),
        "Distances are mean Euclidean ones between pairs, in the space of the networks.\n",
        _warnings_and_machine(result),
    ]
    return "\n".join(parts)


def _seed_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(row["seed"]),
        _figure(row),
        f"{row['sigma']:.4f}",
        "" if row["refined"] is None else _figure(row["refined"]),
        _nats(row["validation_log_likelihood"]),
        str(row["best_epoch"] or ""),
        str(row["epochs"]),
        in_words(row["training_seconds"]),
        "not reached"
        if row["reached"]["epoch"] is None
        else f"{in_words(row['reached']['training_seconds'])}, epoch {row['reached']['epoch']}",
    )


def _starts_options(result: Mapping[str, Any]) -> str:
    starts = result.get("starts")
    return f" --starts {len(starts['seeds'])} --start-epochs {starts['epochs']}" if starts else ""


def _starts(result: Mapping[str, Any]) -> list[str]:
    """Return the section on a choice among starts; empty where there was none."""
    if "starts" not in result:
        return []
    rows = [
        (
            str(row["seed"]),
            _nats(row["validation_log_likelihood"]),
            str(row["epoch"] or ""),
            in_words(row["training_seconds"]),
            fate(row),
        )
        for row in result["starts"]["seeds"]
    ]
    return [
        "## Starts\n",
        _table(("seed", "validation", "epoch", "training", "then"), rows),
        f"{starts_in_words(result['starts'])}\n",
    ]


def _yardstick(result: Mapping[str, Any]) -> str:
    return f"{result['seeds'][0]['reached']['validation_log_likelihood']:g} nats"


def _baseline_row(result: Mapping[str, Any], baseline: Any) -> tuple[str, ...]:
    estimate = result["baselines"][baseline.name]["estimate"]
    published = baseline.published
    return (
        f"{baseline.name}: {baseline.sentence}",
        _figure(estimate),
        f"{estimate['sigma']:.4f}",
        "" if published is None else f"{published}, {published.source}",
    )


def _error_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    bars, first = result["error_bars"], f"seed {result['seeds'][0]['seed']}"
    return [
        ("test images (standard error, the ± of the table)", f"{bars['test_images']:.2f}"),
        (f"draws of samples (standard deviation, {len(result['draws'])} draws, {first})", f"{bars['draws']:.2f}"),
        (
            f"training seeds (standard deviation, {len(result['seeds'])}{chosen_from(result)})",
            "one seed only" if bars["seeds"] is None else f"{bars['seeds']:.2f}",
        ),
    ]


def _warnings_and_machine(result: Mapping[str, Any]) -> str:
    machine, versions = result["machine"], result["versions"]
    lines = [
        *(f"Warning: {sentence}\n" for sentence in result["warnings"]),
        f"Made with gancli {versions['gancli']}, torch {versions['torch']}, Python {versions['python']} on "
        f"{machine['device']}, {machine['threads']} of {machine['cores']} cores.\n",
    ]
    return "\n".join(lines)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; every column but the first is numbers, to the right."""
    names = list(heads)
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _figure(values: Mapping[str, Any]) -> str:
    return f"{values['log_likelihood']:,.1f} ± {values['standard_error']:,.1f}"


def _nats(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


def _seeds(result: Mapping[str, Any]) -> str:
    count = len(result["seeds"])
    return ("1 seed" if count == 1 else f"mean of {count} seeds") + chosen_from(result)
