"""``online list`` on a node's database: what it prints where, how it pages, and what it refuses."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fakes.node import NodeHome, make_home
from fakes.rows import certificate_row, revocation_of

from online.cli import cli
from online.store import CertificateKind, CertificateRow
from online.store.sqlite import SqliteStore


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """A node that stands still, and what it issued."""

    home: NodeHome
    rows: dict[str, CertificateRow]

    def run(self, *arguments: str, status: int = 0, color: bool = False, no_color: str = "") -> Result:
        """Run ``online list``."""
        environment = {"COLDROOT_HOME": str(self.home.path), "COLDROOT_DEBUG": "1", "NO_COLOR": no_color}
        result = CliRunner().invoke(cli, ["list", *arguments], env=environment, color=color)
        assert result.exit_code == status, result.output
        return result

    def found(self, *arguments: str) -> list[str]:
        """Return the keys of the rows that a search finds, in its order."""
        names = {str(row.serial): name for name, row in self.rows.items()}
        return [names[each["serial"]] for each in json.loads(self.run("--json", *arguments).stdout)["certificates"]]


@pytest.fixture(name="node", scope="module")
def _node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    home = make_home(tmp_path_factory.mktemp("list") / "home")
    now = datetime.now(UTC)

    def row(host: str, hours: int, parent: int | None = None, **changes: object) -> CertificateRow:
        made = dataclasses.replace(
            certificate_row(parent=parent, subject=f"CN={host}"),
            sans=(host,),
            not_before=now + timedelta(hours=hours - 24),
            not_after=now + timedelta(hours=hours),
        )
        return dataclasses.replace(made, **changes)  # type: ignore[arg-type]

    first = row("a.local", -2)
    second = row("a.local", 10, first.serial)
    rows = {
        "first": first,
        "second": second,
        "third": row("a.local", 20, second.serial, kind=CertificateKind.REKEYED),
        "revoked": row("b.local", 5),
        "soon": row("c.local", 4),
        "later": row("d.LOCAL", 12, provisioner_name="ci"),
        "own": row("localhost", 16, kind=CertificateKind.OWN, provisioner_name="", provisioner_id=""),
    }

    async def fill() -> None:
        store = SqliteStore(home.path / "db" / "coldroot.db")
        for each in rows.values():
            await store.record_certificate(token=None, certificate=each)
        await store.record_revocation(token=None, revocation=revocation_of(rows["revoked"].serial))
        await store.close()

    asyncio.run(fill())
    return Node(home=home, rows=rows)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["later", "soon", "revoked", "third", "second", "first"]),
        (["a.lo"], ["third", "second", "first"]),
        (["A.LOCAL", "--exact"], ["third", "second", "first"]),
        (["local", "--exact"], []),
        (["d.local"], ["later"]),
        (["--status", "valid"], ["later", "soon", "third"]),
        (["--status", "renewed"], ["second"]),
        (["--status", "expired"], ["first"]),
        (["--status", "revoked"], ["revoked"]),
        (["--status", "revoked", "--status", "expired"], ["revoked", "first"]),
        (["--expiring", "2000000h"], ["soon", "later", "third"]),
        (["--expiring", "13h"], ["soon", "later"]),
        (["--expiring", "1h"], []),
        (["--provisioner", "ci"], ["later"]),
        (["--provisioner", "c"], []),
        (["--kind", "own"], ["own"]),
        (["--kind", "rekeyed", "--kind", "renewed"], ["third", "second"]),
        (["--lineage", "#second"], ["third", "second", "first"]),
        (["--serial", "#soon"], ["soon"]),
    ],
)
def test_what_is_found(node: Node, arguments: list[str], expected: list[str]) -> None:
    """Each question of an operator gets the rows that it is about."""
    words = [str(node.rows[each[1:]].serial) if each.startswith("#") else each for each in arguments]
    assert node.found(*words) == expected


def test_a_serial_in_either_form(node: Node) -> None:
    """Logs have hexadecimal, step has decimal."""
    serial = node.rows["soon"].serial
    assert node.found("--serial", hex(serial)) == node.found("--serial", str(serial)) == ["soon"]


def test_the_table(node: Node) -> None:
    """One line a certificate with a serial that can be pasted into online revoke; plain where it is piped."""
    lines = node.run().stdout.splitlines()
    assert len(lines) == 7
    assert "\x1b" not in "".join(lines)
    assert str(node.rows["soon"].serial) in lines[2]
    assert lines[2].startswith("valid ")
    assert lines[3].startswith("revoked ")
    assert "from " in lines[4]


def test_colours_on_a_terminal_only(node: Node) -> None:
    """Codes in a pipe break scripts; NO_COLOR is a person's wish."""
    assert "\x1b[32mvalid" in node.run(color=True).stdout
    assert "\x1b" not in node.run(color=True, no_color="1").stdout


def test_paging(node: Node) -> None:
    """A page that ends says how to go on, and going on reaches each row once."""
    first = node.run("--limit", "4")
    assert "--after" in first.stderr
    assert len(first.stdout.splitlines()) == 5
    page = json.loads(node.run("--limit", "4", "--json").stdout)
    assert page["next"] in first.stderr
    assert node.found("--limit", "4", "--after", page["next"]) == ["second", "first"]
    rest = node.run("--limit", "4", "--after", page["next"], "--json")
    assert json.loads(rest.stdout)["next"] is None
    assert rest.stderr == ""
    ends = json.loads(node.run("--expiring", "30h", "--limit", "1", "--json").stdout)["next"]
    assert node.found("--expiring", "30h", "--limit", "5", "--after", ends) == ["later", "third"]


def test_csv(node: Node) -> None:
    """An export has every row, and says so on stderr when it has not."""
    rows = list(csv.DictReader(io.StringIO(node.run("--csv", "--all").stdout)))
    assert [each["serial"] for each in rows] == [
        str(row.serial) for name, row in reversed(node.rows.items()) if name != "own"
    ]
    assert rows[2]["reason"] == "because"
    assert "There are more" in node.run("--csv", "--limit", "1").stderr


def test_nothing_fits(node: Node) -> None:
    """Nothing on stdout for people, and an answer for programs; neither is a failure."""
    nothing = node.run("nobody")
    assert nothing.stdout == ""
    assert "No certificate" in nothing.stderr
    assert json.loads(node.run("nobody", "--json").stdout) == {"certificates": [], "next": None}


def test_another_ca_json(node: Node, tmp_path: Path) -> None:
    """The node's files may lie anywhere."""
    environment = {"COLDROOT_HOME": str(tmp_path)}
    missing = CliRunner().invoke(cli, ["list"], env=environment)
    assert missing.exit_code == 1
    assert "ca.json does not exist" in missing.stderr
    found = CliRunner().invoke(cli, ["list", "--ca-config", str(node.home.config)], env=environment)
    assert len(found.stdout.splitlines()) == 7


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--csv", "--json"], 2, "not both"),
        (["--expiring", "1h", "--status", "revoked"], 2, "--expiring"),
        (["--exact"], 2, "NAME"),
        (["--all", "--after", "1"], 2, "not both"),
        (["--limit", "0"], 2, "--limit"),
        (["--status", "gone"], 2, "--status"),
        (["--expiring", "soon"], 1, "not a duration"),
        (["--expiring", "-1h"], 1, "ahead"),
        (["--serial", "1x"], 1, "serial"),
        (["--after", "1.2"], 1, "does not continue"),
    ],
)
def test_refusals(node: Node, arguments: list[str], status: int, words: str) -> None:
    """A question that cannot be meant is refused, never answered with the wrong rows."""
    refused = node.run(*arguments, status=status)
    assert words in refused.stderr
    assert refused.stdout == ""
