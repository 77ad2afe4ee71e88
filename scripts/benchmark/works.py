"""What is measured, and what the figures should come to beside step-ca's of the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

OURS, PEER = "coldroot", "step-ca"
OURS_CROWDED = "coldroot, a worker a core"
"""Our node with as many workers as there are cores, to see what the last one adds."""
EMBEDDED, POSTGRESQL, MARIADB = "embedded", "postgresql", "mariadb"
DATABASES = {
    EMBEDDED: "each one's embedded database (SQLite, badger)",
    POSTGRESQL: "PostgreSQL",
    MARIADB: "MariaDB",
}


@dataclass(frozen=True, kw_only=True, order=True)
class Work:
    """One cell of the matrix: so many requests of a kind over so many connections at a time."""

    database: str
    kind: str
    connections: int
    requests: int

    @property
    def name(self) -> str:
        """What people read."""
        return {
            "sign": "sign, connection kept",
            "sign-new": "sign, new connection",
            "renew": "renew (mTLS, new connection)",
            "health": "health, connection kept",
            "health-new": "health, new connection",
        }[self.kind]


MATRIX = (
    Work(database=EMBEDDED, kind="sign", connections=1, requests=1200),
    Work(database=EMBEDDED, kind="sign", connections=8, requests=3000),
    Work(database=EMBEDDED, kind="sign", connections=32, requests=4000),
    Work(database=EMBEDDED, kind="sign-new", connections=8, requests=2000),
    Work(database=EMBEDDED, kind="renew", connections=1, requests=800),
    Work(database=EMBEDDED, kind="renew", connections=8, requests=2000),
    Work(database=EMBEDDED, kind="renew", connections=32, requests=2000),
    Work(database=EMBEDDED, kind="health", connections=8, requests=20_000),
    Work(database=EMBEDDED, kind="health-new", connections=8, requests=3000),
    Work(database=POSTGRESQL, kind="sign", connections=8, requests=1000),
    Work(database=POSTGRESQL, kind="sign", connections=32, requests=1200),
    Work(database=POSTGRESQL, kind="renew", connections=8, requests=800),
    Work(database=MARIADB, kind="sign", connections=8, requests=1000),
    Work(database=MARIADB, kind="sign", connections=32, requests=1200),
    Work(database=MARIADB, kind="renew", connections=8, requests=800),
)
CROWDED = next(each for each in MATRIX if (each.database, each.kind, each.connections) == (EMBEDDED, "sign", 32))
"""What is also measured with a worker a core."""
KINDS = tuple(dict.fromkeys(each.kind for each in MATRIX))


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one run of the load generator saw. Seconds, milliseconds, MiB."""

    requests: int
    failed: int
    seconds: float
    p50: float
    p99: float
    node_cpu: float
    database_cpu: float
    client_cpu: float
    node_memory: float
    """Of all its processes; a page that n of them share counts as one n-th for each."""
    node_resident: float
    """The same, but what is shared counts for each."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds

    @property
    def node_cost(self) -> float:
        """Processor seconds of the node for 1000 answers."""
        return self.node_cpu / self.requests * 1000

    @property
    def database_cost(self) -> float:
        """Processor seconds of its database server for 1000 answers."""
        return self.database_cpu / self.requests * 1000

    @property
    def cost(self) -> float:
        """Both."""
        return self.node_cost + self.database_cost


Readings = Mapping[tuple[str, Work], list[Reading]]
"""By whose they are and the work; one for each round."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All that one run of the benchmark saw."""

    readings: Readings
    starts: Mapping[str, list[float]]
    """Seconds from the command to the first answer that says the node is well."""

    def middle(self, product: str, work: Work, of: Callable[[Reading], float]) -> float | None:
        """Return the median over the rounds, if there were any."""
        seen = self.readings.get((product, work))
        return median(map(of, seen)) if seen else None

    def memory(self, product: str) -> float | None:
        """Return the most that a node with its embedded database took under any of the works."""
        return self._most(product, lambda each: each.node_memory)

    def resident(self, product: str) -> float | None:
        """Return the same with shared pages counted for each process."""
        return self._most(product, lambda each: each.node_resident)

    def _most(self, product: str, of: Callable[[Reading], float]) -> float | None:
        seen = [of(each) for (whose, work), many in self.readings.items() for each in many
                if whose == product and work.database == EMBEDDED]  # fmt: skip
        return max(seen, default=None)

    def start(self, product: str) -> float | None:
        """Return the median of the starts."""
        seen = self.starts.get(product)
        return median(seen) if seen else None
