"""Searching the store: the right rows, in the right order, and without reading the rest of a table that only grows."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.clock import NOON
from fakes.databases import KINDS, shared_server
from fakes.rows import certificate_row, revocation_of
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import OperationalError

from online.config import DatabaseSettings
from online.store import CertificateKind, CertificateRow, upkeep
from online.store.open import Inventory, open_inventory
from online.store.search import CLIENTS, LARGEST_PAGE, Search, Status, statement
from online.store.sqlite import SqliteStore, create_database
from online.store.sqlite_search import Inventory as SqliteInventory
from shared.errors import RequestRejected, StoreFailed, Unsupported

NOW = NOON
DAY = timedelta(days=1)
EVERY_KIND = frozenset(CertificateKind)


@dataclasses.dataclass(kw_only=True)
class Crowd:
    """Certificates of every sort, and what a plain reading of the rules says about them."""

    path: Path
    rows: list[CertificateRow] = dataclasses.field(default_factory=list)
    revoked: set[int] = dataclasses.field(default_factory=set)

    def status(self, row: CertificateRow) -> Status:
        """Say what a row counts as."""
        if row.serial in self.revoked:
            return Status.REVOKED
        if row.not_after < NOW:
            return Status.EXPIRED
        return Status.RENEWED if any(each.parent == row.serial for each in self.rows) else Status.VALID

    def lineage(self, serial: int) -> set[int]:
        """Collect ancestors, then all that came from them."""
        parents = {each.serial: each.parent for each in self.rows}
        found = {serial}
        oldest: int | None = serial
        while (oldest := parents.get(oldest or 0)) is not None:
            found.add(oldest)
        while more := {each.serial for each in self.rows if each.parent in found} - found:
            found |= more
        return found

    def expected(self, search: Search) -> list[int]:
        """Search the slow way."""
        wanted = search.text.casefold()
        found = []
        for row in self.rows:
            common = row.subject.removeprefix("CN=")
            names = [each.casefold() for each in (*row.sans, row.subject, common)]
            named = not wanted or (wanted in names if search.exact else any(wanted in each for each in names))
            if (
                named
                and search.serial in {None, row.serial}
                and (search.lineage is None or row.serial in self.lineage(search.lineage))
                and search.provisioner in {"", row.provisioner_name}
                and self.status(row) in search.statuses
                and row.kind in search.kinds
                and (search.ends_before is None or row.not_after <= search.ends_before)
            ):
                found.append(row)
        if search.ends_before is None:
            return [each.serial for each in reversed(found)]
        return [each.serial for each in sorted(found, key=lambda each: each.not_after)]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Crowd:
    """Three hundred certificates, a third of them renewals, some revoked, most of them over."""
    return make_crowd(tmp_path_factory.mktemp("crowd") / "ca.db")


def make_crowd(path: Path) -> Crowd:
    dice = random.Random(7)  # noqa: S311 (the same crowd every time)
    crowd = Crowd(path=path)
    kinds = [CertificateKind.SIGNED, CertificateKind.RENEWED, CertificateKind.REKEYED, CertificateKind.OWN]
    for _ in range(300):
        kind = dice.choice(kinds)
        parent = dice.choice(crowd.rows[-20:]).serial if crowd.rows and "re" in kind else None
        host = f"{dice.choice('abc')}{dice.randrange(9)}.{dice.choice(['Example.com', 'local', 'x_%'])}"
        end = NOW + timedelta(hours=dice.randrange(-60, 20))
        row = dataclasses.replace(
            certificate_row(parent=parent, subject=f"CN={host}"),
            sans=(host, dice.choice(["10.0.0.1", "spiffe://Acme/x", "me@local"])),
            not_before=end - DAY,
            not_after=end,
            provisioner_name=dice.choice(["admin", "ci"]) if kind is not CertificateKind.OWN else "",
            kind=kind,
        )
        crowd.rows.append(row)
        if dice.random() < 0.1:
            crowd.revoked.add(row.serial)
    fill(crowd)
    return crowd


def fill(crowd: Crowd) -> None:
    async def write() -> None:
        create_database(crowd.path)
        store = SqliteStore(crowd.path)
        for row in crowd.rows:
            await store.record_certificate(token=None, certificate=row)
        for serial in crowd.revoked:
            await store.record_revocation(token=None, revocation=revocation_of(serial))
        await store.close()

    asyncio.run(write())


@pytest.fixture(scope="module", params=KINDS)
def inventory(
    request: pytest.FixtureRequest, crowd: Crowd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Inventory]:
    settings = DatabaseSettings(data_source=str(crowd.path))
    if request.param != "sqlite":
        backup = tmp_path_factory.mktemp("moved") / "backup"
        upkeep.backup(settings, backup, say=lambda _: None)
        settings = shared_server(request.param).fresh()
        upkeep.restore(settings, backup, say=lambda _: None)
    with open_inventory(settings) as opened:
        yield opened


def searches(crowd: Crowd) -> Iterator[Search]:
    """Yield searches with every part on its own, and in hundreds of combinations."""
    yield Search(now=NOW, statuses=frozenset())
    dice = random.Random(8)  # noqa: S311 (as above)
    statuses = [frozenset(Status), *(frozenset({each}) for each in Status), frozenset({Status.VALID, Status.RENEWED})]
    for _ in range(400):
        some = dice.choice(crowd.rows)
        exact = dice.random() < 0.3
        whole = dice.choice([*some.sans, some.subject, some.subject[3:].upper()])
        text = whole if exact else dice.choice(["a", "EXAMPLE", "me@", "spiffe", "_%", "CN=b1", "nothing at all"])
        yield Search(
            now=NOW,
            text=dice.choice(["", text]),
            exact=exact,
            serial=dice.choice([None, None, None, some.serial]),
            lineage=dice.choice([None, None, some.serial]),
            provisioner=dice.choice(["", "", "admin", "ci", "nobody"]),
            statuses=dice.choice(statuses),
            kinds=dice.choice([CLIENTS, EVERY_KIND, frozenset({some.kind})]),
            ends_before=dice.choice([None, None, NOW + timedelta(hours=dice.randrange(-30, 30))]),
            limit=LARGEST_PAGE,
        )


def serials(inventory: Inventory, search: Search) -> list[int]:
    return [each.serial for each in inventory.page(search).found]


def test_searches_find_what_a_plain_reading_finds(crowd: Crowd, inventory: Inventory) -> None:
    """A row that is missed is a certificate that nobody renews or revokes in time; a wrong one misleads."""
    found_any = 0
    for search in searches(crowd):
        expected = crowd.expected(search)
        found = serials(inventory, search)
        assert set(found) == set(expected), search
        if search.ends_before is None:
            assert found == expected, search
        else:
            ends = {each.serial: each.not_after for each in crowd.rows}
            assert [ends[each] for each in found] == sorted(ends[each] for each in found), search
        found_any += bool(expected)
    assert found_any > 50


def test_pages_are_the_whole_in_pieces(crowd: Crowd, inventory: Inventory) -> None:
    """A row lost or doubled between two pages is lost or doubled in every export."""
    for search in list(searches(crowd))[:80]:
        for limit in (1, 7):
            pieces: list[int] = []
            part = dataclasses.replace(search, limit=limit)
            while True:
                page = inventory.page(part)
                assert len(page.found) <= limit
                pieces += [each.serial for each in page.found]
                if not page.next:
                    break
                part = dataclasses.replace(part, after=page.next)
            assert pieces == serials(inventory, search)


def test_all_reads_more_than_a_page(crowd: Crowd, inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export must not end at the first page without a word."""
    monkeypatch.setattr("online.store.sqlite_search.LARGEST_PAGE", 10)
    found = list(inventory.all(Search(now=NOW, kinds=EVERY_KIND)))
    assert [each.serial for each in found] == [each.serial for each in reversed(crowd.rows)]


def test_what_is_found_says_all_about_it(crowd: Crowd, inventory: Inventory) -> None:
    """Status, lineage and revocation must be those of the row, for operators act on them."""
    for found in inventory.page(Search(now=NOW, kinds=EVERY_KIND, limit=LARGEST_PAGE)).found:
        (row,) = (each for each in crowd.rows if each.serial == found.serial)
        assert found.status is crowd.status(row)
        assert (found.subject, found.sans, found.kind) == (row.subject, row.sans, row.kind)
        assert (found.not_before, found.not_after) == (row.not_before, row.not_after)
        assert found.provisioner == row.provisioner_name
        assert found.renewed_from == row.parent
        assert set(found.renewed_to) == {each.serial for each in crowd.rows if each.parent == row.serial}
        assert (found.withdrawal is not None) == (row.serial in crowd.revoked)
        if found.withdrawal is not None:
            assert (found.withdrawal.at, found.withdrawal.reason_code, found.withdrawal.reason) == (NOON, 0, "because")


def plan(path: Path, search: Search) -> list[str]:
    """Return SQLite's plan for a search, from statements exactly as they are run."""
    compiled = statement(search).compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    database = sqlite3.connect(path)
    try:
        return [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {compiled}")]
    finally:
        database.close()


BEGINNINGS = {
    "serial": (Search(now=NOW, serial=1), "(serial=?)"),
    "lineage": (Search(now=NOW, lineage=1), "(serial=?)"),
    "whole name": (Search(now=NOW, text="a.local", exact=True), "(rowid=?)"),
    "part of a name": (Search(now=NOW, text="a.l"), "(rowid=?)"),
    "revoked": (Search(now=NOW, statuses=frozenset({Status.REVOKED})), "(serial=?)"),
    "valid": (Search(now=NOW, statuses=frozenset({Status.VALID})), "ix_certificate_not_after (not_after>?)"),
    "renewed": (Search(now=NOW, statuses=frozenset({Status.RENEWED})), "ix_certificate_not_after (not_after>?)"),
    "expiring": (
        Search(now=NOW, statuses=frozenset({Status.VALID}), ends_before=NOW + DAY),
        "ix_certificate_not_after (not_after>? AND not_after<?)",
    ),
    "provisioner": (Search(now=NOW, provisioner="admin"), "ix_certificate_provisioner (provisioner_name=?"),
    "kind": (Search(now=NOW, kinds=frozenset({CertificateKind.OWN})), "ix_certificate_kind (kind=?"),
    "all": (Search(now=NOW), "USING INTEGER PRIMARY KEY (rowid>?"),
    "expired": (Search(now=NOW, statuses=frozenset({Status.EXPIRED})), "USING INTEGER PRIMARY KEY (rowid>?"),
}
RESTS: dict[str, dict[str, object]] = {
    "alone": {},
    "of a provisioner": {"provisioner": "admin"},
    "of a kind": {"kinds": frozenset({CertificateKind.SIGNED})},
    "revoked": {"statuses": frozenset({Status.REVOKED})},
    "renewed": {"statuses": frozenset({Status.RENEWED})},
    "next page": {"after": "17"},
}


# What is searched for by one thing may be narrowed by others; a beginning of its own would go before the later ones.
NARROWED = [
    (name, rest)
    for name in BEGINNINGS
    for rest in RESTS
    if rest in {"alone", "next page"} or name in {"serial", "lineage", "whole name", "part of a name"}
]


@pytest.mark.parametrize(("name", "rest"), NARROWED)
def test_each_search_begins_at_its_index(crowd: Crowd, name: str, rest: str) -> None:
    """With years of certificates in the table, a search that reads them all takes minutes and the node's disk."""
    search, beginning = BEGINNINGS[name]
    changes = {"after": "17.17"} if rest == "next page" and search.ends_before is not None else RESTS[rest]
    steps = plan(crowd.path, dataclasses.replace(search, **changes))
    outer = next(each for each in steps if " certificate " in f"{each} ")
    assert beginning in outer, steps
    # The names are read whole when a part of one is wanted: each stands there once, not once a renewal.
    scans = [
        each for each in steps if each.startswith("SCAN") and each.split()[1] in {"certificate", "child", "member"}
    ]
    assert scans == [], steps
    if name in {"whole name", "part of a name", "provisioner", "kind", "all", "expired", "expiring"}:
        # Sorting reads everything before the first row comes out.
        assert not any("ORDER BY" in each for each in steps), steps


def test_an_exact_name_is_one_lookup(crowd: Crowd) -> None:
    """The common question, who has this name, must cost the same after ten years."""
    steps = plan(crowd.path, Search(now=NOW, text="a.local", exact=True))
    assert any("SEARCH name USING COVERING INDEX sqlite_autoindex_name_1 (text=?)" in each for each in steps), steps
    assert not any(each.startswith("SCAN name") for each in steps)


def test_a_renewal_adds_no_name(crowd: Crowd) -> None:
    """A table of names that grows with renewals makes every search for a part of a name slower each day."""
    database = sqlite3.connect(crowd.path)
    names = [row[0] for row in database.execute("SELECT text FROM name")]
    database.close()
    assert len(names) == len(set(names)) < 300


@pytest.mark.parametrize(
    "changes",
    [
        {"limit": 0},
        {"limit": LARGEST_PAGE + 1},
        {"after": "x"},
        {"after": "1.2"},
        {"after": "-1"},
        {"after": "9" * 30},
        {"after": "1", "ends_before": NOW},
    ],
)
def test_a_page_that_is_none_is_refused(changes: dict[str, object]) -> None:
    """A cursor of another search would skip rows without a word."""
    with pytest.raises(RequestRejected) as refusal:
        Search(now=NOW, **changes)  # type: ignore[arg-type]
    assert refusal.value.code in {"search.limit", "search.cursor"}


async def test_searching_beside_a_running_node(tmp_path: Path) -> None:
    """An operator looks while the node works: each sees what is committed, and neither waits for the other."""
    path = tmp_path / "ca.db"
    create_database(path)
    store = SqliteStore(path)
    with open_inventory(DatabaseSettings(data_source=str(path))) as inventory:
        for expected in range(1, 4):
            await store.record_certificate(token=None, certificate=certificate_row())
            assert len(inventory.page(Search(now=NOW)).found) == expected
    await store.close()


def test_a_search_makes_and_changes_nothing(tmp_path: Path) -> None:
    """A mistyped path must not become an empty database, nor an old database a new one."""
    missing = DatabaseSettings(data_source=str(tmp_path / "no.db"))
    with open_inventory(missing) as inventory, pytest.raises(StoreFailed) as failure:
        inventory.page(Search(now=NOW))
    assert failure.value.code == "store.missing"
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / "ca.db"
    create_database(path)
    before = path.read_bytes()
    with open_inventory(DatabaseSettings(data_source=str(path))) as inventory:
        assert inventory.page(Search(now=NOW)).found == ()
        with pytest.raises(OperationalError, match="readonly"):
            assert isinstance(inventory, SqliteInventory)
            inventory._database.connection().exec_driver_sql("DELETE FROM certificate")
    assert path.read_bytes() == before


def test_another_kind_of_database_is_refused() -> None:
    """A silent empty answer would read as: no certificates."""
    with pytest.raises(Unsupported):
        open_inventory(DatabaseSettings(type="other", data_source="x")).__enter__()
