"""Lineages of certificates: each renewal has one parent, and a parent that has two heirs is worth a look.

Who stole a key can renew with it beside its owner, and both lines live on: it shows as one certificate that was renewed
twice, long after each other. A client that did not get its answer does the same within minutes; one that was restored
from a backup, later: so this is an alarm, and only where the configuration says so a refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from online.config.settings import RenewalSettings
from online.store.protocol import CertificateRow, Lineage
from shared.names import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """The rules of succession."""

    lineage: Lineage
    revoke_superseded: bool = False
    """Whether a certificate ends once its successor is older than the grace."""


def succession_of(rules: RenewalSettings) -> Succession:
    """Return the rules that a configuration says.

    Args:
        rules: its block ``coldroot.renewal``.
    """
    return Succession(
        lineage=Lineage(grace=rules.grace, newest_only=rules.newest_only), revoke_superseded=rules.revoke_superseded
    )


DEFAULT = Succession(lineage=Lineage(grace=timedelta(hours=1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A certificate that was renewed, or asked to be, though its successor is no longer young."""

    row: CertificateRow
    """The new successor; one that was never handed out when it was refused."""
    others: int = 1
    """How many there were before, older than the grace: at the least."""
    refused: bool = False
    """Whether only the newest may be renewed, so that nothing was issued."""

    def describe(self) -> str:
        """Say it in one line, safe to show."""
        row = self.row
        whose = f"subject {printable(row.subject, limit=100)}, provisioner {printable(row.provisioner_name)}"
        if self.refused:
            return (
                f"possible stolen key: the certificate {row.parent} was to be {row.kind.value} again, beside an older"
                f" successor, and was refused; {whose}"
            )
        return (
            f"possible stolen key: the certificate {row.parent} was {row.kind.value} again, as {row.serial}, beside"
            f" {self.others} older; {whose}"
        )


Alarm = Callable[[Fork], None]


def unheard(fork: Fork) -> None:
    """Let a fork pass without a word."""
    del fork
