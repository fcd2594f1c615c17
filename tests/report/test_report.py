"""The page as a browser takes it apart: nothing from outside, nothing unescaped, everything named."""

from __future__ import annotations

import itertools
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gancli.cli import main
from gancli.presets import resolve
from gancli.report.charts import HEIGHT, WIDTH, Chart, Series, nice_ticks, number, render_chart, tick_labels
from gancli.report.collect import choose_epochs
from gancli.report.page import _look
from gancli.train.run_folder import RunFolder
from gancli.train.trainer import Trainer

# The image comes first: an unescaped script without its end would hide whatever follows from the parser.
HOSTILE = "\"><img src=x onerror=alert(1)>&amp;<script>alert('1')</script>"


class Page(HTMLParser):
    """Collects elements with their attributes, and text by the element it stands in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


class Silent:
    """Watches a training without a word."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def train(path: Path, **changes: Any) -> RunFolder:
    if not Path("small.npy").exists():
        np.save("small.npy", np.random.default_rng(0).integers(0, 256, (125, 1, 6, 6), dtype=np.uint8))
    settings = {
        "generator": "dense 8 relu, dense out sigmoid bias=marginal",
        "discriminator": "maxout 6x2 irange=0.05, dense 1 sigmoid irange=0.05",
        "noise_dim": 5,
        "batch_size": 20,
        "epochs": 2,
        "num_samples": 50,
        **changes,
    }
    run = RunFolder(path)
    Trainer(resolve("mnist", settings.pop("dataset", "./small.npy"), settings), run, Silent()).train()
    return run


def report(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *arguments], catch_exceptions=False)


def page(*runs: Path) -> Page:
    result = report(*map(str, runs), "--out", "report.html")
    assert result.exit_code == 0, result.output
    return Page(Path("report.html").read_text(encoding="utf-8"))


def test_the_page_asks_nobody_for_anything() -> None:
    found = page(train(Path("runs/one")).path)
    for tag, attributes in found.elements:
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/png;base64,", "#")), (tag, name, value)
    assert not found.all("link")
    text = Path("report.html").read_text(encoding="utf-8")
    for reference in ("http:", "https:", "url(", "@import", "fetch(", "XMLHttpRequest", "import("):
        assert reference not in text, reference
    policies = [a["content"] for a in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies[0] is not None
    assert policies[0].startswith("default-src 'none'")


def test_links_lead_to_sections_that_are_there() -> None:
    found = page(train(Path("runs/one")).path)
    targets = {f"#{attributes['id']}" for attributes in found.all("section")}
    assert {attributes["href"] for attributes in found.all("a")} == targets
    assert len(targets) == 7


def test_pictures_and_controls_have_names_for_those_who_do_not_see_them() -> None:
    found = page(train(Path("runs/one")).path)
    assert all(attributes["alt"] for attributes in found.all("img"))
    drawings = [attributes for attributes in found.all("svg") if "aria-hidden" not in attributes]
    assert len(drawings) == 4
    assert all(a["role"] == "img" and a["aria-label"] and a["tabindex"] == "0" for a in drawings)
    assert all(attributes["aria-label"] for attributes in found.all("input"))
    assert found.all("html")[0]["lang"] == "en"
    assert len(found.all("h1")) == 1
    frames = [attributes for attributes in found.all("img") if "data-epoch" in attributes]
    assert [(a["data-epoch"], "hidden" in a) for a in frames] == [("1", True), ("2", False)]


def test_figures_on_the_page_are_those_of_the_run() -> None:
    run = train(Path("runs/one"))
    words = " ".join(page(run.path).words)
    estimate = json.loads(run.summary_file.read_text())["parzen"]["estimate"]
    wanted = f"{estimate['log_likelihood']:,.1f} ± {estimate['standard_error']:,.1f}".replace("-", "−")
    assert wanted in words
    row = run.read_metrics()[-1]
    assert number(row["loss_d"]) in words
    assert number(row["d_gz"]) in words


@pytest.mark.parametrize("place", ["preset", "name", "metrics"])
def test_hostile_text_stays_text(place: str) -> None:
    # A folder's name cannot hold a slash, everything else can.
    name = HOSTILE.replace("/", "") if place == "name" else "one"
    run = train(Path("runs") / name)
    if place == "preset":
        config = json.loads(run.config_file.read_text())
        run.config_file.write_text(json.dumps({**config, "preset": HOSTILE, "data_dir": HOSTILE}))
    if place == "metrics":
        rows = run.read_metrics()
        run.metrics_file.write_text("".join(json.dumps({**row, HOSTILE: HOSTILE}) + "\n" for row in rows))
    found = page(run.path)
    assert len(found.all("script")) == 1
    assert all((a["src"] or "").startswith("data:") for a in found.all("img"))
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    if place != "metrics":
        assert any(HOSTILE.replace("/", "")[:20] in words.replace("/", "") for words in found.words)


def test_runs_stand_side_by_side_and_differences_are_marked() -> None:
    one, two = train(Path("runs/one")), train(Path("runs/two"), seed=2, lr=0.05)
    found = page(one.path, two.path)
    assert any(words == "Loss, two" for words in found.words)
    text = Path("report.html").read_text(encoding="utf-8")
    marked = [row.split("</th>")[0].rsplit(">", 1)[1] for row in text.split('<tr class="differs">')[1:]]
    assert sorted(marked) == ["lr", "seed"]


def test_figures_of_unlike_protocols_are_not_put_under_one() -> None:
    one, two = train(Path("runs/one")), train(Path("runs/two"), num_samples=40)
    assert "the figures of these runs do not compare" in " ".join(page(one.path, two.path).words)
    assert "do not compare" not in " ".join(page(one.path).words)


def test_runs_on_different_data_have_no_best_among_them() -> None:
    np.save("other.npy", np.random.default_rng(1).integers(0, 256, (125, 1, 6, 6), dtype=np.uint8))
    one, two = train(Path("runs/one")), train(Path("runs/two"), dataset="./other.npy")
    found = page(one.path, two.path)
    words = " ".join(found.words)
    assert "on different data sets: the figures of these runs do not compare" in words
    assert "nats on test" not in words
    assert not [a for a in found.all("circle") if a.get("class") == "best"]


def test_a_result_older_than_its_runs_does_not_head_the_page() -> None:
    run = train(Path("rep/seed-1"))
    seed = {"run": str(run.path), "seed": 1, "validation_log_likelihood": 1.0, "steps": 10}
    result = {"preset": "mnist", "seeds": [seed, seed], "spread": 0.5, "log_likelihood": 77.0, "standard_error": 0.1}
    result = {**result, "target": "table1-mnist", "warnings": [], "over_samples": []}
    for steps, current in ((10, True), (5, False)):
        seed["steps"] = steps
        Path("rep/result.json").write_text(json.dumps(result))
        words = " ".join(page(Path("rep")).words)
        assert ("77.0 ± 0.1 nats, mean of 2 seeds" in words) == current
        assert ("tells of earlier training than these runs have" in words) != current


def test_a_run_that_makes_no_pictures_says_so_once() -> None:
    np.save("numbers.npy", np.random.default_rng(1).normal(size=(125, 1, 1, 1)).astype(np.float32))
    run = train(
        Path("runs/one"), dataset="./numbers.npy", preprocessing="none", generator="dense 8 relu, dense out linear"
    )
    assert " ".join(page(run.path).words).count("Its samples are no pictures") == 1


def test_data_that_have_changed_their_shape_are_a_note() -> None:
    run = train(Path("runs/one"))
    np.save("small.npy", np.zeros((125, 1, 5, 5), dtype=np.uint8))
    assert "small.npy has (1, 5, 5)" in " ".join(page(run.path).words)


def test_twelve_runs_have_twelve_looks() -> None:
    looks = [_look(i) for i in range(12)]
    assert len(set(looks)) == 12
    assert all(a[1] != b[1] for a, b in itertools.pairwise(looks[:6]))


def test_an_unfinished_or_extended_run_shows_no_score_of_an_earlier_state() -> None:
    run = train(Path("runs/one"))
    rows = run.read_metrics()
    run.append_metrics({**rows[-1], "epoch": 3, "step": 15})
    words = " ".join(page(run.path).words)
    assert "No final score: the run stands at epoch 3 and has not ended." in words
    assert "nats on the test examples" not in words


def test_a_reproduction_brings_its_seeds_baselines_and_warnings() -> None:
    train(Path("out/seed-1"))
    estimate = {"log_likelihood": 241.19, "standard_error": 2.13, "sigma": 0.1668}
    score = {
        "estimate": estimate,
        "refined": None,
        "sigmas": [0.1, 0.2],
        "validation_log_likelihoods": [200.0, 240.0],
        "refined_sigmas": [],
        "refined_log_likelihoods": [],
    }
    result = {
        "target": "table1-mnist",
        "preset": "mnist",
        "seeds": [{"run": "elsewhere/seed-1", "seed": 1}],
        "spread": None,
        "baselines": {"training images": score},
        "draws": [1.0, 2.0],
        "error_bars": {"test_images": 1.5, "draws": 0.7071, "seeds": None},
        "on_training_images": {"estimate": estimate},
        "over_samples": [{"num_samples": 1000, "log_likelihood": 50.0}, {"num_samples": 2000, "log_likelihood": 60.0}],
        "warnings": [f"beware of {HOSTILE}"],
    }
    Path("out/result.json").write_text(json.dumps(result))
    found = page(Path("out"))
    words = " ".join(found.words)
    for part in ("241.2 ± 2.1", "0.71 over 2 draws", f"beware of {HOSTILE}", "Number of samples"):
        assert part in words, part
    assert len(found.all("script")) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--out", "report.pdf"], 2, "--out must end in .html, got 'report.pdf'"),
        ([], 1, "no run under runs/ yet"),
        (["runs/none"], 1, "no run folder runs/none"),
        (["damaged"], 1, "damaged/result.json is damaged"),
    ],
)
def test_bad_use_gets_one_sentence(arguments: list[str], code: int, sentence: str) -> None:
    Path("damaged").mkdir()
    Path("damaged/result.json").write_text("{")
    answer = CliRunner().invoke(main, ["report", *arguments])
    assert answer.exit_code == code
    assert sentence in answer.stderr
    assert answer.stderr.count("Error: ") == 1
    assert not Path("report.html").exists()


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0.1, 0.35, [0.1, 0.15, 0.2, 0.25, 0.3, 0.35]),
        (-130, 226, [-200, -100, 0, 100, 200, 300]),
        (1, 2, [1, 1.2, 1.4, 1.6, 1.8, 2]),
    ],
)
def test_ticks_are_round_and_span_the_values(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([0, 0.5, 1], ["0", "0.5", "1.0"]),
        (nice_ticks(2056.2, 2058.4), ["2,056.0", "2,056.5", "2,057.0", "2,057.5", "2,058.0", "2,058.5"]),
        (nice_ticks(-1.3012, -1.3003), ["−1.3012", "−1.3010", "−1.3008", "−1.3006", "−1.3004", "−1.3002"]),
        ([-200, -100, 0, 100], ["−200", "−100", "0", "100"]),
        ([1e6, 1.5e6], ["1M", "1.5M"]),
    ],
)
def test_no_two_ticks_look_alike(ticks: list[float], labels: list[str]) -> None:
    assert tick_labels(ticks) == labels


def test_points_stand_where_their_values_say() -> None:
    chart = Chart("t", "x", "y", [Series("a", [(0, 0), (5, 5), (10, 10)], 1)])
    (line,) = Page(render_chart(chart)).all("polyline")
    places = [tuple(map(float, point.split(","))) for point in str(line["points"]).split()]
    (left, bottom), middle, (right, top) = places
    assert middle == ((left + right) / 2, (top + bottom) / 2)
    assert 0 < left < right < WIDTH
    assert 0 < top < bottom < HEIGHT


def test_a_chart_of_one_point_or_of_equal_values_is_still_drawn_and_one_of_none_is_left_out() -> None:
    assert "<circle" in render_chart(Chart("t", "x", "y", [Series("a", [(1, 5)], 1)]))
    assert "nan" not in render_chart(Chart("t", "x", "y", [Series("a", [(1, 5), (2, 5)], 1)], x_log=True))
    assert render_chart(Chart("t", "x", "y", [Series("a", [], 1)])) == ""


def test_slider_epochs_are_denser_early_and_keep_both_ends() -> None:
    assert choose_epochs([1, 2, 3], 16) == [1, 2, 3]
    chosen = choose_epochs(range(1, 801), 8)
    assert chosen == [1, 3, 7, 18, 46, 118, 308, 800]  # 800^(i/7), rounded


def test_numbers_are_written_as_people_do() -> None:
    assert [number(v) for v in (0, -1.5, 1234, 2e6, 0.123456)] == ["0", "−1.5", "1,234", "2M", "0.1235"]


def test_a_minimax_loss_below_zero_is_drawn_where_it_is() -> None:
    run = train(Path("runs/one"), loss="minimax", lr=0.5)
    assert all(row["loss_g"] < 0 for row in run.read_metrics())
    found = page(run.path)
    at = found.elements.index(next(e for e in found.elements if "Loss" in (e[1].get("aria-label") or "")))
    lines = [a for tag, a in found.elements[at:] if tag == "polyline"][:2]
    heights = [float(point.split(",")[1]) for line in lines for point in str(line["points"]).split()]
    assert len(set(heights)) == 4  # two epochs of G and of D, nothing pressed against an edge


def test_the_mean_of_the_seeds_that_validation_prefers_heads_the_page() -> None:
    for name, validation, test in (("one", 9.0, 1.0), ("two", 8.0, 2.0)):
        run = train(Path(name) / "seed-1")
        seed = {"run": str(run.path), "seed": 1, "validation_log_likelihood": validation}
        result = {"preset": name, "seeds": [seed], "spread": 0.5, "log_likelihood": test, "standard_error": 0.1}
        Path(name, "result.json").write_text(json.dumps({**result, "target": "t", "warnings": []}))
    words = " ".join(page(Path("one"), Path("two")).words)
    assert "1.0 ± 0.1 nats, mean of 1 seeds of one" in words


def test_the_checkpoint_before_the_last_stands_in_for_it() -> None:
    run = train(Path("runs/one"), samples_from="last", epochs=3)
    run.last.unlink()
    answer = report(str(run.path), "--out", "report.html")
    assert "Going on from the one before it" in answer.stderr
    text = Path("report.html").read_text(encoding="utf-8")
    assert "No checkpoint yet" not in text
    assert 'alt="Interpolation' in text
