"""What the figures should come to, beside step-ca's of the same run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from works import EMBEDDED, MARIADB, MATRIX, OURS, PEER, POSTGRESQL, Outcome, Reading

Figure = Callable[[Outcome, str], float | None]
"""From what was seen, and whose it is."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure that has to be reached."""

    what: str
    unit: str
    figure: Figure
    limit: float
    relative: bool = True
    """The limit is for ours divided by step-ca's, else for ours alone."""
    at_least: bool = False

    def met(self, outcome: Outcome) -> bool | None:
        """Tell whether it is reached; None when it was not measured."""
        value = self.value(outcome)
        if value is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit

    def value(self, outcome: Outcome) -> float | None:
        """Return what is held against the limit."""
        ours = self.figure(outcome, OURS)
        if not self.relative or ours is None:
            return ours
        peer = self.figure(outcome, PEER)
        return None if not peer else ours / peer


def _cost(kind: str, connections: int, database: str = EMBEDDED) -> Figure:
    return _of(lambda each: each.cost, kind, connections, database)


def _of(figure: Callable[[Reading], float], kind: str, connections: int, database: str = EMBEDDED) -> Figure:
    sought = (kind, connections, database)
    work = next(each for each in MATRIX if (each.kind, each.connections, each.database) == sought)
    return lambda outcome, product: outcome.middle(product, work, figure)


_CPU = "CPU s/1000"
GOALS = (
    Goal(what="sign, connection kept, C=1", unit=_CPU, figure=_cost("sign", 1), limit=0.70),
    Goal(what="sign, connection kept, C=8", unit=_CPU, figure=_cost("sign", 8), limit=0.60),
    Goal(what="sign, connection kept, C=32", unit=_CPU, figure=_cost("sign", 32), limit=0.60),
    Goal(what="sign, new connection, C=8", unit=_CPU, figure=_cost("sign-new", 8), limit=0.80),
    Goal(what="renew (mTLS, new connection), C=8", unit=_CPU, figure=_cost("renew", 8), limit=1.0),
    Goal(what="sign, PostgreSQL included, C=32", unit=_CPU, figure=_cost("sign", 32, POSTGRESQL), limit=0.15),
    Goal(what="sign, MariaDB included, C=32", unit=_CPU, figure=_cost("sign", 32, MARIADB), limit=0.40),
    Goal(
        what="sign, connection kept, C=32",
        unit="answers/s",
        figure=_of(lambda each: each.rate, "sign", 32),
        limit=1.7,
        at_least=True,
    ),
    Goal(what="sign, connection kept, C=8", unit="p99 ms", figure=_of(lambda each: each.p99, "sign", 8), limit=0.75),
    Goal(what="memory of all processes under load", unit="MiB", figure=Outcome.memory, limit=120, relative=False),
    Goal(what="start to the first healthy answer", unit="s", figure=Outcome.start, limit=0.4, relative=False),
)
