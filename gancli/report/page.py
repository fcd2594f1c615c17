"""The page: sections put together around what was collected."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

from gancli.figures.ranges import readable_range, training_range
from gancli.report.charts import Chart, Series, number, render_chart
from gancli.report.collect import Material, RunView
from gancli.report.html import anchor, card, grid, png, section
from gancli.report.standing import paper_row, standing
from gancli.reproduce.baselines import TRAINING
from gancli.reproduce.results import model_of
from gancli.reproduce.runs import training_seconds
from gancli.reproduce.starts import chosen_from, starts_in_words
from gancli.reproduce.timing import in_words
from gancli.train.generate import versions
from gancli.train.run_folder import RunFolder

_COLOURS = 6


def render_page(material: Material) -> str:
    """Return the whole HTML document: no script, style, font or picture is fetched from anywhere.

    Args:
        material: what `collect` found.
    """
    sections = [(title, words, body) for title, words, body in _sections(material) if body]
    title = _title(material)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # No network: should anything ask for it after all, the browser refuses.
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
            "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">",
            f"<title>{escape(title)} · gancli report</title>",
            f"<style>{_resource('style.css')}</style></head><body>",
            _header(material, title, [name for name, _, _ in sections]),
            f"<main>{''.join(section(*one) for one in sections)}</main>",
            _footer(material),
            f"<script>{_resource('page.js')}</script></body></html>\n",
        ]
    )


def _sections(material: Material) -> list[tuple[str, str, str]]:
    """Return title, introduction and body of every section; a body is empty where there is nothing to show."""
    walks = [
        card(run.name, "", png(run.walk, f"Interpolations in z space of {run.name}"), kind="card walk")
        for run in material.runs
        if run.walk is not None
    ]
    neighbours = [
        card(run.name, "", png(run.neighbours, f"Samples of {run.name} with nearest training examples"))
        for run in material.runs
        if run.neighbours is not None
    ]
    return [
        ("Log-likelihood", _protocol(material), standing(material) + _warnings(material)),
        (
            "Training",
            "Means over each epoch; the discriminator cannot tell data from samples where both outputs are one half.",
            _training(material),
        ),
        (
            "Parzen windows",
            "The figure depends on the width of the windows and on the number of samples as well as on the model.",
            _parzen(material),
        ),
        (
            "Samples over the epochs",
            "Always from the same z, so that each place can be followed. Fair draws, none left out.",
            _frames(material),
        ),
        ("Interpolation", "Figure 3: straight lines in z space, from the left end to the right.", grid(*walks)),
        (
            "Nearest training examples",
            "Figure 2: framed in yellow, the training example nearest in Euclidean distance to the sample on its left. "
            "Samples that copied the data would equal it.",
            grid(*neighbours),
        ),
        (
            "Settings",
            "Every run's configuration; settings that differ between runs are marked.",
            _settings(material.runs),
        ),
    ]


def _resource(name: str) -> str:
    return resources.files("gancli.report").joinpath(name).read_text(encoding="utf-8")


def _title(material: Material) -> str:
    runs = material.runs
    data = ", ".join(sorted({str(run.config["dataset"]) for run in runs}))
    presets = ", ".join(sorted({str(run.config["preset"]) for run in runs}))
    return (
        f"{presets} on {data}" if presets != data else f"{data}, {'one run' if len(runs) == 1 else f'{len(runs)} runs'}"
    )


def _header(material: Material, title: str, names: Sequence[str]) -> str:
    links = "".join(f'<a href="#{anchor(name)}">{escape(name)}</a>' for name in names)
    return (
        f'<header><p class="kicker">gancli report</p><h1>{escape(title)}</h1>'
        f'<p class="lead">Generative Adversarial Nets (2014), trained and measured again: '
        f"{escape(', '.join(run.name for run in material.runs))}.</p>{_tiles(material)}"
        f'<nav aria-label="Sections">{links}</nav></header>'
    )


def _tiles(material: Material) -> str:
    """Return the figures that a reader came for."""
    tiles: list[tuple[str, str, str]] = []
    scored = [run for run in material.runs if run.parzen is not None]
    # Among runs as among epochs it is validation that chooses; the test figure is only reported.
    top = max(scored, key=lambda run: run.best["validation_log_likelihood"] if run.best else -math.inf, default=None)
    means = [result for result in material.results if result.get("spread") is not None or "folds" in result]
    if not _on_one_data_set(material.runs):
        top, means = None, []  # nats of different data do not compare
    if means:
        mean = max(means, key=_validation_of_seeds)
        over = f"{len(mean['folds'])} folds" if "folds" in mean else f"{len(mean['seeds'])} seeds"
        what = f"nats, mean of {over} of {model_of(mean)}{chosen_from(mean)}"
        tiles.append((f"{mean['log_likelihood']:,.1f} ± {mean['standard_error']:,.1f}", what, "ours"))
    elif top is not None and top.parzen is not None:
        estimate = top.parzen["estimate"]
        what = f"nats on test, {top.name}" if len(scored) > 1 else "nats on the test examples"
        tiles.append((f"{estimate['log_likelihood']:,.1f} ± {estimate['standard_error']:,.1f}", what, "ours"))
    paper = paper_row(material)
    if paper is not None:
        tiles.append((str(paper), "nats, the paper's Table 1", ""))
    if top is not None and top.best is not None:
        epochs = top.metrics[-1]["epoch"]
        if top.config.get("samples_from") == "last":
            tiles.append((f"{epochs:,}", "epochs; samples come from the last", ""))
        else:
            tiles.append((f"{top.best['epoch']:,} of {epochs:,}", "best epoch, by validation", ""))
        tiles.append((in_words(training_seconds(RunFolder(top.path))), f"of iterations, {top.name}", ""))
    items = "".join(
        f'<li class="{kind}"><b>{escape(value)}</b><span>{escape(what)}</span></li>' for value, what, kind in tiles
    )
    return f'<ul class="tiles">{items}</ul>' if items else ""


def _on_one_data_set(runs: Sequence[RunView]) -> bool:
    return len({run.config["dataset"] for run in runs}) == 1


def _validation_of_seeds(result: dict[str, Any]) -> float:
    """Return the mean validation log-likelihood of a reproduction's seeds, -inf where one was not validated."""
    values = [row["validation_log_likelihood"] for row in result["seeds"]]
    return math.fsum(values) / len(values) if None not in values else -math.inf


def _protocol(material: Material) -> str:
    scores = [run.parzen for run in material.runs if run.parzen is not None]
    if not scores:
        return ""
    first = scores[0]
    if not _on_one_data_set(material.runs):
        return "Parzen-window estimates on different data sets: the figures of these runs do not compare."
    if any(score[key] != first[key] for score in scores for key in ("num_samples", "num_validation", "num_test")):
        return (
            "Parzen-window estimates by the authors' protocol, but of different numbers of samples or examples: the "
            "figures of these runs do not compare."
        )
    return (
        f"Parzen-window estimate by the authors' protocol: {first['num_samples']:,} samples, σ from "
        f"{len(first['sigmas'])} values by {first['num_validation']:,} validation examples, mean ± standard error over "
        f"{first['num_test']:,} test examples. The ± covers neither the draw of samples nor the training seed."
    )


def _warnings(material: Material) -> str:
    sentences = [sentence for result in material.results for sentence in result["warnings"]]
    sentences += [f"{run.name}: {note}" for run in material.runs for note in dict.fromkeys(run.notes)]
    bars = [_error_bars(result) for result in material.results if "error_bars" in result]
    return "".join(bars) + "".join(f'<p class="warning">{escape(sentence)}</p>' for sentence in sentences)


def _error_bars(result: dict[str, Any]) -> str:
    bars = result["error_bars"]
    seeds = (
        ""
        if bars["seeds"] is None
        else f", {bars['seeds']:.2f} over {len(result['seeds'])} training seeds{chosen_from(result)}"
    )
    seen = result["on_training_images"]["estimate"]
    starts = f" {escape(starts_in_words(result['starts']))}" if "starts" in result else ""
    return (
        f"<p>{escape(model_of(result))}: error bars of {bars['test_images']:.2f} nats over test images, "
        f"{bars['draws']:.2f} over {len(result['draws'])} draws of samples{seeds}. On training images instead of test "
        f"images: {seen['log_likelihood']:,.1f} ± {seen['standard_error']:,.1f}.{starts}</p>"
    )


def _training(material: Material) -> str:
    """Return one row of charts for a single run; of several, a row for each kind, on a common scale."""
    runs = material.runs
    losses = [
        row[key] for run in runs for row in run.metrics for key in ("loss_d", "loss_g") if row.get(key) is not None
    ]
    # G's minimax loss, log(1 − D(G(z))), is never above zero.
    loss_range = (min(0.0, *losses), max(0.0, *losses)) if losses else (0.0, 1.0)
    rows = [
        [render_chart(_validation_chart(runs))],
        [render_chart(_loss_chart(run, loss_range, len(runs) > 1)) for run in runs if losses],
        [render_chart(_output_chart(run, len(runs) > 1)) for run in runs],
    ]
    return "".join(grid(*row) for row in rows) if len(runs) > 1 else grid(*(chart for row in rows for chart in row))


def _loss_chart(run: RunView, y_range: tuple[float, float], named: bool) -> Chart:
    series = [
        Series("generator G", _column(run, "loss_g"), 1),
        Series("discriminator D", _column(run, "loss_d"), 2, dashed=True),
    ]
    return Chart(f"Loss, {run.name}" if named else "Loss", "epoch", "nats", series, y_range=y_range)


def _output_chart(run: RunView, named: bool) -> Chart:
    series = [
        Series("D(x), data", _column(run, "d_x"), 2, dashed=True),
        Series("D(G(z)), samples", _column(run, "d_gz"), 1),
    ]
    title = f"Output of D, {run.name}" if named else "Output of D"
    level = (0.5, "cannot tell")
    return Chart(title, "epoch", "mean probability", series, y_range=(0.0, 1.0), level=level)


def _validation_chart(runs: Sequence[RunView]) -> Chart:
    key = "validation_log_likelihood"
    series = [Series(run.name, _column(run, key), *_look(i)) for i, run in enumerate(runs)]
    values = [y for one in series for _, y in one.points]
    rows = [run.best for run in runs if run.best is not None] if _on_one_data_set(runs) else []
    best = max(rows, key=lambda row: row[key], default=None)
    return Chart(
        "Validation log-likelihood",
        "epoch",
        "nats, at the best σ of the paper's grid",
        series,
        y_range=training_range(values) if values else None,
        best=None
        if best is None
        else (best["epoch"], best[key], f"{number(round(best[key], 1))} in epoch {best['epoch']}"),
    )


def _look(i: int) -> tuple[int, bool]:
    """Return the colour of line i and whether it is dashed: neighbours differ in both, and twelve lines in one."""
    return 1 + i % _COLOURS, (i + i // _COLOURS) % 2 == 1


def _column(run: RunView, key: str) -> list[tuple[float, float]]:
    return [(row["epoch"], row[key]) for row in run.metrics if row.get(key) is not None]


def _parzen(material: Material) -> str:
    return grid(render_chart(_sigma_chart(material)), *map(_samples_chart, material.results))


def _sigma_chart(material: Material) -> Chart:
    """Return validation log-likelihood over σ, of every run and of training images used as samples."""
    curves = [(run.name, run.parzen) for run in material.runs if run.parzen is not None]
    for result in material.results:
        if TRAINING.name in result.get("baselines", {}):
            curves.append((TRAINING.name, result["baselines"][TRAINING.name]))
            break
    series = []
    for i, (name, score) in enumerate(curves):
        pairs = [
            *zip(score["sigmas"], score["validation_log_likelihoods"], strict=True),
            *zip(score["refined_sigmas"], score["refined_log_likelihoods"], strict=True),
        ]
        series.append(Series(name, sorted(pairs), *_look(i)))
    low, high = readable_range([point for one in series for point in one.points]) if series else (0.0, 1.0)
    return Chart("Width of the windows", "σ", "validation log-likelihood, nats", series, (low, high), x_log=True)


def _samples_chart(result: dict[str, Any]) -> str:
    if "over_samples" not in result:
        return ""
    points = [(row["num_samples"], row["log_likelihood"]) for row in result["over_samples"]]
    name = f"{model_of(result)}, seed {result['seeds'][0]['seed']}"
    return render_chart(
        Chart(
            "Number of samples",
            "samples",
            "test log-likelihood, nats",
            [Series(name, points, 1, dots=True)],
            x_log=True,
        )
    )


def _frames(material: Material) -> str:
    runs = [run for run in material.runs if run.frames]
    if not runs:
        return ""
    epochs = sorted({epoch for run in runs for epoch, _ in run.frames})
    last = len(epochs) - 1
    player = (
        '<div class="player" hidden><button type="button">Play</button>'
        f'<input type="range" min="0" max="{last}" value="{last}" step="1" aria-label="Epoch" '
        f'data-epochs="{escape(json.dumps(epochs))}"><output>Epoch {epochs[-1]:,}</output></div>'
        if last
        else ""
    )
    cards = []
    for run in runs:
        newest = run.frames[-1][0]
        images = "".join(
            png(
                content,
                f"Samples of {run.name} after epoch {epoch}",
                f' data-epoch="{epoch}"{"" if epoch == newest else " hidden"}',
            )
            for epoch, content in run.frames
        )
        cards.append(
            f'<figure class="card frames"><figcaption>{escape(run.name)}<small>after epoch '
            f'<span class="epoch">{newest}</span></small></figcaption>{images}</figure>'
        )
    return player + grid(*cards)


def _settings(runs: Sequence[RunView]) -> str:
    """Return every setting of every run, what differs first to the eye."""
    names = list(dict.fromkeys(name for run in runs for name in run.config))
    heads = "".join(f'<th scope="col">{escape(run.name)}</th>' for run in runs)
    rows = []
    for name in names:
        values = [run.config.get(name) for run in runs]
        differs = ' class="differs"' if any(value != values[0] for value in values) else ""
        cells = "".join(f"<td>{escape('none' if value is None else str(value))}</td>" for value in values)
        rows.append(f'<tr{differs}><th scope="row">{escape(name)}</th>{cells}</tr>')
    versions = "".join(f"<td>{escape(run.version)}</td>" for run in runs)
    rows.append(f'<tr><th scope="row">gancli</th>{versions}</tr>')
    return (
        f'<details class="all"><summary>{len(names)} settings</summary><div class="scroll"><table class="settings">'
        f'<thead><tr><th scope="col">setting</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        "</details>"
    )


def _footer(material: Material) -> str:
    made = ", ".join(f"{name} {version}" for name, version in versions().items())
    machines = sorted({result["machine"]["device"] for result in material.results if "machine" in result})
    on = f" Runs made on {', '.join(machines)}." if machines else ""
    return (
        f"<footer><p>This page was made with {escape(made)}.{escape(on)} It asks no network for anything.</p></footer>"
    )
