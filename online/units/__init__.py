"""Unit files of systemd (and one line for cron) as package data, and what fills them in."""

from __future__ import annotations

from online.units.render import RenewerUnits, ServerUnits, Unit, cron_line

__all__ = ["RenewerUnits", "ServerUnits", "Unit", "cron_line"]
