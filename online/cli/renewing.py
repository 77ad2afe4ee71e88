"""What ``online renew`` and ``online rekey`` share."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from online.cli.options import agree
from online.client import Chain
from online.renewal import renew as renewing
from online.renewal.pair import Pair
from online.renewal.schedule import Need, needs_renewal, parse_expires_in
from shared import terminal
from shared.durations import format_duration

EXIT_NOT_DUE = 3
EXIT_NOT_TOLD = 4

EXPIRES_IN = "Only if it ends within this time (8h) or share of its life (33%); --force does not overrule this."


def finish_interrupted(pair: Pair) -> None:
    """Complete a rekey that was interrupted, and say so."""
    if renewing.finish_interrupted(pair.certificate, pair.key):
        terminal.say("An interrupted rekey of this pair was completed.")


def is_due(chain: Chain, expires_in: str | None, *, force: bool) -> bool:
    """Decide whether to go on; say so when not, and ask where a person is at the terminal."""
    leaf = chain[0]
    window = parse_expires_in(expires_in, leaf) if expires_in is not None else None
    if window is None and force:
        return True
    need = needs_renewal(leaf, datetime.now(UTC), window, chance=random.random())  # noqa: S311 (spreads load only)
    if need.due:
        return True
    terminal.say(f"certificate not renewed: {_when(need)}")
    return window is None and agree("Renew it now all the same?")


def _when(need: Need) -> str:
    remaining, due_in = (timedelta(seconds=int(each.total_seconds())) for each in (need.remaining, need.due_in))
    return f"expires in {format_duration(remaining)}, due in {format_duration(due_in)}"
