"""The quantities of section 4, by quadrature: D*, V(D, G), C(G), and the divergences of p_data and p_g."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gancli.data.gaussian import Mixture
from gancli.theory.densities import PushForward, log_mixture_density
from gancli.theory.quadrature import ORDER, panel_rule

LOG_4 = math.log(4)
_REACH = 9  # standard deviations beyond which p_data has a mass of 2e-19
# Where p_data + p_g is below this share of p_data's peak, D is hardly ever asked and learns nothing.
_SEEN = 1e-3


class Comparison:
    """p_data against p_g with everything that section 4 says about them, in nats, in double precision.

    Expectations over the data are integrals over x, those over samples integrals over z, where p_g's singularities
    are none: E_{x~p_g} f(x) = ∫ p_z(z) f(G(z)) dz.

    Args:
        data: p_data.
        model: p_g.
        order: nodes per panel of the quadrature.

    Source: section 4 of the paper.
    """

    def __init__(self, data: Mixture, model: PushForward, order: int = ORDER) -> None:
        self.data, self.model = data, model
        ends = [
            mean + step * std
            for mean, std in zip(data.means, data.stds, strict=True)
            for step in range(-_REACH, _REACH + 1)
        ]
        low, high = min(ends), max(ends)
        inside = model.breakpoints_x[(model.breakpoints_x > low) & (model.breakpoints_x < high)]
        over_x = panel_rule(torch.cat([torch.tensor(ends, dtype=torch.float64), inside]), order)
        over_z = panel_rule(model.breakpoints_z, order)
        self.x = over_x.nodes
        self.x_g, self._model_g = model.log_density_of_images(over_z.nodes)
        self._data_x, self._data_g = log_mixture_density(data, self.x), log_mixture_density(data, self.x_g)
        self._model_x = model.log_density(self.x)
        # The masses that the points stand for.
        self.mass_x = over_x.weights * self._data_x.exp()
        self.mass_g = over_z.weights * model.prior.log_density(over_z.nodes).exp()

    def optimal_logit(self, x: Tensor) -> Tensor:
        """Return the logit of D*(x) = p_data(x) / (p_data(x) + p_g(x)), log p_data − log p_g, (n,)."""
        return log_mixture_density(self.data, x) - self.model.log_density(x)

    def value(self, logit: Callable[[Tensor], Tensor]) -> float:
        """Return V(D, G) = E_data log D(x) + E_z log(1 − D(G(z))) for any D, given by its logit."""
        return float(self.value_of(logit(self.x), logit(self.x_g)))

    def value_of(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return V(D, G) from D's logits at `x` and `x_g`, differentiable in them."""
        return -(self.mass_x * softplus(-real)).sum() - (self.mass_g * softplus(fake)).sum()

    @property
    def c_of_g(self) -> float:
        """C(G) = max_D V(D, G) = V(D*, G)."""
        return float(self.value_of(self._data_x - self._model_x, self._data_g - self._model_g))

    @property
    def jsd(self) -> float:
        """The Jensen–Shannon divergence, ½ KL(p_data ‖ m) + ½ KL(p_g ‖ m), m = (p_data + p_g)/2."""
        log_half = math.log(0.5)
        data = self._data_x - torch.logaddexp(self._data_x, self._model_x) - log_half
        model = self._model_g - torch.logaddexp(self._data_g, self._model_g) - log_half
        return 0.5 * float(self.mass_x @ data) + 0.5 * float(self.mass_g @ model)

    @property
    def kl_data_model(self) -> float:
        """KL(p_data ‖ p_g); infinite where the data reach beyond what G reaches."""
        return float(self.mass_x @ (self._data_x - self._model_x))

    @property
    def kl_model_data(self) -> float:
        """KL(p_g ‖ p_data)."""
        return float(self.mass_g @ (self._model_g - self._data_g))

    @property
    def data_beyond_model(self) -> float:
        """The share of the data where p_g is zero."""
        return float(self.mass_x[torch.isneginf(self._model_x)].sum())

    def largest_error(self, logit: Callable[[Tensor], Tensor]) -> float:
        """Return max |D − D*| where p_data + p_g is at least a thousandth of p_data's peak."""
        least = math.log(_SEEN) + float(self._data_x.max())
        points = torch.cat([self.x, self.x_g])
        log_data = torch.cat([self._data_x, self._data_g])
        log_model = torch.cat([self._model_x, self._model_g])
        seen = torch.logaddexp(log_data, log_model) >= least
        difference = torch.sigmoid(logit(points[seen])) - torch.sigmoid((log_data - log_model)[seen])
        return float(difference.abs().max())
