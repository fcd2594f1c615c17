"""gancli: "Generative Adversarial Nets" (2014), runnable today."""

from __future__ import annotations

__version__ = "0.1.0"
