"""Numbers about the node for Prometheus: counted in each worker, added up for whoever asks."""

from __future__ import annotations

from online.metrics.board import Board, Page
from online.metrics.meter import Meter

__all__ = ["Board", "Meter", "Page"]
