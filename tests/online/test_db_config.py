"""The ``db`` block: what step-ca's users and ours write, and that no address with a password is shown."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fakes import vectors
from fakes.databases import shared_server
from hypothesis import given, settings
from hypothesis import strategies as st

from online.config import parse_config
from online.config.database import parse_mysql, refuse_password
from online.config.settings import DatabaseSettings
from online.establish import Wishes, establish
from online.home import Home
from online.store import upkeep
from shared.errors import ColdrootError, RequestRejected

SECRET = "p%40ss:w@rd"


def read(db: dict[str, Any]) -> DatabaseSettings:
    """Return the block as the node reads it."""
    document = {**vectors.step_ca_json(), "db": db}
    return parse_config(json.dumps(document).encode(), path=Path("/home/ca/config/ca.json")).db


@pytest.mark.parametrize(
    ("db", "kind", "where"),
    [
        (
            {"type": "postgresql", "dataSource": "postgresql://ca:secret@db:5432/", "database": "stepca"},
            "postgresql",
            "db:5432/stepca",
        ),
        ({"type": "PostgreSQL", "dataSource": "postgres://ca@one:1,two:2/ca"}, "postgresql", "one:1,two:2/ca"),
        (
            {"type": "postgresql", "dataSource": "postgresql:///ca?host=/run/postgresql"},
            "postgresql",
            "/run/postgresql/ca",
        ),
        ({"type": "mysql", "dataSource": "ca:secret@tcp(db:3307)/", "database": "stepca"}, "mysql", "db:3307/stepca"),
        ({"type": "mysql", "dataSource": "ca:secret@tcp(db)/stepca?parseTime=true"}, "mysql", "db:3306/stepca"),
        ({"type": "mysql", "dataSource": "ca@unix(/run/mysqld/mysqld.sock)/ca"}, "mysql", "/run/mysqld/mysqld.sock/ca"),
        ({"type": "mysql", "dataSource": "ca@tcp([::1]:3306)/ca"}, "mysql", "[::1]:3306/ca"),
        ({"type": "mariadb", "dataSource": "mariadb://ca@db/ca"}, "mysql", "db:3306/ca"),
        (
            {"type": "mysql", "dataSource": "mysql://ca@db/ca", "badgerFileLoadingMode": "", "valueDir": ""},
            "mysql",
            "db:3306/ca",
        ),
    ],
)
def test_addresses_are_read_as_step_ca_and_as_urls(db: dict[str, Any], kind: str, where: str) -> None:
    """Switching from step-ca must not mean to learn another way to name the same server."""
    found = read(db)
    assert (found.type, found.where) == (kind, where)
    assert "secret" not in f"{found}{found!r}"


@pytest.mark.parametrize(
    ("db", "code"),
    [
        ({"type": "postgresql", "dataSource": f"mysql://ca:{SECRET}@db/ca"}, "config.malformed"),
        ({"type": "postgresql", "dataSource": f"postgresql://ca:{SECRET}@db"}, "config.missing-key"),
        ({"type": "postgresql", "dataSource": f"host=db password={SECRET}"}, "config.malformed"),
        ({"type": "postgresql"}, "config.missing-key"),
        ({"type": "mysql", "dataSource": f"ca:{SECRET}@tcp(db)/"}, "config.missing-key"),
        ({"type": "mysql", "dataSource": f"ca:{SECRET}@udp(db)/ca"}, "config.malformed"),
        ({"type": "mysql", "dataSource": f"ca:{SECRET}@tcp(db:99999)/ca"}, "config.malformed"),
        ({"type": "mysql", "dataSource": f"ca:{SECRET}@tcp(one,two)/ca"}, "config.malformed"),
        ({"type": "mysql", "dataSource": f"mysql://ca:{SECRET}@one:1,two:2/ca"}, "config.malformed"),
        ({"type": "mysql", "dataSource": f":{SECRET}@tcp(db)/ca"}, "config.malformed"),
        ({"type": "mysql", "dataSource": f"mysql://ca:{SECRET}@db:x/ca"}, "config.malformed"),
        ({"type": "mysql", "dataSource": f"mysql://ca:{SECRET}@db/ca?tls=preferred"}, "config.malformed"),
        ({"type": "mysql", "dataSource": f"mysql://ca:{SECRET}@db/ca?allowAllFiles=true"}, "config.malformed"),
        ({"type": "mysql", "dataSource": "mysql://ca@db/ca", "valueDir": "/x"}, "config.unsupported-key"),
        ({"type": "mysql", "dataSource": "mysql://ca@db/ca", "passwrd": SECRET}, "config.unknown-key"),
    ],
)
def test_what_is_wrong_is_told_without_the_address(db: dict[str, Any], code: str) -> None:
    """The password stands in the middle of what is wrong, and errors go to logs."""
    with pytest.raises(ColdrootError) as refused:
        read(db)
    assert refused.value.code == code
    assert not any(part in f"{refused.value} {refused.value.hint}" for part in (SECRET, "p@ss", "rd@"))


@settings(max_examples=60)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """An exception of a parser in the middle of a start would print the address."""
    for parse in (lambda: parse_mysql(text, "ca"), lambda: refuse_password("postgresql", text)):
        # Any other exception is a failure of this test.
        with suppress(RequestRejected):
            parse()


def test_tls_is_verified_unless_said_otherwise() -> None:
    """An encrypted connection to nobody knows whom protects nothing."""
    verified = parse_mysql("mysql://ca@db/ca?ssl-ca=/roots.pem", "").tls
    assert verified is not None
    assert verified.verify
    assert parse_mysql("ca@tcp(db)/ca", "").tls is None
    loose = parse_mysql("ca@tcp(db)/ca?tls=skip-verify", "").tls
    assert loose is not None
    assert not loose.verify


@pytest.mark.parametrize("source", ["postgresql://ca:secret@db/ca", "postgresql://ca@db/ca?password=secret"])
def test_init_takes_no_password_from_the_command_line(source: str, tmp_path: Path) -> None:
    """Every process of the machine can read the command line; and nothing may be half made then."""
    wishes = Wishes(
        name="Acme", dns_names=("localhost",), address=":9000", provisioner="admin", server=("postgresql", source)
    )
    with pytest.raises(RequestRejected) as refused:
        establish(Home(path=tmp_path / "home"), tmp_path / "crossing", wishes, pin=lambda _: b"")
    assert refused.value.code == "init.password"
    assert not (tmp_path / "home").exists()


def test_init_names_a_server_and_makes_no_file(tmp_path: Path) -> None:
    """A file beside ca.json that nobody uses would be what an operator backs up."""
    server = shared_server("postgresql").empty()
    wishes = Wishes(
        name="Acme",
        dns_names=("localhost",),
        address=":9000",
        provisioner="admin",
        server=("postgresql", server.data_source),
    )
    home = Home(path=tmp_path / "home")
    made = establish(home, tmp_path / "crossing", wishes, pin=lambda _: b"")
    assert home.database not in made.files
    assert not home.database.exists()
    found = parse_config(home.config.read_bytes(), path=home.config).db
    assert found == server
    assert upkeep.upgrade(found, say=lambda _: None).found is None
