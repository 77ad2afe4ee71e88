"""``online db``: tables are made and brought along, looked over, copied and restored, on every kind of database."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
import textwrap
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from fakes.clock import NOON
from fakes.databases import KINDS, NETWORKED, fresh_settings, shared_server
from fakes.node import make_home
from fakes.rows import certificate_row, revocation_of, token_use

from online.cli import cli
from online.config import DatabaseSettings
from online.config.check import Outcome
from online.store import CertificateRow, migrate, upkeep
from online.store.crls import PublishedCrl
from online.store.networked.engine import Gate, Session
from online.store.networked.link import Link
from online.store.open import engine_of, open_inventory, open_store
from online.store.schema import METADATA, VERSION
from online.store.search import Search
from online.store.sqlite import create_database
from shared.errors import ColdrootError, RequestRejected, StoreFailed, Unauthenticated

CRL = PublishedCrl(
    number=int(NOON.timestamp()),
    issuer="0" * 64,
    url="",
    this_update=NOON,
    next_update=NOON,
    revocations=1,
    der=b"x" * 99,
)
LONG = f"CN={'long' * 200}.example"


Result = TypeVar("Result")


def quiet(text: str) -> None:
    """Say nothing."""
    del text


def rows_of(settings: DatabaseSettings) -> list[CertificateRow]:
    """Fill a database with a bit of everything; return its certificates."""
    first = certificate_row(subject=LONG)
    rows = [first, certificate_row(parent=first.serial), *(certificate_row(subject=f"CN=h{at}") for at in range(5))]

    async def write() -> None:
        store = open_store(settings)
        for at, row in enumerate(rows):
            await store.record_certificate(token=token_use(str(at)), certificate=row)
        await store.record_revocation(token=token_use("r"), revocation=revocation_of(first.serial, key="stolen"))
        assert await store.crls.reserve(now=NOON) == CRL.number
        await store.crls.publish(CRL)
        await store.close()

    asyncio.run(write())
    return rows


async def remembers(settings: DatabaseSettings, rows: list[CertificateRow]) -> None:
    """Insist that a database knows what ``rows_of`` wrote, and goes on from there."""
    store = open_store(settings)
    assert [await store.certificate(row.serial) for row in rows] == rows
    assert await store.revocation(rows[0].serial) == revocation_of(rows[0].serial, key="stolen")
    assert await store.crls.newest() == CRL
    assert await store.crls.reserve(now=NOON) == CRL.number + 1
    for at in range(len(rows)):
        with pytest.raises(Unauthenticated):
            await store.record_certificate(token=token_use(str(at)), certificate=certificate_row())
    with pytest.raises(ColdrootError, match="compromised"):
        await store.record_certificate(token=None, certificate=certificate_row(key="stolen"))
    await store.record_certificate(token=token_use("new"), certificate=certificate_row(subject="CN=new"))
    await store.close()


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_a_backup_is_restored_to_every_kind_of_database(source: str, target: str, tmp_path: Path) -> None:
    """A backup that cannot be restored is none; and a CA that grows must be able to leave its first database."""
    settings = fresh_settings(source, tmp_path)
    rows = rows_of(settings)
    file = tmp_path / "backup"
    upkeep.backup(settings, file, say=quiet)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(("backup", ".backup"))] == ["backup"]
    other = fresh_settings(target, tmp_path)
    upkeep.restore(other, file, say=quiet)
    asyncio.run(remembers(other, rows))
    with open_inventory(other) as inventory:
        for text, wanted in (("h3", [rows[5].serial]), (LONG[3:200], [rows[0].serial])):
            found = inventory.page(Search(now=NOON - timedelta(hours=1), text=text)).found
            assert [each.serial for each in found] == wanted
        assert inventory.page(Search(now=NOON)).found[0].subject == "CN=new"
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_there_is_not_lost_by_a_restore(kind: str, tmp_path: Path) -> None:
    """A restore into the wrong place would end another CA."""
    settings = fresh_settings(kind, tmp_path)
    rows = rows_of(settings)
    backup = tmp_path / "backup"
    upkeep.backup(fresh_settings("sqlite", tmp_path), backup, say=quiet)
    if kind == "sqlite":
        said: list[str] = []
        upkeep.restore(settings, backup, say=said.append)
        asyncio.run(remembers(dataclasses.replace(settings, data_source=said[0].split()[-2]), rows))
        return
    with pytest.raises(RequestRejected) as refused:
        upkeep.restore(settings, backup, say=quiet)
    assert refused.value.code == "store.not-empty"
    asyncio.run(remembers(settings, rows))


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "backup.missing"), (b"", "backup.malformed"), (b"not a database" * 99, "backup.malformed")],
)
def test_what_is_no_backup_is_not_restored(content: bytes | None, code: str, tmp_path: Path) -> None:
    """The old database must not be gone before it is known that the new one is one."""
    settings = fresh_settings("sqlite", tmp_path)
    before = Path(settings.data_source).read_bytes()
    file = tmp_path / "backup"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RequestRejected) as refused:
        upkeep.restore(settings, file, say=quiet)
    assert refused.value.code == code
    assert Path(settings.data_source).read_bytes() == before
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_backup_replaces_nothing(kind: str, tmp_path: Path) -> None:
    """Yesterday's backup under the same name is the one that may be needed."""
    settings = fresh_settings(kind, tmp_path)
    file = tmp_path / "backup"
    file.write_text("yesterday's")
    with pytest.raises(RequestRejected) as refused:
        upkeep.backup(settings, file, say=quiet)
    assert refused.value.code == "file.exists"
    assert file.read_text() == "yesterday's"


@pytest.mark.parametrize("kind", KINDS)
def test_a_look_at_a_good_database_finds_no_fault(kind: str, tmp_path: Path) -> None:
    """A check that cries wolf is not run again."""
    settings = fresh_settings(kind, tmp_path)
    rows_of(settings)
    found = {each.what: each for each in upkeep.check(settings)}
    # The servers of these tests flush nothing, for speed, and must be told so.
    faults = {each.what for each in found.values() if each.outcome is Outcome.FAULT}
    assert faults == ({"durability"} if kind in NETWORKED else set())
    assert found["rows"].detail == "7 certificates, 1 revocations, 8 used tokens"
    assert "writing" in found


def test_a_damaged_file_is_found(tmp_path: Path) -> None:
    """Damage that nobody looks for is found when the last good backup is gone."""
    settings = fresh_settings("sqlite", tmp_path)
    rows_of(settings)
    path = Path(settings.data_source)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    content = bytearray(path.read_bytes())
    content[8192:12288] = bytes(4096)
    path.write_bytes(content)
    path.chmod(0o644)
    found = {each.what: each.outcome for each in upkeep.check(settings) if each.what != "rows"}
    assert found["pages"] is Outcome.FAULT
    assert found["file"] is Outcome.WARNING


@pytest.mark.parametrize("kind", NETWORKED)
def test_the_steps_lead_to_the_tables_of_today(kind: str) -> None:
    """A column that only the one or the other has shows in production, where nodes meet tables that steps made."""
    settings = shared_server(kind).empty()
    assert upkeep.upgrade(settings, say=quiet).found is None
    assert upkeep.upgrade(settings, say=quiet).found == VERSION

    def compare(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), METADATA))

    assert inside(settings, compare) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_taken_once_and_kept_whole(kind: str, tmp_path: Path) -> None:
    """The version must tell the truth after a step that failed, and rows come along with one that did not."""
    settings = fresh_settings(kind, tmp_path)
    rows = rows_of(settings)
    location = tmp_path / "steps"
    (location / "versions").mkdir(parents=True)
    for each in (migrate.MIGRATIONS / "versions").glob("v*.py"):
        (location / "versions" / each.name).write_text(each.read_text())
    step = location / "versions" / "v9999_next.py"
    begin = f'"""A note."""\nfrom alembic import op\nimport sqlalchemy as sa\nrevision = "{VERSION + 1:04d}"\n'
    begin += f'down_revision = "{VERSION:04d}"\ndef upgrade():\n'
    column = 'op.add_column("revocation", sa.Column("note", sa.Text))\n'
    step.write_text(begin + textwrap.indent('raise ValueError("the disk is full")\n', "    "))

    def take(connection: sa.Connection) -> migrate.Upgraded:
        return migrate.upgrade(connection, say=quiet, location=location, wanted=VERSION + 1)

    with pytest.raises(Exception, match=r"full|failed"):
        inside(settings, take)
    assert inside(settings, migrate.found_version) == VERSION
    step.write_text(begin + textwrap.indent(column, "    "))
    assert inside(settings, take) == migrate.Upgraded(found=VERSION, reached=VERSION + 1)
    assert inside(settings, take).found == VERSION + 1
    assert inside(settings, lambda connection: connection.exec_driver_sql("SELECT note FROM revocation").all()) == [
        (None,)
    ]
    # This program is the old one now.
    with pytest.raises(StoreFailed) as refused:
        upkeep.upgrade(settings, say=quiet)
    assert refused.value.code == "store.version"
    assert len(rows) == 7


def inside(settings: DatabaseSettings, work: Callable[[sa.Connection], Result]) -> Result:
    """Do something in one transaction that may change tables."""
    make = engine_of(settings)
    if make is None:
        engine = sa.create_engine(f"sqlite:///{settings.data_source}", poolclass=sa.NullPool)
        with engine.begin() as connection:
            return work(connection)

    async def run() -> Result:
        link = Link(make(False), seconds=30)

        async def do(session: Session) -> Result:
            return await session.connection.run_sync(work)

        try:
            return await link.transaction(Gate.TABLES, do)
        finally:
            await link.drop()

    return asyncio.run(run())


def test_a_file_that_is_no_database_of_ours_is_left_alone(tmp_path: Path) -> None:
    """Tables in a stranger's file would be a database that forgot every token."""
    path = tmp_path / "strange.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE something (a)")
    database.close()
    with pytest.raises(StoreFailed) as refused:
        upkeep.upgrade(DatabaseSettings(data_source=str(path)), say=quiet)
    assert refused.value.code == "store.foreign"
    create_database(tmp_path / "ours.db")
    assert upkeep.upgrade(DatabaseSettings(data_source=str(tmp_path / "ours.db")), say=quiet).found == VERSION


@pytest.mark.parametrize("kind", KINDS)
def test_the_commands_look_after_a_nodes_database(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the documentation says to type must work on a node's own ca.json."""
    home = make_home(tmp_path / "home")
    settings = fresh_settings(kind, tmp_path)
    block = {"type": kind, "dataSource": settings.data_source, "database": settings.database}
    home.change_config(db={name: value for name, value in block.items() if value})
    rows_of(settings)

    def online(*arguments: str) -> int:
        try:
            return int(cli.main([*arguments, "--home", str(home.path)], prog_name="online", standalone_mode=False) or 0)
        except ColdrootError:
            return 1

    assert online("db", "upgrade") == 0
    assert online("db", "backup", str(tmp_path / "backup")) == 0
    assert online("db", "prune") == 0
    capsys.readouterr()
    assert online("db", "check", "--json") == (0 if kind == "sqlite" else 1)
    found = {each["what"]: each["detail"] for each in json.loads(capsys.readouterr().out)}
    assert found["rows"].startswith("7 certificates")
    assert online("list", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["certificates"]) == 7
    assert online("db", "restore", str(tmp_path / "backup")) == (0 if kind == "sqlite" else 1)
