"""What surrounds Algorithm 1: data, schedules, validation, pictures, checkpoints, and the way back in after a stop."""

from __future__ import annotations

import json
import math
import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from gancli.config import Config
from gancli.data.preprocess import make_preprocessing
from gancli.data.registry import load
from gancli.data.samples import write_samples
from gancli.errors import DivergedError, GancliError, UsageError, WriteError, memory_shortage
from gancli.files import atomic_write_text
from gancli.ops import flushed_denormals
from gancli.ops.precision import repeatable_convolutions
from gancli.ranks import ALONE, Ranks
from gancli.train import schedules
from gancli.train.averaging import WeightAverage
from gancli.train.captured import captured_if_possible, watchable
from gancli.train.checkpoints import load_newest, save_checkpoint
from gancli.train.generate import draw_samples, load_generator, samples_file, sampling_rng
from gancli.train.health import Health
from gancli.train.interrupt import StopRequest
from gancli.train.judge import Judge
from gancli.train.lock import locked
from gancli.train.memory import explained_shortage
from gancli.train.minibatches import Minibatches
from gancli.train.monitor import Monitor
from gancli.train.reporting import Reporter, Summary
from gancli.train.run_folder import RunFolder
from gancli.train.seeds import make_rng
from gancli.train.setup import adopt_pretrained, make_game, marginals, resolve_device
from gancli.train.state import generator_state, take_up, whole_state
from gancli.train.step import Play, Step
from gancli.train.streams import play_stream
from gancli.train.trouble import all_finite, state_of, watch

CPU = torch.device("cpu")
LOOKS = 50  # times an epoch that the display reads the running means


def train_run(
    config: Config,
    run: RunFolder,
    reporter: Reporter,
    *,
    resume: bool = False,
    until: int | None = None,
    ranks: Ranks = ALONE,
) -> Summary:
    """Train a new run, or go on with one, in a folder that is this process's alone meanwhile.

    Args:
        config: the configuration.
        run: its folder.
        reporter: what watches.
        resume: whether to take up the run's last checkpoint.
        until: pause after this epoch, as if the run had been stopped there, if it is not the last one anyway.
        ranks: who trains it together; rank 0 alone reads and writes the folder.

    Raises:
        GancliError: the folder is another process's, cannot be written to or vanishes; training diverges; memory does
            not suffice. What had been saved by then is kept, and the sentence names it.
    """
    with locked(run.path) if ranks.leads else nullcontext():
        if ranks.leads and not resume and run.config_file.exists():
            raise UsageError(
                f"{run.path} holds a run by now; continue it with --resume {run.path}, or choose another --out."
            )
        with explained_shortage(config):
            trainer = Trainer(config, run, reporter, ranks, resume=resume)
            if resume:
                trainer.restore()
            return trainer.train(until)


class Trainer:
    """One run: builds the game, plays it iteration by iteration, and keeps the run folder.

    It takes the run folder to be its own: `train_run` sees to that.
    """

    def __init__(
        self, config: Config, run: RunFolder, reporter: Reporter, ranks: Ranks = ALONE, *, resume: bool = False
    ) -> None:
        self.run, self.reporter, self.ranks = run, reporter, ranks
        self.device = resolve_device(ranks.device(config.device))
        reporter.note(f"loading {config.dataset}")
        self.dataset = load(config.dataset, config.data_dir, fold=config.fold)
        self.examples_crc32 = self.dataset.train_checksum()
        self.config = config = adopt_pretrained(config, ranks)
        self.preprocessing = make_preprocessing(config.preprocessing, self.dataset, gcn_scale=config.gcn_scale)
        self.data = Minibatches(
            self.dataset.train, self.preprocessing, config.batch_size, config.seed, self.device, ranks
        )
        # Weights of another run are where this one begins; later they are in its own checkpoints.
        begun = resume and ranks.agreed(run.has_checkpoint)
        self.game = make_game(
            config.replace(pretrained=None) if begun else config,
            self.dataset.shape,
            marginals(config, self.dataset.train, self.preprocessing),
            self.device,
            ranks,
        )
        self.rng = make_rng(config.seed, play_stream(ranks), self.device)
        self.game.D.share_rng(self.rng)
        self._plain = Step(config, self.game, self.data, self.rng)
        self.play: Play = self._plain
        self.average = WeightAverage(self.game.G, config.average)
        self.judge = Judge(config, self.dataset, self.preprocessing, self.device, ranks)
        self.step = 0
        self.saved: int | None = None  # the iteration of the newest good checkpoint
        self.saved_in = run.last  # and its file
        self.best = -math.inf
        self.per_epoch = self.data.per_pass
        self.look_every = max(1, self.per_epoch // LOOKS)
        self.monitor = Monitor(self.device, self.look_every, ranks)
        self.health = Health(self.preprocessing, self.dataset.train)
        self.total = schedules.total_iterations(config, self.per_epoch)
        self.signal: int | None = None  # that asked any of the ranks to stop
        self.seconds_before = 0.0  # of iterations, in the processes before this one
        self._seconds_stepping = 0.0  # and in this one

    def restore(self) -> None:
        """Take up the run where its last checkpoint left it, or where that is damaged, the one before it.

        A run that was stopped before its first checkpoint begins again.

        Raises:
            DataError: no checkpoint can be read, or it is of another configuration.
        """
        found = self._newest()
        row = take_up(self, *found) if found else {}
        if not self.ranks.agreed(self.run.best.exists):
            self.best = -math.inf  # best.pt stayed in a folder that was moved, or was removed: the next one is the best
        if not self.ranks.leads:
            return
        self.run.keep_metrics_until(self.step)
        if row and all(kept["step"] != row["step"] for kept in self.run.read_metrics()):
            self.run.append_metrics(row)  # killed after the checkpoint, before the row was written

    def _newest(self) -> tuple[dict[str, Any], Path] | None:
        """Read the newest checkpoint and say where it is; None if none has been written yet."""

        def read() -> tuple[dict[str, Any], Path] | None:
            if not (self.run.has_checkpoint() or self.run.read_metrics()):
                return None
            return load_newest(self.run.last, self.run.previous)

        return self.ranks.agreed(read)

    @property
    def seconds(self) -> float:
        """What the iterations since the run began took."""
        return self.seconds_before + self._seconds_stepping

    def train(self, until: int | None = None) -> Summary:
        """Play until the last epoch, a signal or a pause after epoch `until`; the last epoch's samples are scored."""
        started, first = time.perf_counter(), self.step
        end = self.total if until is None else min(until * self.per_epoch, self.total)
        if self.ranks.leads:
            self.run.write_config(self.config)
            if self.config.samples_from == "last" and (self.step < end or self.run.best.exists()):
                self.run.summary_file.unlink(missing_ok=True)  # its samples are about to be another generator's
                self.run.best.unlink(missing_ok=True)  # of a run that kept it until now
        self.play, how = captured_if_possible(self._plain, self.device, self.ranks)
        together = f"{self.ranks.size} ranks" if self.ranks.size > 1 else ""
        self.reporter.start(
            self.run.path,
            self.config,
            step=self.step,
            total=end,
            per_epoch=self.per_epoch,
            device=", ".join(filter(None, (str(self.device), together, how))),
        )
        try:
            with flushed_denormals(), repeatable_convolutions(self.device), StopRequest() as stop:
                while not self._listen(stop) and self.step < end:
                    self._play_epoch(stop)
                if self.signal is not None and self.saved is None:  # it came before the first iteration
                    self._save({})
            summary = Summary(
                run=str(self.run.path),
                steps=self.step,
                epochs=self.step // self.per_epoch,
                seconds=time.perf_counter() - started,
                steps_per_second=(self.step - first) / max(self._seconds_stepping, 1e-9),
                checkpoint=str(self.run.last),
                samples=None,
                parzen=None,
                interrupted=self.signal is not None,
                signal=self.signal,
            )
            if not summary.interrupted and end == self.total:
                summary = self._finish(summary)
        except WriteError as error:
            raise WriteError(
                f"{error}. {self._kept()} Once that is mended, go on with: gancli train --resume {self.run.path}"
            ) from error
        finally:
            self.reporter.finish()
        return summary

    def _play_epoch(self, stop: StopRequest) -> None:
        """Play to the end of the current epoch; after its last iteration: validation, picture, checkpoint, metrics."""
        epoch = self.step // self.per_epoch + 1
        end = min(epoch * self.per_epoch, self.total)
        self.game.G.train()
        self.game.D.train()
        start = time.perf_counter()
        while self.step < end and self.signal is None:
            self.monitor.add(self._iterate(epoch), self.step)
            self.reporter.iteration(self.step)
            looks = self.step % self.look_every == 0
            if looks or self.ranks.size == 1:
                self._listen(stop)
            if looks:
                self.reporter.means(self.monitor.means())
                if self.monitor.first_bad is not None:
                    self._stop_diverged(stop)
        self._seconds_stepping += time.perf_counter() - start
        means = self.monitor.means()
        if self.monitor.first_bad is not None or not all_finite(state_of(self.game)):
            self._stop_diverged(stop)
        if self.step < end:
            self._save({})
            return

        # From here on nothing learns.
        row: dict[str, Any] = {"epoch": epoch, "step": self.step, **means}
        row["lr"], row["momentum"] = self._schedules(epoch)
        if self.step % self.per_epoch == 0:  # an epoch that --steps cut short may be gone on with
            self.monitor.reset()
        self.reporter.note("picture and validation")
        if self.ranks.leads:
            samples = self.judge.picture(self.average.network, self.run.picture(epoch))
            warnings = self.health.warnings(self.game, means, samples, step=self.step, steps=self.per_epoch)
            if warnings:
                row["warnings"] = warnings
        if self.config.validation_every and (epoch % self.config.validation_every == 0 or self.step == self.total):
            row["validation_log_likelihood"], row["validation_sigma"] = self.judge.validate(self.average.network)
            if row["validation_log_likelihood"] > self.best:
                self.best = row["validation_log_likelihood"]
                if self.ranks.leads and self.config.samples_from == "best":
                    save_checkpoint(self.run.best, generator_state(self))
        row["seconds"] = round(self.seconds, 3)
        self._save(row)
        if self.ranks.leads:
            self.run.append_metrics(row)
        self.reporter.epoch(row)

    def _listen(self, stop: StopRequest) -> bool:
        """Ask all ranks whether a signal has asked one of them to stop: they must end after the same iteration."""
        self.signal = self.ranks.largest(stop.signal or 0) or None
        return self.signal is not None

    def _iterate(self, epoch: int) -> torch.Tensor:
        """Play one iteration of Algorithm 1 at the schedules' values; returns what is shown of it."""
        seen = self.play(self.step, *self._schedules(epoch))
        self.step += 1
        self.average.update(self.step)
        return seen

    def _stop_diverged(self, stop: StopRequest) -> NoReturn:
        """Say which iteration and layer broke down and what to try; the last checkpoint, still finite, stays."""
        self.reporter.note("training diverged; playing again from the last checkpoint to find where")
        where = self._find_cause(stop) or f"before iteration {self.step:,}: a loss or a weight is not finite"
        bound = self.config.max_gradient_norm
        raise DivergedError(
            where,
            f"Try a lower --lr (it was {self.config.lr:g}), --max-gradient-norm "
            f"{bound / 10 if bound else 10:g}{f' (it was {bound:g})' if bound else ''} or another --seed in a new run. "
            f"{self._kept()}",
        )

    def _find_cause(self, stop: StopRequest) -> str | None:
        """Play again from the last checkpoint with everything watched, since training repeats itself to the bit.

        Returns:
            The iteration and the first thing in it that was not finite; None where all went well this time, where a
            signal asks to stop, or where there is no second game: for want of memory, or of what the run began with.
        """
        try:
            again = Trainer(self.config, self.run, self.reporter, self.ranks, resume=self.saved is not None)
            again.play = watchable(again._plain, self.play)
            kept = again._newest() if self.saved is not None else None
            if kept:
                take_up(again, *kept)
            again.game.G.train()
            again.game.D.train()
            with watch(again.game) as found:
                while again.step < self.step and not self.ranks.largest(len(found)) and not self._listen(stop):
                    again._iterate(again.step // again.per_epoch + 1)
        except Exception as error:
            if not (isinstance(error, GancliError) or memory_shortage(error)):
                raise
            return None
        return f"at iteration {again.step:,}: {found[0]}" if found else None

    def _kept(self) -> str:
        """Say where the last good state is."""
        if self.saved is None:
            return "No checkpoint had been written yet."
        return f"The last good state, of iteration {self.saved:,}, is kept in {self.saved_in}."

    def _schedules(self, epoch: int) -> tuple[float, float]:
        return schedules.learning_rate(self.config, self.step, self.per_epoch), schedules.momentum(self.config, epoch)

    def _save(self, row: dict[str, Any]) -> None:
        """Save everything that decides how the run goes on, and the metrics row that is to be written."""
        content = whole_state(self, row)
        if self.ranks.leads:
            self._write(content)
        self.saved, self.saved_in = self.step, self.run.last

    def _write(self, content: dict[str, Any]) -> None:
        """Write last.pt; the good checkpoint before it becomes, or stays, previous.pt.

        Raises:
            GancliError: the run folder had vanished; the checkpoint is then in a new one in its place.
        """
        vanished = not self.run.config_file.exists()
        if vanished:
            self.run.write_config(self.config)
        save_checkpoint(self.run.last, content, previous=self.run.previous if self.saved_in == self.run.last else None)
        if vanished:
            raise GancliError(
                f"The run folder {self.run.path} was moved or removed while the run trained in it. Its state at "
                f"iteration {self.step:,} is saved in a new folder of that name; go on with: gancli train --resume "
                f"{self.run.path}"
            )

    def _finish(self, summary: Summary) -> Summary:
        """Draw the final samples from the best generator, score them on the test set, write summary.json."""
        self.reporter.note("final samples and Parzen score")
        trained = self.ranks.agreed(lambda: load_generator(self.run, CPU, backend=self.config.backend))
        rng = sampling_rng(self.config.seed, self.device)
        G = trained.G.to(self.device)
        samples = draw_samples(G, self.config.noise, self.config.num_samples, rng, self.ranks)
        if self.ranks.leads:
            write_samples(self.run.samples_file, samples_file(trained, samples, self.config.seed))
        score = self.judge.score(samples)
        summary = replace(
            summary, checkpoint=str(self.run.chosen), samples=str(self.run.samples_file), parzen=asdict(score)
        )
        if self.ranks.leads:
            atomic_write_text(self.run.summary_file, json.dumps(asdict(summary), indent=2) + "\n")
        return summary
