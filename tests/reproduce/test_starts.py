"""More starts than runs: who goes on, what that costs, and that neither choice nor stops change a run's bits."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from harness import fingerprint

from gancli.cli import main
from gancli.cli.tables import print_table1
from gancli.data import load
from gancli.errors import Stopped, UsageError
from gancli.reproduce.figures import PANELS, reproduce_figures
from gancli.reproduce.kept import file_sha256
from gancli.reproduce.runs import PlannedRun
from gancli.reproduce.starts import Starts
from gancli.reproduce.targets import Target
from gancli.train.checkpoints import load_checkpoint
from gancli.train.judge import Judge
from gancli.train.run_folder import RunFolder
from gancli.train.trainer import Trainer

Reproduce = Callable[..., dict[str, Any]]
Lasting = Callable[[dict[str, Any]], dict[str, Any]]
pytestmark = pytest.mark.usefixtures("untimed")
# All that moves with the position in a run.
MOVING = {"average": 0.9, "anneal_epochs": 7, "lr_decay": 1.01, "momentum_epochs": 3, "validation_every": 2}


def validations(out: Path, seed: int) -> dict[int, float]:
    rows = (out / f"seed-{seed}" / "metrics.jsonl").read_text().splitlines()
    return {row["epoch"]: row["validation_log_likelihood"] for row in map(json.loads, rows)}


def written(out: Path, *starts: dict[int, float | None], epochs: int = 8, go_on: int = 2, **changes: Any) -> Starts:
    """Starts whose metrics are made by hand: validation log-likelihoods by epoch."""
    plans = []
    for seed, values in enumerate(starts, start=1):
        run = RunFolder(out / f"seed-{seed}")
        run.path.mkdir(parents=True)
        for epoch, value in values.items():
            measured = {} if value is None else {"validation_log_likelihood": value}
            run.append_metrics({"epoch": epoch, "step": 5 * epoch, "seconds": 2.0 * epoch, **measured})
        config = dataclasses.replace(changes["config"], seed=seed)
        plans.append(PlannedRun(run, config, per_epoch=5, total=100, done=5 * max(values, default=0), summary=None))
    return Starts(plans, go_on=go_on, epochs=epochs, out=out)


def test_those_that_validation_finds_best_go_on_and_the_others_stay(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    watch, out = quiet(), tmp_path / "out"
    result = reproduce(tiny, out, starts=4, epochs=4, watch=watch)
    highest = {seed: max(validations(out, seed)[epoch] for epoch in (1, 2)) for seed in (1, 2, 3, 4)}
    chosen = sorted(sorted(highest, key=lambda seed: highest[seed])[2:])
    assert watch.trained == [f"seed-{seed}" for seed in (1, 2, 3, 4, *chosen)]
    for seed in highest:
        names = {path.name for path in (out / f"seed-{seed}").iterdir()}
        assert ({"samples.pt", "summary.json"} <= names) == (seed in chosen)
        assert names.isdisjoint({"samples.pt", "summary.json"}) == (seed not in chosen)
        assert list(validations(out, seed)) == ([1, 2, 3, 4] if seed in chosen else [1, 2])
        assert json.loads((out / f"seed-{seed}/config.json").read_text())["epochs"] == 4
    assert [row["seed"] for row in result["seeds"]] == result["starts"]["chosen"] == chosen
    told = result["starts"]["seeds"]
    assert {row["seed"]: row["validation_log_likelihood"] for row in told} == highest
    assert [row["seed"] for row in told if row["went_on"]] == chosen
    seconds = [RunFolder(out / f"seed-{seed}").read_metrics()[1]["seconds"] for seed in (1, 2, 3, 4)]
    assert [row["training_seconds"] for row in told] == seconds
    dropped = sum(seconds[seed - 1] for seed in highest if seed not in chosen)
    assert result["starts"]["dropped_seconds"] == pytest.approx(dropped)
    print_table1(result, out)
    printed, markdown = capsys.readouterr().out, (out / "result.md").read_text()
    assert "--seeds 2 --starts 4 --start-epochs 2 --epochs 4 --curve-samples 1500`" in markdown
    words = f"4 starts of 2 epochs each; seeds {chosen[0]}, {chosen[1]} had the highest validation"
    for text in (printed, markdown):
        plain = " ".join(text.split())
        assert words in plain
        assert f"samples, seed {chosen[0]}" in plain
        assert plain.count("dropped") == 2
    assert "chosen from 4 starts" in " ".join(markdown.split())
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))


def test_runs_of_starts_have_the_bits_of_runs_trained_straight_through(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {name: tmp_path / name for name in ("started", "straight")}
    for place in places.values():  # samples.pt names the run as it was named, so that both have the same name
        place.mkdir()
    monkeypatch.chdir(places["started"])
    told = reproduce(tiny, Path("out"), starts=3, epochs=5, **MOVING)["starts"]
    assert [row["epoch"] for row in told["seeds"]] == [2, 2, 2]  # validation at the end of the starts alone will do
    monkeypatch.chdir(places["straight"])
    for seed in told["chosen"]:
        config = tiny.config("mnist", {"seed": seed, "epochs": 5, **MOVING})
        Trainer(config, RunFolder(Path("out") / f"seed-{seed}"), quiet()).train()
        started, straight = (fingerprint(place / f"out/seed-{seed}") for place in places.values())
        assert started == straight


def test_the_choice_never_sees_a_test_image(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, whole = np.load(tiny.dataset), load(tiny.dataset)
    tested = [i for i, image in enumerate(images) if any(np.array_equal(image, each) for each in whole.test.numpy())]
    images[tested] //= 2
    np.save(tmp_path / "other.npy", images)
    scored: list[bool] = []
    score = Judge.score

    def watched(self: Judge, samples: Any) -> Any:
        scored.append(all(len(validations(tmp_path / name, seed)) >= 2 for seed in (1, 2, 3)))
        return score(self, samples)

    monkeypatch.setattr(Judge, "score", watched)
    results = []
    for name, dataset in (("one", tiny.dataset), ("two", str(tmp_path / "other.npy"))):
        results.append(reproduce(dataclasses.replace(tiny, dataset=dataset), tmp_path / name, seeds=1, starts=3))
    assert scored == [True, True]  # one score for each run that went on, once all starts were over
    one, other = results
    assert one["log_likelihood"] != other["log_likelihood"]
    assert one["starts"]["chosen"] == other["starts"]["chosen"]
    figures = [[row["validation_log_likelihood"] for row in result["starts"]["seeds"]] for result in results]
    assert figures[0] == figures[1]


@pytest.mark.parametrize(
    ("starts", "chosen"),
    [
        ([{8: 90.0}, {8: 50.0}, {8: 130.0}, {8: -20.0}], [1, 3]),
        ([{8: 50.0}, {3: 90.0, 8: -200.0}, {8: 60.0}], [2, 3]),  # the highest of the first epochs, not the last
        ([{8: 50.0, 9: 300.0}, {8: 51.0, 9: -5.0}, {8: 52.0}], [2, 3]),  # what came later does not count
        ([{8: 7.0}, {8: 7.0}, {8: 7.0}], [1, 2]),  # ties go to the lower seed
        ([{8: 6.0}, {8: 7.0}, {8: 7.0}, {8: 7.0}], [2, 3]),
        ([{8: None, 9: 300.0}, {8: -900.0}, {8: -901.0}], [2, 3]),  # no validation within the first epochs is worst
        ([{8: None}, {8: None}, {8: -901.0}], [1, 3]),
        ([{4: -3.0, 8: None}, {8: -2.0}, {8: -1.0}], [2, 3]),
    ],
)
def test_the_choice_from_metrics_made_by_hand(
    tiny: Target, tmp_path: Path, quiet: Any, starts: list[dict[int, float | None]], chosen: list[int]
) -> None:
    contest = written(tmp_path, *starts, config=tiny.config("mnist", {"epochs": 20}))
    watch = quiet()
    assert [plan.config.seed for plan in contest.run(watch)] == chosen
    assert watch.trained == []
    told = contest.as_dict()
    assert told["chosen"] == chosen
    # Two seconds an epoch, of which the first eight belong to the start.
    assert told["dropped_seconds"] == 16.0 * (len(starts) - 2)
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(
    ("done", "minutes"),
    [
        # 3 starts of 10 iterations and 2 epochs' ends, 2 runs of 90 more with 18 ends and a score
        ((0, 0, 0), 3 * (10 + 20) + 2 * (90 + 180 + 100)),
        # 3 iterations of the first are done: 7 are left, which end 2 epochs
        ((3, 0, 10), (7 + 20) + (10 + 20) + 2 * (90 + 180 + 100)),
        # A run that went further has less to do; who goes on is open, and the longer ones are counted.
        ((0, 55, 60), (10 + 20) + (90 + 180 + 100) + (45 + 90 + 100)),
    ],
)
def test_the_forecast_counts_the_starts(
    tiny: Target, tmp_path: Path, quiet: Any, done: tuple[int, ...], minutes: int
) -> None:
    contest = written(tmp_path, *({} for _ in done), epochs=2, config=tiny.config("mnist", {"epochs": 20}))
    plans = [dataclasses.replace(plan, done=each) for plan, each in zip(contest.plans, done, strict=True)]
    watch = quiet()
    assert Starts(plans, go_on=2, epochs=2, out=tmp_path).announce(watch) is not None
    expected = f"about {minutes // 60} h {minutes % 60:02d} min for 3 starts of 2 epochs, and 2 to the end."
    assert expected in watch.sentences[-1]
    told = [sentence for sentence in watch.sentences if "of 100 iterations are done" in sentence]
    assert len(told) == sum(each > 0 for each in done)


def test_once_all_starts_are_over_the_forecast_is_that_of_the_chosen(tiny: Target, tmp_path: Path, quiet: Any) -> None:
    starts = ({2: 1.0}, {2: 3.0}, {2: 2.0, 4: 9.0})
    contest = written(tmp_path, *starts, epochs=2, config=tiny.config("mnist", {"epochs": 20}))
    watch = quiet()
    contest.announce(watch)
    minutes = (90 + 180 + 100) + (80 + 160 + 100)
    assert f"about {minutes // 60} h {minutes % 60:02d} min for 2 runs." in watch.sentences[-1]
    assert not any("seed-1" in sentence for sentence in watch.sentences)


def test_starts_that_were_stopped_and_killed_go_on_to_the_result_of_unbroken_ones(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any, lasting: Lasting, killed_at: Callable[..., None]
) -> None:
    def interrupt(run: Path, step: int) -> None:
        if (run.name, step) == ("seed-2", 3):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped):
        reproduce(tiny, tmp_path / "broken", starts=3, watch=quiet(interrupt))
    assert not (tmp_path / "broken/seed-3").exists()
    # Killed when the checkpoint of a start's last epoch is there, but not yet its row, which decides the choice.
    killed_at("row seed-2", tiny, tmp_path / "broken", starts=3, start_epochs=2)
    assert list(validations(tmp_path / "broken", 2)) == [1]
    assert load_checkpoint(tmp_path / "broken/seed-2/checkpoints/last.pt")["step"] == 10
    watch = quiet()
    broken = reproduce(tiny, tmp_path / "broken", starts=3, watch=watch)
    assert watch.trained[:2] == ["seed-2", "seed-3"]
    assert lasting(broken) == lasting(reproduce(tiny, tmp_path / "whole", starts=3))
    for seed in (1, 2, 3):
        one, other = (fingerprint_of_start(tmp_path / name / f"seed-{seed}") for name in ("broken", "whole"))
        assert one == other


def fingerprint_of_start(path: Path) -> list[Any]:
    """What a start leaves, whether it went on or not, that is the same to the bit wherever it lies."""
    run = RunFolder(path)
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in run.read_metrics()]
    return [rows, file_sha256(run.best), *(file_sha256(picture) for picture in sorted(path.glob("samples/*.png")))]


def test_runs_that_are_there_are_taken_up_also_where_they_went_further(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any, lasting: Lasting
) -> None:
    out = tmp_path / "out"
    for seed, epochs in ((1, 3), (2, 1)):
        config = tiny.config("mnist", {"seed": seed, "epochs": epochs})
        Trainer(config, RunFolder(out / f"seed-{seed}"), quiet()).train()
    watch = quiet()
    result = reproduce(tiny, out, seeds=1, starts=3, epochs=4, watch=watch)
    assert watch.trained[:2] == ["seed-2", "seed-3"]
    assert lasting(result) == lasting(reproduce(tiny, tmp_path / "fresh", seeds=1, starts=3, epochs=4))


@pytest.mark.parametrize("starts", [None, 2])
def test_without_spare_starts_nothing_changes(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any, starts: int | None
) -> None:
    watch = quiet()
    result = reproduce(tiny, tmp_path / "out", starts=starts, watch=watch)
    assert watch.trained == ["seed-1", "seed-2"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "seed-1",
        "seed-2",
        "context.json",
        "result.json",
        "result.md",
    }
    assert "starts" not in result
    assert "start" not in (tmp_path / "out/result.md").read_text()


def test_context_is_that_of_the_first_run_that_went_on(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, quiet: Any, lasting: Lasting
) -> None:
    out = tmp_path / "out"
    before = reproduce(tiny, out, seeds=1)
    metrics = RunFolder(out / "seed-1").metrics_file
    rows = [{**json.loads(line), "validation_log_likelihood": -1e9} for line in metrics.read_text().splitlines()]
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    after = reproduce(tiny, out, seeds=1, starts=2)
    assert after["starts"]["chosen"] == [2]
    assert after["config"]["seed"] == 2
    for part in ("draws", "over_samples", "on_training_images"):
        assert after[part] != before[part]
    sha256 = file_sha256(out / "seed-2/checkpoints/best.pt")
    context = json.loads((out / "context.json").read_text())
    for name in ("draws", "over samples", "on training images"):
        assert context[name]["inputs"]["checkpoint"] == sha256
    (out / "context.json").unlink()
    assert lasting(reproduce(tiny, out, seeds=1, starts=2)) == lasting(after)


def test_report_and_figures_take_the_runs_that_went_on(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = PANELS[0].home.parent
    result = reproduce(tiny, out, starts=3)
    first, second = result["starts"]["chosen"]
    answer = CliRunner().invoke(main, ["report", str(out)], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    page = Path("report.html").read_text()
    for words in (
        " over seeds, chosen from 3 starts",
        "2 seeds of mnist, chosen from 3 starts",
        "over 2 training seeds, chosen from 3 starts",
        f"3 starts of 2 epochs each; seeds {first}, {second} had the highest validation",
    ):
        assert words in page, words
    for chosen in (2, 3, first):
        content = {**result, "starts": {**result["starts"], "chosen": [chosen]}}
        (out / "result.json").write_text(json.dumps(content))
        drawn = reproduce_figures([], tmp_path / "figures", data_dir=None, device="cpu", backend="auto")
        assert drawn["figures"]["figure2a"]["run"] == str(out / f"seed-{chosen}")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"starts": 1}, r"--starts must be at least as many as --seeds; got 1 starts for 2 seeds"),
        ({"start_epochs": 3}, r"--start-epochs says when 2 seeds are chosen among more; name how many with --starts"),
        ({"starts": 3, "start_epochs": 3}, r"--start-epochs must be less than the 3 epochs of a run; got 3"),
        ({"starts": 3, "steps": 8}, r"--start-epochs must be less than the 1\.6 epochs of a run; got 2"),
        ({"starts": 3, "validation_every": 3}, r"first 2 epochs, but --validation-every 3 .*raise --start-epochs to 3"),
        ({"starts": 3, "validation_every": 0}, r"--validation-every 0 leaves none there; validate more often"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused_before_anything_is_trained(
    tiny: Target, tmp_path: Path, reproduce: Reproduce, asked: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        reproduce(tiny, tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()


def test_the_command_refuses_fewer_starts_than_seeds() -> None:
    answer = CliRunner().invoke(main, ["reproduce", "table1-mnist", "--seeds", "3", "--starts", "2"])
    assert answer.exit_code == 2
    assert "got 2 starts for 3 seeds" in answer.stderr
