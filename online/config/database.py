"""The ``db`` block: SQLite in a file, or PostgreSQL, MariaDB or MySQL over a network, spelled as step-ca does.

Invariants: what is wrong with an address is told without the address, for it may hold a password; a ``dataSource``
is shown to nobody, only ``DatabaseSettings.where`` is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from online.config import unsupported
from online.config.settings import DatabaseSettings
from online.strict_json import Fields, Json
from shared.errors import RequestRejected, Unsupported
from shared.names import printable

POSTGRESQL = "postgresql"
MYSQL = "mysql"
_TYPES = {"postgresql": POSTGRESQL, "postgres": POSTGRESQL, "mysql": MYSQL, "mariadb": MYSQL}
_SCHEMES = {
    POSTGRESQL: frozenset({"postgresql", "postgres"}),
    MYSQL: frozenset({"mysql", "mariadb"}),
}
_EXAMPLES = {
    POSTGRESQL: "postgresql://user@host:5432/database?passfile=/path",
    MYSQL: "mysql://user@host:3306/database?passfile=/path, or user@tcp(host:3306)/database",
}
_MYSQL_PORT = 3306
_GO_ADDRESS = re.compile(
    r"(?:(?P<user>[^:@/]*)(?::(?P<password>.*))?@)?"
    r"(?:(?P<net>tcp|unix)\((?P<address>[^()]*)\))?/(?P<database>[^/?]*)(?:\?(?P<parameters>.*))?",
    re.DOTALL,
)
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:@/]+))(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_LARGEST_PORT = 65535

# What of Go's driver has no meaning here, and does no harm: the node fixes these for itself.
_PASSED_OVER = frozenset({"parseTime", "charset", "collation", "loc", "timeout", "readTimeout", "writeTimeout"})
_MYSQL_PARAMETERS = frozenset({"tls", "ssl-ca", "ssl-cert", "ssl-key", "passfile", "unix_socket"}) | _PASSED_OVER


@dataclass(frozen=True, slots=True, kw_only=True)
class MysqlTls:
    """How the connection to a MariaDB or MySQL server is protected."""

    verify: bool
    """Whether the server's certificate and name must hold."""
    ca: str = ""
    """A file of roots; empty for those of this machine."""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MysqlAddress:
    """Where a MariaDB or MySQL server is, and as whom it is spoken to."""

    user: str
    password: str = field(repr=False)
    passfile: str
    """A file whose first line is the password; empty when there is none."""
    host: str
    port: int
    unix_socket: str
    database: str
    tls: MysqlTls | None

    @property
    def where(self) -> str:
        """Return the place, safe to show."""
        place = self.unix_socket or (f"[{self.host}]" if ":" in self.host else self.host) + f":{self.port}"
        return printable(f"{place}/{self.database}")


def parse_database(top: Fields, home: Path) -> DatabaseSettings:
    """Read ``db``.

    Args:
        top: the document.
        home: relative paths hang on it.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-database`` or ``config.unsupported-key``.
    """
    if "db" not in top:
        raise RequestRejected("config.missing-key", "db is missing", hint=unsupported.NEW_DATABASE)
    value = top.raw("db")
    named = value.get("type") if isinstance(value, dict) else None
    if isinstance(named, str) and named.lower() in unsupported.DATABASE_TYPES:
        # Said before anything else in the block is looked at: its other keys depend on the type.
        raise Unsupported(
            "config.unsupported-database",
            f"db.type: step-ca's {named} database is not supported",
            hint=f"{unsupported.NEW_DATABASE}; {unsupported.FROM_STEP}",
        )
    kind = _TYPES.get(named.lower()) if isinstance(named, str) else None
    if kind is not None:
        return _networked(value, kind)
    block = Fields(value, path="db", known={"type", "dataSource"}, unsupported=unsupported.DATABASE)
    if block.text("type") != "sqlite":
        raise RequestRejected("config.malformed", "db.type is not a known database", hint=unsupported.NEW_DATABASE)
    return DatabaseSettings(data_source=str(home / block.text("dataSource")))


def parse_mysql(data_source: str, database: str) -> MysqlAddress:
    """Read the address of a MariaDB or MySQL server: a URL, or the form of Go's driver, which step-ca uses.

    Args:
        data_source: as in ca.json.
        database: as in ca.json; it leads over the one in the address.

    Raises:
        RequestRejected: ``config.malformed``, without the text.
    """
    scheme, separator, _ = data_source.partition("://")
    if separator and scheme in _SCHEMES[MYSQL]:
        return _mysql_url(data_source, database)
    match = _GO_ADDRESS.fullmatch(data_source)
    if match is None:
        raise _malformed(MYSQL)
    parameters = _parameters(match["parameters"] or "")
    # Go's driver takes user and password as they stand, and defaults to the local port.
    socket = (match["address"] or "") if match["net"] == "unix" else ""
    host, port = ("", 0) if socket else _host(match["address"] or "127.0.0.1")
    return MysqlAddress(
        user=_user(match["user"]),
        password=match["password"] or "",
        passfile=parameters.get("passfile", ""),
        host=host,
        port=port,
        unix_socket=socket,
        database=_name(database or match["database"]),
        tls=_tls(parameters),
    )


def refuse_password(kind: str, data_source: str) -> None:
    """Insist that an address holds no password: it came from a command line, which every process can read.

    Args:
        kind: of the database.
        data_source: as ca.json would have it.

    Raises:
        RequestRejected: ``init.password``, or ``config.malformed``.
    """
    if _TYPES.get(kind) == MYSQL:
        found = bool(parse_mysql(data_source, "any").password)
    else:
        try:
            url = urlsplit(data_source)
        except ValueError:
            raise _malformed(POSTGRESQL) from None
        found = ":" in url.netloc.rpartition("@")[0] or "password" in dict(parse_qsl(url.query))
    if found:
        raise RequestRejected(
            "init.password",
            "the address of the database holds a password",
            hint="leave it out, and name a private file: ?passfile=/path",
        )


def _mysql_url(data_source: str, database: str) -> MysqlAddress:
    try:
        url = urlsplit(data_source)
        _refuse_several(url.netloc.rpartition("@")[2])
        port = url.port or _MYSQL_PORT
    except ValueError:
        raise _malformed(MYSQL) from None
    parameters = _parameters(url.query)
    socket = parameters.get("unix_socket", "")
    return MysqlAddress(
        user=_user(unquote(url.username or "")),
        password=unquote(url.password or ""),
        passfile=parameters.get("passfile", ""),
        host="" if socket else unquote(url.hostname or "127.0.0.1"),
        port=0 if socket else port,
        unix_socket=socket,
        database=_name(database or unquote(url.path.lstrip("/"))),
        tls=_tls(parameters),
    )


def _refuse_several(hosts: str) -> None:
    if "," in hosts:
        raise RequestRejected(
            "config.malformed",
            "db.dataSource names several servers, which the driver for MariaDB and MySQL does not take",
            hint="name an address that follows the primary, or a member of the cluster for each node",
        )


def _user(name: str | None) -> str:
    if not name:
        raise RequestRejected("config.malformed", "db.dataSource names no user", hint=f"e.g. {_EXAMPLES[MYSQL]}")
    return name


def _name(database: str | None) -> str:
    if not database:
        raise RequestRejected("config.missing-key", "db.database is missing")
    return database


def _tls(parameters: Mapping[str, str]) -> MysqlTls | None:
    files = {name: parameters.get(name, "") for name in ("ssl-ca", "ssl-cert", "ssl-key")}
    wanted = parameters.get("tls", "true" if any(files.values()) else "false")
    if wanted == "false":
        return None
    if wanted not in {"true", "skip-verify"}:
        raise RequestRejected(
            "config.malformed",
            "db.dataSource: tls is neither true, skip-verify nor false",
            hint="true verifies the server; ssl-ca=/path names the roots to trust",
        )
    return MysqlTls(verify=wanted == "true", ca=files["ssl-ca"], certificate=files["ssl-cert"], key=files["ssl-key"])


def _parameters(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise _malformed(MYSQL) from None
    for name, _ in pairs:
        if name not in _MYSQL_PARAMETERS:
            raise RequestRejected(
                "config.malformed",
                f"db.dataSource: {printable(name, limit=40)} is not a known parameter",
                hint=f"known ones are {', '.join(sorted(_MYSQL_PARAMETERS - _PASSED_OVER))}",
            )
    return dict(pairs)


def _host(text: str) -> tuple[str, int]:
    _refuse_several(text)
    match = _HOST.fullmatch(text)
    port = int(match["port"] or _MYSQL_PORT) if match is not None else 0
    if match is None or not 0 < port <= _LARGEST_PORT:
        raise _malformed(MYSQL)
    return match["v6"] or match["host"], port


def _networked(value: Json, kind: str) -> DatabaseSettings:
    block = Fields(
        value, path="db", known={"type", "dataSource", "database"}, unsupported=unsupported.NETWORKED_DATABASE
    )
    data_source, database = block.text("dataSource"), block.text("database", default="")
    where = parse_mysql(data_source, database).where if kind == MYSQL else _postgresql(data_source, database)
    return DatabaseSettings(type=kind, data_source=data_source, database=database, where=where)


def _postgresql(data_source: str, database: str) -> str:
    """Check the address of a PostgreSQL server as far as its driver would not say it better; return the place."""
    try:
        url = urlsplit(data_source)
        queries = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)))
    except ValueError:
        raise _malformed(POSTGRESQL) from None
    if url.scheme not in _SCHEMES[POSTGRESQL]:
        raise _malformed(POSTGRESQL)
    name = _name(database or unquote(url.path.lstrip("/")) or queries.get("dbname") or queries.get("database"))
    place = url.netloc.rpartition("@")[2] or queries.get("host") or "localhost"
    return printable(f"{place}/{name}")


def _malformed(kind: str) -> RequestRejected:
    return RequestRejected(
        "config.malformed", f"db.dataSource is not the address of a {kind} server", hint=f"e.g. {_EXAMPLES[kind]}"
    )
