"""How long a run is, and how learning rate and momentum move.

The two are functions of the position alone, so that a resumed run needs no state.
"""

from __future__ import annotations

from gancli.config import Config


def iterations_per_epoch(num_train: int, batch_size: int) -> int:
    """Return the minibatches of one pass over the training set; what does not fill one is left out of the pass."""
    return max(1, num_train // batch_size)


def total_iterations(config: Config, per_epoch: int) -> int:
    """Return how many iterations a run takes: those of its epochs, or `steps` where that is fewer."""
    whole = config.epochs * per_epoch
    return min(whole, config.steps or whole)


def learning_rate(config: Config, step: int, per_epoch: int) -> float:
    """Return the rate of iteration `step` (from 0), never above lr itself.

    max(lr / lr_decay^step · (1 − step / (anneal_epochs · per_epoch))₊, lr_min); without the bracket where
    anneal_epochs is 0, as in the released code.

    Source: mnist.yaml, sgd.ExponentialDecay; the linear fall is ours.
    """
    try:
        rate = config.lr / config.lr_decay**step
    except OverflowError:  # of the power, beyond 1.8e308
        rate = 0.0
    if config.anneal_epochs:
        rate *= max(1 - step / (config.anneal_epochs * per_epoch), 0.0)
    return max(rate, min(config.lr_min, config.lr))


def momentum(config: Config, epoch: int) -> float:
    """Return the momentum of epoch `epoch` (from 1), linear from momentum to momentum_final at momentum_epochs.

    Source: mnist.yaml, learning_rule.MomentumAdjustor with start 1, saturate 250.
    """
    rise = max(config.momentum_epochs - 1, 1)
    share = min((epoch - 1) / rise, 1.0) if config.momentum_epochs > 1 else 1.0
    return config.momentum + share * (config.momentum_final - config.momentum)
