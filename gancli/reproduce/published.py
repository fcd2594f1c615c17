"""Figures that others have published, as data: what ours are set beside."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A Parzen-window log-likelihood from the literature, of 10,000 samples.

    Attributes:
        model: as its authors call it.
        log_likelihood: mean, nats.
        standard_error: as its authors give it, nats; None where they give none.
        source: who published it.
    """

    model: str
    log_likelihood: float
    standard_error: float | None
    source: str = "Table 1 of the paper"

    def __str__(self) -> str:
        """Return "225 ± 2"-like text."""
        error = "" if self.standard_error is None else f" ± {self.standard_error:g}"
        return f"{self.log_likelihood:g}{error}"


# Over test examples on MNIST; across the folds of the data set on TFD.
MNIST = (
    Published("DBN", 138, 2),
    Published("Stacked CAE", 121, 1.6),
    Published("Deep GSN", 214, 1.1),
    Published("Adversarial nets", 225, 2),
)
TFD = (
    Published("DBN", 1909, 66),
    Published("Stacked CAE", 2110, 50),
    Published("Deep GSN", 1890, 29),
    Published("Adversarial nets", 2057, 26),
)
K_MEANS = Published("k-means centroids", 313, None, "Theis, van den Oord, Bethge 2016")
TRAINING_IMAGES = Published("true images", 241.9, 2.3, "Sohl-Dickstein et al. 2015 (349 ± 3.3 bits)")
