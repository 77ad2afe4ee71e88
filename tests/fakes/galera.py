"""MariaDB on loopback: one server, or three that are one database (Galera), each of which takes writes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fakes.ports import free_port
from fakes.servers import Server, directory_for_others, own_directory, program, run_as, user_for

_MARIADBD, _INSTALL, _CLIENT = program("mariadbd"), program("mariadb-install-db"), program("mariadb")
_PROVIDER = next(
    (str(path) for path in map(Path, ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so"))
     if path.exists()), None,
)  # fmt: skip
MISSING = None if _MARIADBD and _INSTALL and _CLIENT else "MariaDB is not installed (Debian: mariadb-server)"
"""Why there can be no server here."""
NO_CLUSTER = MISSING or (
    None if _PROVIDER and program("rsync") else "Galera is not installed (Debian: galera-4 and rsync)"
)
"""Why there can be no cluster here."""

DATABASE, OWNER, PASSWORD = "ca", "ca", "battery"
_MEMBERS = 3
# A member that says nothing for 2 s is suspected, for 4 s left out: there is no network to have patience with.
_TEMPO = (
    "evs.keepalive_period=PT0.5S;evs.inactive_check_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT4S;"
    "evs.install_timeout=PT4S"
)


@dataclass(kw_only=True)
class MariaDb(Server):
    """One server."""

    port: int
    clustered: bool

    @property
    def data_source(self) -> str:
        """Its address, as Go's driver writes it."""
        return f"{OWNER}:{PASSWORD}@tcp(127.0.0.1:{self.port})/"

    def sql(self, statement: str) -> str:
        """Return what a statement says, as its superuser.

        Raises:
            AssertionError: it failed.
        """
        done = self._ask(statement)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def is_ready(self) -> bool:
        """See ``Server.is_ready``. A member of a cluster may be read and written when it is in step with the others."""
        done = self._ask("SHOW STATUS LIKE 'wsrep_local_state_comment'")
        return done.returncode == 0 and (not self.clustered or done.stdout.split()[1:] == ["Synced"])

    def members(self) -> int:
        """Return how many members it sees, itself included."""
        return int(self.sql("SHOW STATUS LIKE 'wsrep_cluster_size'").split()[1])

    def _ask(self, statement: str) -> subprocess.CompletedProcess[str]:
        assert _CLIENT is not None
        command = [_CLIENT, "--no-defaults", "--protocol=tcp", "-h127.0.0.1", f"-P{self.port}", "-uroot", "-Nse"]
        return subprocess.run([*command, statement], capture_output=True, text=True, check=False, timeout=30, cwd="/")


@contextmanager
def mariadb() -> Iterator[MariaDb]:
    """Run one server with an empty database until the block ends."""
    with directory_for_others() as base:
        made = _prepare(base / "only", free_port(), ())
        try:
            made.start()
            _make_database(made)
            yield made
        finally:
            made.stop()


@contextmanager
def galera() -> Iterator[tuple[MariaDb, ...]]:
    """Run three members with an empty database until the block ends."""
    assert _PROVIDER is not None
    groups = [free_port() for _ in range(_MEMBERS)]
    with directory_for_others() as base, ExitStack() as stack:
        members = []
        for number, group in enumerate(groups):
            options = (
                f"gmcast.listen_addr=tcp://127.0.0.1:{group};ist.recv_addr=127.0.0.1:{free_port()};"
                f"gcache.size=16M;{_TEMPO}"
            )
            settings = [
                "--wsrep-on=ON",
                f"--wsrep-provider={_PROVIDER}",
                "--wsrep-cluster-name=coldroot",
                "--wsrep-cluster-address=gcomm://" + ",".join(f"127.0.0.1:{each}" for each in groups),
                f"--wsrep-node-name=member{number}",
                "--wsrep-node-address=127.0.0.1",
                "--wsrep-sst-method=rsync",
                f"--wsrep-sst-receive-address=127.0.0.1:{free_port()}",
                "--binlog-format=ROW",
                "--innodb-autoinc-lock-mode=2",
                f"--wsrep-provider-options={options}",
            ]
            made = _prepare(base / f"member{number}", free_port(), settings)
            stack.callback(made.stop)
            made.start(*(["--wsrep-new-cluster"] if number == 0 else []))
            if number == 0:
                _make_database(made)
            members.append(made)
        yield tuple(members)


def _make_database(server: MariaDb) -> None:
    server.sql(
        f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4; "
        f"CREATE USER {OWNER}@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON {DATABASE}.* TO {OWNER}@'%'"
    )


def _prepare(directory: Path, port: int, settings: Sequence[str]) -> MariaDb:
    assert _INSTALL is not None
    assert _MARIADBD is not None
    user = user_for("mysql")
    own_directory(directory, user)
    install = [_INSTALL, "--no-defaults", f"--datadir={directory}", "--auth-root-authentication-method=normal"]
    # Its own: a server that starts clears away what it takes for the remains of others.
    temporary = f"--tmpdir={own_directory(directory.parent / f'{directory.name}.tmp', user)}"
    run_as(user, [*install, "--skip-test-db", "--skip-name-resolve", temporary])
    command = [
        _MARIADBD,
        "--no-defaults",
        f"--datadir={directory}",
        temporary,
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--socket={directory}/socket",
        f"--pid-file={directory}/pid",
        "--skip-name-resolve",
        "--innodb-flush-log-at-trx-commit=1",
        *settings,
    ]
    log = directory.parent / f"{directory.name}.log"
    return MariaDb(command=command, log=log, user=user, port=port, clustered=bool(settings))
