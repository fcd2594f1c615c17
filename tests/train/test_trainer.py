"""A run as a whole: what it leaves, and that a stopped one goes on to the bits of an unbroken one."""

from __future__ import annotations

import json
import math
import shutil
import signal
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gancli.config import Config
from gancli.data import load
from gancli.data.samples import read_samples
from gancli.errors import DataError, GancliError, GancliWarning, UsageError
from gancli.ops.denormals import flushes_denormals
from gancli.presets import resolve
from gancli.train.checkpoints import load_checkpoint, save_checkpoint
from gancli.train.generate import TrainedGenerator, draw_samples, load_generator, sampling_rng
from gancli.train.interrupt import StopRequest
from gancli.train.minibatches import Minibatches
from gancli.train.reporting import Summary
from gancli.train.run_folder import RunFolder, new_run, open_run
from gancli.train.sampling import samples_of_run
from gancli.train.setup import adopt_pretrained
from gancli.train.trainer import Trainer, train_run


class Silent:
    """Watches without a word; may ask for a stop after some iterations, as Ctrl-C does."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.rows = stop_at, []  # type: ignore[var-annotated]

    def start(self, *_: Any, **__: Any) -> None: ...
    def means(self, values: dict[str, float]) -> None: ...
    def note(self, text: str) -> None: ...
    def finish(self) -> None: ...

    def iteration(self, step: int) -> None:
        if step == self.stop_at:
            signal.raise_signal(signal.SIGINT)

    def epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "small.npy"
    np.save(path, rng.integers(0, 256, (125, 1, 4, 4), dtype=np.uint8))
    return path


def small(images: Path, **changes: Any) -> Config:
    return resolve(
        "mnist",
        str(images),
        {
            "generator": "dense 8 relu, dense out sigmoid bias=marginal",
            "discriminator": "maxout 6x2 irange=0.05, dense 1 sigmoid irange=0.05",
            "noise_dim": 5,
            "batch_size": 20,
            "epochs": 4,
            "num_samples": 50,
            **changes,
        },
    )


def run_to_end(config: Config, out: Path, stops: tuple[int, ...] = ()) -> Summary:
    run = new_run(config, out)
    for n, stop_at in enumerate((*stops, None)):
        trainer = Trainer(config, run, Silent(stop_at))
        if n:
            trainer.restore()
        summary = trainer.train()
        assert summary.interrupted == (stop_at is not None)
    return summary


def test_a_run_leaves_what_it_promises(images: Path, tmp_path: Path) -> None:
    summary = run_to_end(small(images), tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    names = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()}
    pictures = {f"samples/epoch-{e:04d}.png" for e in range(1, 5)}
    assert names == pictures | {
        "config.json",
        "metrics.jsonl",
        "checkpoints/last.pt",
        "checkpoints/previous.pt",
        "checkpoints/best.pt",
        "samples.pt",
        "summary.json",
    }
    rows = run.read_metrics()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    assert all(math.isfinite(row[key]) for row in rows for key in ("loss_d", "loss_g", "d_x", "d_gz"))
    assert read_samples(run.samples_file).samples.shape == (50, 1, 4, 4)
    written = json.loads(run.summary_file.read_text())
    assert written["steps"] == summary.steps == 20
    assert written["parzen"]["estimate"]["log_likelihood"] == summary.parzen["estimate"]["log_likelihood"]  # type: ignore[index]
    best = max(row["validation_log_likelihood"] for row in rows)
    assert load_checkpoint(run.last)["best"] == best
    best_row = next(row for row in rows if row["validation_log_likelihood"] == best)
    assert load_checkpoint(run.best)["step"] == best_row["step"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"updates": "alternating", "k": 2, "loss": "minimax", "optimizer": "adam", "lr": 0.01, "average": 0.9},
        {"momentum_form": "torch", "max_column_norm": 0.5, "generator_dropout": "fresh"},
    ],
    ids=["code", "paper-adam", "torch-momentum"],
)
def test_stopped_and_resumed_runs_end_in_the_same_bits(images: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    config = small(images, **changes)
    run_to_end(config, tmp_path / "whole")
    run_to_end(config, tmp_path / "broken", stops=(3, 5, 13))  # within an epoch, at an epoch's end, within again
    whole, broken = (load_checkpoint(RunFolder(tmp_path / name).last) for name in ("whole", "broken"))
    for key in ("G", "D", *(["average"] if config.average else [])):
        for name, tensor in whole[key].items():
            assert torch.equal(tensor, broken[key][name]), name
    assert torch.equal(whole["rng"], broken["rng"])
    rows = [RunFolder(tmp_path / name).read_metrics() for name in ("whole", "broken")]
    for a, b in zip(*rows, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}
    samples = [read_samples(tmp_path / name / "samples.pt").samples for name in ("whole", "broken")]
    assert torch.equal(*samples)


def test_samples_and_scores_come_from_the_average_where_there_is_one(images: Path, tmp_path: Path) -> None:
    run_to_end(small(images, average=0.5, validation_every=0), tmp_path / "run")
    content = load_checkpoint(RunFolder(tmp_path / "run").last)
    assert any(not torch.equal(content["average"][name], tensor) for name, tensor in content["G"].items())
    trained = load_generator(RunFolder(tmp_path / "run"), torch.device("cpu"))
    for name, tensor in trained.G.state_dict().items():
        assert torch.equal(tensor, content["average"][name])
    expected = draw_samples(trained.G, "uniform", 50, sampling_rng(1, torch.device("cpu")))
    assert torch.equal(read_samples(tmp_path / "run" / "samples.pt").samples, expected)


def test_averaging_may_begin_while_a_run_goes_on_and_changes_nothing_learned(images: Path, tmp_path: Path) -> None:
    run_to_end(small(images, epochs=4), tmp_path / "plain")
    run_to_end(small(images, epochs=2), tmp_path / "averaged")
    run = RunFolder(tmp_path / "averaged")
    with pytest.raises(UsageError, match=r"--average 0\.9 begins with the iterations to come"):
        train_run(small(images, epochs=2, average=0.9), run, Silent(), resume=True)
    train_run(small(images, epochs=3, average=0.9), run, Silent(), resume=True)
    train_run(small(images, epochs=4, average=0.9), run, Silent(), resume=True)
    plain, averaged = (load_checkpoint(RunFolder(tmp_path / name).last) for name in ("plain", "averaged"))
    assert averaged["average_since"] == 10
    for player in ("G", "D"):
        assert all(torch.equal(tensor, averaged[player][name]) for name, tensor in plain[player].items())
    assert any(not torch.equal(tensor, averaged["average"][name]) for name, tensor in plain["G"].items())
    train_run(small(images, epochs=5), run, Silent(), resume=True)  # and may end
    last = load_checkpoint(run.last)
    assert "average" not in last
    run_to_end(small(images, epochs=5), tmp_path / "longer")
    longer = load_checkpoint(RunFolder(tmp_path / "longer").last)
    assert all(torch.equal(tensor, last["G"][name]) for name, tensor in longer["G"].items())


def test_same_seed_gives_same_bits_and_another_seed_others(images: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_to_end(small(images, epochs=1, seed=seed), tmp_path / name)
    a, b, c = ((tmp_path / name / "samples" / "epoch-0001.png").read_bytes() for name in "abc")
    assert a == b != c


def test_resume_drops_metrics_that_the_checkpoint_has_not_seen(images: Path, tmp_path: Path) -> None:
    config = small(images)
    run = new_run(config, tmp_path / "run")
    Trainer(config, run, Silent(stop_at=7)).train()
    with run.metrics_file.open("a") as file:
        file.write('{"epoch": 2, "step": 10}\n{"epoch": 3, "st')
    trainer = Trainer(config, run, Silent())
    trainer.restore()
    assert [row["step"] for row in run.read_metrics()] == [5]
    trainer.train()
    assert [row["step"] for row in run.read_metrics()] == [5, 10, 15, 20]


def test_resume_restores_a_row_that_was_never_written(images: Path, tmp_path: Path) -> None:
    config = small(images)
    run_to_end(config.replace(epochs=2), tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    lines = run.metrics_file.read_text().splitlines(keepends=True)
    run.metrics_file.write_text(lines[0])  # killed between checkpoint and metrics
    Trainer(config, run, Silent()).restore()
    assert run.metrics_file.read_text().splitlines(keepends=True) == lines


def test_more_epochs_continue_a_finished_run(images: Path, tmp_path: Path) -> None:
    config = small(images, epochs=2)
    run_to_end(config, tmp_path / "longer")
    trainer = Trainer(config.replace(epochs=4), RunFolder(tmp_path / "longer"), Silent())
    trainer.restore()
    trainer.train()
    run_to_end(small(images), tmp_path / "whole")
    a, b = (load_checkpoint(tmp_path / name / "checkpoints" / "last.pt") for name in ("longer", "whole"))
    assert all(torch.equal(a["G"][key], b["G"][key]) for key in a["G"])


def test_steps_stop_within_an_epoch(images: Path, tmp_path: Path) -> None:
    summary = run_to_end(small(images, steps=7), tmp_path / "run")
    assert summary.steps == 7
    assert [row["step"] for row in RunFolder(tmp_path / "run").read_metrics()] == [5, 7]


def resumed(config: Config, run: RunFolder, stop_at: int | None = None) -> Trainer:
    trainer = Trainer(config, run, Silent(stop_at))
    trainer.restore()
    return trainer


def test_seconds_count_from_the_beginning_of_the_run(images: Path, tmp_path: Path) -> None:
    run, config = RunFolder(tmp_path / "run"), small(images, validation_every=0)
    Trainer(config, run, Silent(stop_at=7)).train()  # within the second epoch
    content = load_checkpoint(run.last)
    assert content["seconds"] > run.read_metrics()[0]["seconds"] > 0
    changed(run.last, seconds=1000.0)
    summary = resumed(config, run).train()
    first, *later = [row["seconds"] for row in run.read_metrics()]
    assert first < 1000 < later[0] <= later[1] <= later[2]
    assert load_checkpoint(run.last)["seconds"] == pytest.approx(later[2], abs=1e-3)
    assert summary.steps_per_second == pytest.approx(13 / (later[2] - 1000), rel=0.1)  # rows are rounded to ms


def test_without_best_the_next_validation_is_the_best(images: Path, tmp_path: Path) -> None:
    run, config = RunFolder(tmp_path / "run"), small(images)
    run_to_end(config.replace(epochs=1), run.path)
    changed(run.last, best=1e9)
    assert resumed(config, run).best == 1e9
    run.best.unlink()
    trainer = resumed(config, run)
    trainer.train()
    assert trainer.best == max(row["validation_log_likelihood"] for row in run.read_metrics()[1:])
    assert load_checkpoint(run.best)["step"] > 5


def test_a_checkpoint_of_another_kind_of_device_goes_on_with_new_noise(images: Path, tmp_path: Path) -> None:
    run, config = RunFolder(tmp_path / "run"), small(images)
    run_to_end(config.replace(epochs=1), run.path)
    own = load_checkpoint(run.last)["rng"]
    changed(run.last, rng=torch.zeros(1, 16, dtype=torch.uint8))  # a GPU's
    with pytest.warns(GancliWarning, match=r"iteration 5 is of another kind of device than cpu.*with new noise"):
        states = [resumed(config, run).rng.get_state() for _ in range(2)]
    assert torch.equal(*states)
    assert not torch.equal(states[0], own[0])
    with pytest.warns(GancliWarning, match="new noise"):
        assert resumed(config, run).train().steps == 20


def test_a_run_whose_examples_were_exchanged_says_so_and_goes_on(images: Path, tmp_path: Path) -> None:
    run, config = RunFolder(tmp_path / "run"), small(images)
    run_to_end(config.replace(epochs=1), run.path)
    resumed(config, run)  # the examples are the same: no warning
    values = np.load(images)
    np.save(images, values[:, :, ::-1])
    with pytest.warns(GancliWarning, match=r"trained on other examples than .*small\.npy has now, though as many"):
        trainer = resumed(config, run)
    assert trainer.train().steps == 20
    resumed(config, run)  # from here on these are the run's


def test_a_checkpoint_without_a_checksum_of_its_examples_is_taken_up(images: Path, tmp_path: Path) -> None:
    run, config = RunFolder(tmp_path / "run"), small(images)
    run_to_end(config.replace(epochs=1), run.path)
    content = load_checkpoint(run.last)
    assert content.pop("examples_crc32") == zlib.crc32(load(str(images)).train.numpy().tobytes())
    save_checkpoint(run.last, content)
    assert resumed(config, run).step == 5


def test_the_good_checkpoint_outlives_the_first_save_after_a_fall_back(images: Path, tmp_path: Path) -> None:
    run, config = RunFolder(tmp_path / "run"), small(images)
    run_to_end(config.replace(epochs=2), run.path)
    run.last.write_bytes(b"")
    with pytest.warns(GancliWarning, match="Going on from the one before it"):
        trainer = resumed(config, run, stop_at=7)
    assert f"of iteration 5, is kept in {run.previous}" in trainer._kept()
    trainer.train()
    assert [load_checkpoint(path)["step"] for path in (run.last, run.previous)] == [7, 5]
    assert f"of iteration 7, is kept in {run.last}" in trainer._kept()
    resumed(config, run, stop_at=8).train()
    assert [load_checkpoint(path)["step"] for path in (run.last, run.previous)] == [8, 7]


def test_the_final_samples_come_from_the_runs_backend(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def load(*given: Any, **named: Any) -> TrainedGenerator:
        loaded.append(load_generator(*given, **named))
        return loaded[-1]

    monkeypatch.setattr("gancli.train.trainer.load_generator", load)
    run_to_end(small(images, epochs=1, backend="torch"), tmp_path / "run")
    assert {layer.backend for trained in loaded for layer in trained.G.weighted} == {"torch"}


def test_a_signal_before_the_first_iteration_leaves_a_checkpoint(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = RunFolder(tmp_path / "run"), small(images)
    with monkeypatch.context() as early:
        enter = StopRequest.__enter__

        def entered(self: StopRequest) -> StopRequest:
            enter(self)
            signal.raise_signal(signal.SIGTERM)
            return self

        early.setattr(StopRequest, "__enter__", entered)
        summary = Trainer(config, run, Silent()).train()
    assert (summary.steps, summary.signal) == (0, signal.SIGTERM)
    assert load_checkpoint(Path(summary.checkpoint))["step"] == 0
    resumed(config, run).train()
    run_to_end(config, tmp_path / "whole")
    ends = [load_checkpoint(folder.last)["G"] for folder in (run, RunFolder(tmp_path / "whole"))]
    assert all(torch.equal(ends[0][name], weight) for name, weight in ends[1].items())


def test_training_that_diverges_stops_with_a_sentence(images: Path, tmp_path: Path) -> None:
    config = small(images, lr=1e30)
    with pytest.raises(GancliError, match=r"diverged.*Try a lower --lr"):
        run_to_end(config, tmp_path / "run")


def test_second_stage_starts_from_the_pretrained_generator(images: Path, tmp_path: Path) -> None:
    run_to_end(small(images, epochs=1), tmp_path / "stage1")
    config = small(
        images,
        epochs=1,
        generator="dense 7 relu, dense 5 sigmoid bias=-2, pretrained",
        pretrained=str(tmp_path / "stage1"),
    )
    trainer = Trainer(config, new_run(config, tmp_path / "stage2"), Silent())
    weights = load_checkpoint(tmp_path / "stage1" / "checkpoints" / "best.pt")["G"]
    tail = trainer.game.G.weighted[-2:]
    assert torch.equal(tail[0].weight, weights["layers.0.weight"])
    assert torch.equal(tail[1].bias, weights["layers.1.bias"])
    trainer.train()
    # the second run stands alone: its configuration names every layer
    assert "pretrained" not in RunFolder(tmp_path / "stage2").config().generator


def test_a_second_stage_goes_on_without_the_first(images: Path, tmp_path: Path) -> None:
    run_to_end(small(images, epochs=1), tmp_path / "stage1")
    second = {"generator": "dense 7 relu, dense 5 sigmoid bias=-2, pretrained", "pretrained": str(tmp_path / "stage1")}
    run_to_end(small(images, **second), tmp_path / "whole")
    config = adopt_pretrained(small(images, **second))
    run = RunFolder(tmp_path / "run")
    train_run(config, run, Silent(stop_at=7))
    (tmp_path / "stage1").rename(tmp_path / "elsewhere")
    train_run(config, run, Silent(), resume=True)
    ends = [load_checkpoint(folder.last)["G"] for folder in (run, RunFolder(tmp_path / "whole"))]
    assert all(torch.equal(ends[0][name], weight) for name, weight in ends[1].items())
    shutil.rmtree(run.path / "checkpoints")
    run.metrics_file.unlink()
    with pytest.raises(GancliError, match="There is no run folder"):  # it would have to begin again
        train_run(config, run, Silent(), resume=True)


@pytest.mark.parametrize("samples_from", ["best", "last"])
def test_final_figures_are_those_of_the_generator_that_samples_come_from(
    images: Path, tmp_path: Path, samples_from: str
) -> None:
    run = RunFolder(tmp_path / "run")
    config = small(images, samples_from=samples_from)
    train_run(config, run, Silent())
    train_run(config.replace(epochs=6), run, Silent(stop_at=22), resume=True)  # two iterations into the next epoch
    # The last generator is another one by now, the best by validation is not.
    assert (run.final_summary() is None) == (samples_from == "last")
    kept = read_samples(run.samples_file).samples
    drawn = samples_of_run(run, 50, None, "cpu").samples
    assert torch.equal(drawn, kept) == (samples_from == "best")


def test_an_epoch_that_steps_cut_short_is_gone_on_with(images: Path, tmp_path: Path) -> None:
    run_to_end(small(images), tmp_path / "whole")
    run = RunFolder(tmp_path / "run")
    train_run(small(images, steps=8), run, Silent())
    train_run(small(images, steps=None), run, Silent(), resume=True)
    told = {row["step"]: row for row in run.read_metrics()}
    assert list(told) == [5, 8, 10, 15, 20]
    for row in RunFolder(tmp_path / "whole").read_metrics():
        assert {**told[row["step"]], "seconds": 0} == {**row, "seconds": 0}


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 3.0)])
def test_a_marginal_bias_wants_means_that_are_probabilities(tmp_path: Path, low: float, high: float) -> None:
    path = tmp_path / "floats.npy"
    values = np.random.default_rng(0).random((125, 1, 4, 4), dtype=np.float32)
    np.save(path, low + (high - low) * values)
    with pytest.raises(
        UsageError, match=r"needs pixels with means in \[0, 1\].*dense out linear irange=0.05"
    ) as caught:
        run_to_end(small(path), tmp_path / "run")
    mended = str(caught.value).split("--generator '")[1].split("'")[0]
    assert run_to_end(small(path, generator=mended), tmp_path / "run").epochs == 4


def test_pretrained_generator_of_the_wrong_width_is_refused(images: Path, tmp_path: Path) -> None:
    run_to_end(small(images, epochs=1), tmp_path / "stage1")
    config = small(images, generator="dense 3 sigmoid, pretrained", pretrained=str(tmp_path / "stage1"))
    with pytest.raises(UsageError, match="5 noise dimensions"):
        Trainer(config, RunFolder(tmp_path / "stage2"), Silent())


def test_minibatches_show_each_example_once_a_pass_in_changing_order() -> None:
    train = torch.arange(23, dtype=torch.float32).view(23, 1, 1, 1)
    stream = Minibatches(train, lambda raw: raw, 5, seed=3, device=torch.device("cpu"))
    assert stream.per_pass == 4
    passes = [torch.cat([stream.draw(p * 4 + i) for i in range(4)]).flatten().tolist() for p in range(3)]
    assert all(len(set(one)) == 20 for one in passes)
    assert passes[0] != passes[1] != passes[2]
    again = Minibatches(train, lambda raw: raw, 5, seed=3, device=torch.device("cpu"))
    assert torch.equal(again.draw(9), stream.draw(9))


def test_batch_larger_than_the_training_set_is_refused() -> None:
    with pytest.raises(UsageError, match="--batch-size 24 is more than the 23"):
        Minibatches(torch.zeros(23, 1, 1, 1), lambda raw: raw, 24, 0, torch.device("cpu"))


def interrupt_twice() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        signal.raise_signal(signal.SIGINT)


def test_second_interrupt_insists() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()


def test_an_existing_run_is_not_overwritten(images: Path, tmp_path: Path) -> None:
    run_to_end(small(images, epochs=1), tmp_path / "run")
    with pytest.raises(UsageError, match="already holds a run"):
        new_run(small(images), tmp_path / "run")


def test_newest_run_is_found_and_none_is_said(images: Path) -> None:
    with pytest.raises(GancliError, match="no run under runs/ yet; train one with: gancli train"):
        open_run(None)
    with pytest.raises(GancliError, match="no run folder runs/x"):
        open_run(Path("runs/x"))
    run_to_end(small(images, epochs=1), Path("runs/first"))
    assert open_run(None).path == Path("runs/first")


def changed(path: Path, **entries: Any) -> None:
    save_checkpoint(path, {**load_checkpoint(path), **entries})


def one_velocity(value: Any) -> dict[str, Any]:
    return {"state": {number: {"velocity": value} for number in range(4)}}


CHECKPOINT_FAULTS = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "another dict": lambda path: torch.save({"a": 1}, path),
    "newer format": lambda path: save_checkpoint(path, {**load_checkpoint(path), "format": 99}),
    "a row of another iteration": lambda path: changed(path, row={"step": 3}),
    "a row that is no row": lambda path: changed(path, row={"step": 5, "x": torch.ones(2)}),
    "another position": lambda path: changed(path, position=99),
    "other data": lambda path: changed(path, examples="many"),
    "a random state of no bytes": lambda path: changed(path, rng=torch.ones(1, 5056)),
    "another rule's state": lambda path: changed(path, update_G={"state": {0: {"step": 1}}}),
    "a velocity of another shape": lambda path: changed(path, update_D=one_velocity(torch.ones(2))),
    "a velocity that is text": lambda path: changed(path, update_D=one_velocity("fast")),
    "means of something else": lambda path: changed(path, monitor={"sums": torch.ones(7), "count": 1}),
    "other weights": lambda path: save_checkpoint(path, {**load_checkpoint(path), "G": {}}),
    "no state": lambda path: save_checkpoint(path, {k: v for k, v in load_checkpoint(path).items() if k != "update_G"}),
}


@pytest.mark.parametrize("fault", CHECKPOINT_FAULTS)
def test_damaged_checkpoint_is_refused_with_a_sentence(images: Path, tmp_path: Path, fault: str) -> None:
    config = small(images, epochs=1)
    run_to_end(config, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    CHECKPOINT_FAULTS[fault](run.last)
    run.previous.unlink(missing_ok=True)
    with pytest.raises(DataError) as caught:
        Trainer(config, run, Silent()).restore()
    assert "last.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_samples_of_a_run_that_went_on_are_drawn_anew(images: Path, tmp_path: Path) -> None:
    config = small(images, validation_every=0)
    run_to_end(config, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    old = read_samples(run.samples_file).samples
    assert torch.equal(samples_of_run(run, 50, None, "cpu").samples, old)
    longer = Trainer(config.replace(epochs=8), run, Silent(stop_at=32))
    longer.restore()
    assert longer.train().interrupted
    assert run.final_summary() is None
    assert not torch.equal(samples_of_run(run, 50, None, "cpu").samples, old)


def test_denormal_numbers_are_zero_while_it_trains(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not torch.set_flush_denormal(False):
        pytest.skip("this CPU has no such mode")
    iterate, seen = Trainer._iterate, []

    def watched(self: Trainer, epoch: int) -> torch.Tensor:
        seen.append(flushes_denormals())
        return iterate(self, epoch)

    monkeypatch.setattr(Trainer, "_iterate", watched)
    Trainer(small(images), RunFolder(tmp_path / "run"), Silent()).train()
    assert set(seen) == {True}
    assert not flushes_denormals()
