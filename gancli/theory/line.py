"""A game on the line from start to end: exact figures at every report, frames, and the four moments of Figure 1."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gancli.figures.figure1 import Snapshot
from gancli.nets.networks import Discriminator
from gancli.theory.densities import PRIORS, PushForward, log_mixture_density, network_map
from gancli.theory.divergences import Comparison
from gancli.theory.optimum import logit_of, train_to_optimum
from gancli.theory.play import Play
from gancli.theory.targets import Line
from gancli.train.algorithm1 import Game

# Figure 1(a) is the first report at which p_g has come this near: still to one side, yet among the data.
_NEAR = 0.12
_MOST_G_STEPS = 60
_SHARES_OF_RATE = (1, 0.25, 0.06, 0.015)  # tried in turn until a step brings G nearer
_TRAINING_ORDER = 12  # nodes per panel for training D; what is printed of it comes from the full rule
_POINTS = 700  # positions of a curve
_ARROWS = 21


@dataclass(frozen=True)
class LineReport:
    """The game's state at one moment, exact, in nats.

    Attributes:
        step: iterations played.
        value: V(D, G).
        c_of_g: C(G), the value that the best D would reach.
        jsd: JSD(p_data ‖ p_g).
        kl_data_model: KL(p_data ‖ p_g); infinite where the data reach beyond p_g.
        kl_model_data: KL(p_g ‖ p_data).
        largest_error: max |D − D*| where p_data + p_g is at least a thousandth of p_data's peak.
        data_beyond_model: share of the data where p_g is zero.
        mean_d_of_g: E_z D(G(z)).
    """

    step: int
    value: float
    c_of_g: float
    jsd: float
    kl_data_model: float
    kl_model_data: float
    largest_error: float
    data_beyond_model: float
    mean_d_of_g: float


@dataclass(frozen=True)
class LineResult:
    """What a game on the line leaves.

    Attributes:
        reports: from the first moment to the last.
        frames: the same moments as pictures show them.
        panels: Figure 1's four.
        near: the two players at (a).
        last: p_data against the final p_g.
    """

    reports: list[LineReport]
    frames: list[Snapshot]
    panels: list[Snapshot]
    near: Game
    last: Comparison


def play_line(
    target: Line, play: Play, moments: Sequence[int], progress: Callable[[LineReport], None] = lambda report: None
) -> LineResult:
    """Play a game to its end and look at it exactly on the way.

    Args:
        target: the data.
        play: the game, not yet begun.
        moments: iterations after which to look, increasing; the last one is the end.
        progress: called with each report.
    """
    reports: list[LineReport] = []
    frames: list[Snapshot] = []
    kept: list[tuple[Game, Comparison, LineReport]] = []

    def look(step: int) -> None:
        comparison = compare(target, play)
        report = _report(step, play.game.D, comparison)
        reports.append(report)
        # Until p_g comes near, the nearest moment so far stands in for (a).
        if not kept or (kept[-1][2].jsd >= _NEAR and report.jsd < kept[-1][2].jsd):
            kept[:] = [(copy.deepcopy(play.game), comparison, report)]
        title = f"iteration {step:,}    JSD = {report.jsd:.4f}    C(G) + log 4 = {2 * report.jsd:.4f}"
        frames.append(snapshot(target, comparison, play.game.D, title))
        progress(report)

    play.run(moments, look)
    last = compare(target, play)
    near, comparison, report = kept[0]
    panels = _four_panels(target, play, near, comparison, report)
    panels.append(snapshot(target, last, play.game.D, f"the end\niteration {play.step:,}, JSD {last.jsd:.4f}"))
    return LineResult(reports, frames, panels, near, last)


def compare(target: Line, play: Play, game: Game | None = None) -> Comparison:
    """Return p_data against the p_g of a game's generator, now."""
    model = PushForward(network_map((game or play.game).G), PRIORS[play.config.noise])
    return Comparison(target.mixture, model)


def snapshot(target: Line, comparison: Comparison, D: Discriminator, title: str) -> Snapshot:
    """Return what a picture shows of a moment."""
    x = _positions(target)
    prior = comparison.model.prior
    share = (torch.arange(_ARROWS, dtype=torch.float64) + 0.5) / _ARROWS
    z = torch.special.ndtri(share) if prior.kind == "gaussian" else prior.low + share * (prior.high - prior.low)
    return Snapshot(
        x=x.numpy(),
        d=logit_of(D)(x).sigmoid().numpy(),
        p_data=log_mixture_density(target.mixture, x).exp().numpy(),
        p_g=comparison.model.log_density(x).exp().numpy(),
        z=z.numpy(),
        x_of_z=comparison.model.G(z)[0].numpy(),
        title=title,
    )


def _positions(target: Line) -> Tensor:
    """Return where curves are drawn, (k,): four standard deviations around the data."""
    modes = list(zip(target.mixture.means, target.mixture.stds, strict=True))
    low, high = min(mean - 4 * std for mean, std in modes), max(mean + 4 * std for mean, std in modes)
    return torch.linspace(low, high, _POINTS, dtype=torch.float64)


def _report(step: int, D: Discriminator, comparison: Comparison) -> LineReport:
    logit = logit_of(D)
    return LineReport(
        step=step,
        value=comparison.value(logit),
        c_of_g=comparison.c_of_g,
        jsd=comparison.jsd,
        kl_data_model=comparison.kl_data_model,
        kl_model_data=comparison.kl_model_data,
        largest_error=comparison.largest_error(logit),
        data_beyond_model=comparison.data_beyond_model,
        mean_d_of_g=float(comparison.mass_g @ logit(comparison.x_g).sigmoid()),
    )


def _four_panels(target: Line, play: Play, near: Game, comparison: Comparison, report: LineReport) -> list[Snapshot]:
    """Return (a), (b) and (c): as it was, D at its optimum, and G after its steps against that D."""
    best = train_to_optimum(near.D, Comparison(comparison.data, comparison.model, _TRAINING_ORDER))
    gap = comparison.c_of_g - comparison.value(logit_of(best))
    steps, after = _steps_of_g(target, play, replace(near, D=best), comparison)
    moment = "near convergence" if report.jsd < _NEAR else "as near as it came"
    return [
        snapshot(target, comparison, near.D, f"{moment}\niteration {report.step:,}, JSD {report.jsd:.4f}"),
        snapshot(target, comparison, best, f"D trained to D*\nC(G) − V = {gap:.0e}".replace("-", "−")),
        snapshot(
            target,
            after,
            best,
            f"G after {steps} step{'s' if steps > 1 else ''}\nagainst that D, JSD {after.jsd:.4f}"
            if steps
            else "no step of G against that D\nbrought p_g nearer",
        ),
    ]


def _steps_of_g(target: Line, play: Play, game: Game, before: Comparison) -> tuple[int, Comparison]:
    """Return how many steps brought G nearer against a D that stays, and where they led.

    At D = D* the gradient of V is that of C(G), so short enough steps of the minimax loss lower it; the rate of the
    game may be too long for that.
    """
    for share in _SHARES_OF_RATE:
        trial = copy.deepcopy(game)
        trial = replace(trial, D=trial.D.float())
        steps, after = 0, before
        while steps < _MOST_G_STEPS and after.jsd > before.jsd / 2:
            play.descend_G(trial, share)
            moved = compare(target, play, trial)
            if moved.jsd >= after.jsd:
                break  # against a D that stays, G soon runs past the data
            steps, after = steps + 1, moved
        if steps:
            return steps, after
    return 0, before
