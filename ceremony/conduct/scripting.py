"""Recording that a script was rendered for a ceremony that began."""

from __future__ import annotations

from ceremony.conduct.directory import CeremonyDirectory, open_ceremony
from ceremony.plan import Plan
from ceremony.records import Facts, Kind
from shared.clock import Clock
from shared.errors import RequestRejected


def record_script(directory: CeremonyDirectory, clock: Clock, plan: Plan, facts: Facts) -> None:
    """Append a script to the transcript, between the acts.

    Args:
        directory: the ceremony's.
        clock: gives the record its time.
        plan: that the script was made from.
        facts: from ``script_evidence.rendered``.

    Raises:
        RequestRejected: ``script.act-open``, ``script.other-plan`` or ``transcript.*``.
        StoreFailed: ``file.write-failed``.
    """
    journal, plans = open_ceremony(directory, clock)
    if journal.abandoned() is not None:
        raise RequestRejected("script.act-open", "an act is open: while it runs, it alone writes the record")
    if plans.find(plan.digest) is None:
        raise RequestRejected("script.other-plan", "the ceremony in --dir follows another plan")
    journal.append(Kind.SCRIPT_RENDERED, facts)
