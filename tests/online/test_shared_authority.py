"""The authority in the database: taken there and back, read as strictly as the file, changed by one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes.clock import NOON
from fakes.databases import KINDS, fresh_settings
from fakes.node import PROVISIONER_PASSWORD, NodeHome, make_home

from online.cli import cli
from online.config import DatabaseSettings, load_config
from online.shared_authority import edit_authority, load_node_config
from online.store import upkeep
from online.store.documents import add_document, newest_document
from online.store.open import open_store
from online.store.protocol import Document
from shared.errors import ColdrootError, RequestRejected, StoreFailed


@pytest.fixture
def home(tmp_path: Path) -> NodeHome:
    """A node's home."""
    return make_home(tmp_path / "home")


def run(home: NodeHome, *arguments: str, status: int = 0) -> Result:
    """Run a command on the home."""
    result = CliRunner().invoke(cli, [*arguments, "--home", str(home.path)])
    assert result.exit_code == status, f"{arguments}: {result.output} {result.exception}"
    return result


def content(home: NodeHome) -> dict[str, Any]:
    """Return what stands in ca.json."""
    document: dict[str, Any] = json.loads(home.config.read_text())
    return document


def names(home: NodeHome) -> list[str]:
    """Return the provisioners that a node would have."""
    return [each.name for each in load_node_config(home.config).provisioners]


def version(number: int, text: str = "{}") -> Document:
    """Return a document."""
    return Document(version=number, text=text, changed_at=NOON, changed_by="root@ca")


@pytest.mark.parametrize("kind", KINDS)
def test_versions_are_kept_in_every_kind_of_database(kind: str, tmp_path: Path) -> None:
    """A node must find the newest one, also among many, and never half of one."""
    settings = fresh_settings(kind, tmp_path)
    assert newest_document(settings) is None
    long = json.dumps({"authority": {"provisioners": ["é" * 100_000]}}, ensure_ascii=False)
    for number in range(1, 12):
        add_document(settings, version(number, long))
    assert newest_document(settings) == version(11, long)


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_the_newest_is_looked_up_through_the_store(kind: str, tmp_path: Path) -> None:
    """The keeper asks every 2 seconds, over the connection that it has."""
    settings = fresh_settings(kind, tmp_path)

    async def look() -> list[int | None]:
        store = open_store(settings)
        found = [await store.authority_version()]
        await asyncio.to_thread(add_document, settings, version(1))
        found.append(await store.authority_version())
        await store.close()
        return found

    assert asyncio.run(look()) == [None, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_of_many_writers_at_once_one_wins_and_the_others_are_told(kind: str, tmp_path: Path) -> None:
    """A change that another one overwrote would be a provisioner that somebody believes to have removed."""
    settings = fresh_settings(kind, tmp_path)
    outcomes: list[str] = []
    together = threading.Barrier(4)

    def write(author: str) -> None:
        together.wait()
        try:
            add_document(settings, dataclasses.replace(version(1), changed_by=author))
            outcomes.append(author)
        except RequestRejected as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=write, args=(f"somebody{number}",)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(outcomes)[:3] == ["authority.changed"] * 3
    found = newest_document(settings)
    assert found is not None
    assert [found.changed_by] == [each for each in outcomes if each.startswith("somebody")]


def test_a_gap_is_not_written(tmp_path: Path) -> None:
    """What was made from a version that is not the newest must not become the newest."""
    settings = fresh_settings("sqlite", tmp_path)
    for refused in (2, 3):
        with pytest.raises(RequestRejected):
            add_document(settings, version(refused))
    add_document(settings, version(1))
    for refused in (1, 3):
        with pytest.raises(RequestRejected):
            add_document(settings, version(refused))


def test_there_and_back(home: NodeHome) -> None:
    """Without this, sharing would lose something, or there would be no way back."""
    home.change_config(
        authority={
            **content(home)["authority"],
            "policy": {"x509": {"allow": {"dns": ["*.example.com"]}}},
            "claims": {"maxTLSCertDuration": "48h"},
            "deploymentType": "standalone",
        },
        coldroot={"logLevel": "warning"},
    )
    before, config = content(home), load_config(home.config)
    run(home, "authority", "share")
    assert content(home)["authority"] == {"deploymentType": "standalone"}
    assert content(home)["coldroot"] == {"logLevel": "warning", "authority": "database"}
    shared = load_node_config(home.config)
    assert shared.authority_version == 1
    assert (shared.provisioners, shared.policy, shared.claims) == (config.provisioners, config.policy, config.claims)
    assert "already" in run(home, "authority", "share", status=1).output
    run(home, "authority", "unshare")
    assert content(home) == before
    assert "already" in run(home, "authority", "unshare", status=1).output
    # The database has the same still: nothing is written anew.
    run(home, "authority", "share")
    assert load_node_config(home.config).authority_version == 1


def test_two_that_differ_need_a_word(home: NodeHome) -> None:
    """The provisioners of one node must not become those of all by an oversight."""
    file = home.config.read_text()
    run(home, "authority", "share")
    run(home, "provisioner", "add", "web")
    home.config.write_text(file)
    assert "--prefer" in run(home, "authority", "share", status=1).output
    assert home.config.read_text() == file
    run(home, "authority", "share", "--prefer", "database")
    assert names(home) == ["admin", "web"]
    home.config.write_text(file)
    run(home, "authority", "share", "--prefer", "file")
    assert names(home) == ["admin"]
    assert load_node_config(home.config).authority_version == 3


def test_provisioners_are_edited_in_the_database(home: NodeHome) -> None:
    """Without this, an edit would go into a file that no node reads."""
    run(home, "authority", "share")
    file = home.config.read_bytes()
    added = run(home, "provisioner", "add", "web", "--x509-max-dur", "48h")
    assert "version 2 in the database" in added.output
    assert "within seconds" in added.output
    assert names(home) == ["admin", "web"]
    assert (home.path / "secrets" / "provisioner_password_web.txt").exists()
    run(home, "provisioner", "update", "web", "--name", "hosts", "--reload")
    assert names(home) == ["admin", "hosts"]
    assert "hosts" in run(home, "provisioner", "list", "--ca-config", str(home.config)).stdout
    assert "version 3, of the database" in run(home, "config", "check").stdout
    run(home, "provisioner", "remove", "hosts")
    assert names(home) == ["admin"]
    assert home.config.read_bytes() == file
    # A token is minted by what the database has.
    password = home.path / "password"
    password.touch(mode=0o600)
    password.write_bytes(PROVISIONER_PASSWORD)
    assert run(home, "token", "a.local", "--offline", "--password-file", str(password)).stdout.count(".") == 2


def test_a_refused_edit_writes_nothing(home: NodeHome) -> None:
    """What a node would refuse must not reach the nodes, nor a password file stay of a key that nobody has."""
    run(home, "authority", "share")
    for arguments in (("add", "admin"), ("add", "x", "--x509-min-dur", "48h"), ("remove", "nobody")):
        run(home, "provisioner", *arguments, status=1)
    assert load_node_config(home.config).authority_version == 1
    assert not list((home.path / "secrets").glob("provisioner_password_*"))


def test_an_edit_that_another_one_overtook_is_refused(home: NodeHome) -> None:
    """Of two operators at once, the slower one must look again."""
    run(home, "authority", "share")
    settings = load_config(home.config).db

    def change(text: str) -> str:
        add_document(settings, version(2, text))
        return text

    with pytest.raises(RequestRejected) as refused:
        edit_authority(home.config, change)
    assert refused.value.code == "authority.changed"
    assert newest_document(settings) == version(2, run(home, "authority", "show").stdout)


def test_the_policy_is_set_from_what_was_shown(home: NodeHome) -> None:
    """Without this, no policy could be changed without leaving the database."""
    run(home, "authority", "share")
    shown = run(home, "authority", "show")
    assert "Version 1, of " in shown.stderr
    document = json.loads(shown.stdout)
    document["authority"]["policy"] = {"x509": {"allow": {"dns": ["*.example.com"]}}}
    file = home.path / "authority.json"
    file.write_text(json.dumps(document))
    run(home, "authority", "set", str(file), "--if-version", "1")
    run(home, "policy", "explain", "www.example.com")
    run(home, "policy", "explain", "www.example.org", status=1)
    assert "not 1" in run(home, "authority", "set", str(file), "--if-version", "1", status=1).output
    for wrong in ("{}", '{"authority": {"typo": 1}}', '{"authority": {"policy": 1}}', '{"authority": {}, "key": ""}'):
        file.write_text(wrong)
        assert (
            "version 3 of the authority, in the database" in run(home, "authority", "set", str(file), status=1).output
        )
    file.write_text(json.dumps({"authority": {"claims": {"minTLSCertDuration": "x" * (2 << 20)}}}))
    run(home, "authority", "set", str(file), status=1)
    assert load_node_config(home.config).authority_version == 2
    run(home, "authority", "unshare")
    file.write_text(json.dumps(document))
    assert "share it first" in run(home, "authority", "set", str(file), status=1).output


def test_what_is_wrong_is_said_of_the_right_place(home: NodeHome) -> None:
    """An operator who looks for a mistake in the wrong one of two places does not find it."""
    run(home, "authority", "share")
    good = content(home)
    add_document(load_config(home.config).db, version(2, '{"authority": {"provisioners": [{"type": "JWK"}]}}'))
    with pytest.raises(ColdrootError, match=r"version 2 .* in the database: authority\.provisioners\[0\]"):
        load_node_config(home.config)
    home.change_config(dnsNames=["*.x"])
    with pytest.raises(ColdrootError, match=r"^dnsNames"):
        load_node_config(home.config)
    home.change_config(**{**good, "dnsNames": ["localhost"]} | {"authority": {}})
    home.change_config(authority={"provisioners": [{"type": "JWK"}]})
    with pytest.raises(RequestRejected, match=r"by coldroot\.authority the database has it"):
        load_node_config(home.config)
    home.change_config(authority={}, coldroot={"authority": "elsewhere"})
    with pytest.raises(RequestRejected, match="neither file nor database"):
        load_node_config(home.config)


def test_a_database_without_an_authority_is_no_authority_without_provisioners(home: NodeHome) -> None:
    """A node over the wrong database must not start and refuse everybody."""
    home.change_config(authority={}, coldroot={"authority": "database"})
    with pytest.raises(RequestRejected) as refused:
        load_node_config(home.config)
    assert refused.value.code == "authority.missing"
    # What looks after the database itself needs no authority.
    run(home, "db", "check")


def test_tables_of_the_version_before_come_along(tmp_path: Path) -> None:
    """A node's database that was made before must not be lost to the upgrade."""
    settings = fresh_settings("sqlite", tmp_path)
    with contextlib.closing(sqlite3.connect(settings.data_source)) as database:
        database.execute("DROP TABLE authority_document")
        database.execute("UPDATE coldroot_schema SET version = 3")
        database.commit()
    with pytest.raises(ColdrootError) as refused:
        newest_document(settings)
    assert refused.value.code == "store.version"
    done = upkeep.upgrade(settings, say=lambda _: None)
    assert (done.found, done.reached) == (3, 4)
    add_document(settings, version(1))
    assert newest_document(settings) == version(1)


def test_a_password_stays_when_nobody_knows_whether_its_key_was_written(
    home: NodeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this, all nodes might have a provisioner whose only password was deleted."""
    run(home, "authority", "share")

    def lost(settings: DatabaseSettings, document: Document) -> None:
        add_document(settings, document)
        raise StoreFailed("store.outcome-unknown", "the connection was lost")

    monkeypatch.setattr("online.store.documents.add_document", lost)
    run(home, "provisioner", "add", "web", status=1)
    assert names(home) == ["admin", "web"]
    assert (home.path / "secrets" / "provisioner_password_web.txt").exists()
