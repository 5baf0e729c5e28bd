"""Importing this module loads the libraries that a refresh uses late, so that processes forked afterwards have them."""

from __future__ import annotations

import lifelines
import matplotlib.figure

from orchestration.deliveries import gate

gate.load()

__all__ = ["gate", "lifelines", "matplotlib"]
