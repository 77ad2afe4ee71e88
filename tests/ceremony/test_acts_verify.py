"""What later acts left, damaged and forged: whoever verifies must not believe a single changed byte of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.forgery import rewrite
from fakes.later_acts import Story, make_partner, plan_text
from fakes.rehearsal import no_hardening
from fakes.softhsm import needs_softhsm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ceremony.verify import verify
from shared.errors import ColdrootError

pytestmark = needs_softhsm

_Change = Callable[[list[dict[str, object]]], None]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A ceremony in which every act was done, without its tokens; never changed: tests copy it."""
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        partner = make_partner()
        story = Story(tmp_path_factory.mktemp("told"))
        story.begin(partner, plan_text(partner))
        assert story.alpha().exit_code == 0
        for command, *arguments in (
            ("crl", "yearly"),
            ("cross", "partner", story.other_root),
            ("rollover", "next"),
            ("backup",),
            ("restore-test",),
            ("crl", "revoking"),
            ("destroy",),
        ):
            done = story.act(str(command), *arguments)
            assert done.exit_code == 0, done.stderr
        shutil.rmtree(story.directory / "tokens")
        yield story.directory


@pytest.fixture
def copy(told: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(told, tmp_path / "copy"))


def _codes(directory: Path) -> list[str]:
    return [claim.code for claim in verify(directory, report=lambda _: None).claims]


def _code(directory: Path) -> str:
    with pytest.raises(ColdrootError) as refused:
        _codes(directory)
    return refused.value.code


def _bodies(records: list[dict[str, object]], kind: str) -> list[dict[str, object]]:
    return [body for record in records if record["kind"] == kind and isinstance(body := record["body"], dict)]


def _drop(kind: str, which: int = 0) -> _Change:
    def change(records: list[dict[str, object]]) -> None:
        doomed = [record for record in records if record["kind"] == kind][which]
        records.remove(doomed)

    return change


def _set(kind: str, which: int = 0, **values: object) -> _Change:
    return lambda records: _bodies(records, kind)[which].update(values)


def _swap(kind: str, member: str) -> _Change:
    def change(records: list[dict[str, object]]) -> None:
        first, second, *_ = _bodies(records, kind)
        first[member], second[member] = second[member], first[member]

    return change


def test_every_act_is_claimed(told: Path) -> None:
    """An act that no claim speaks of was verified by nobody."""
    codes = _codes(told)
    for code, times in {
        "inventory": 1, "crl": 4, "cross": 1, "rollover": 1, "files": 1, "backup": 1, "restore-test": 2, "destroyed": 1,
    }.items():  # fmt: skip
        assert codes.count(code) == times, code


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_each_byte_of_each_file(told: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """One changed bit in a list is a revocation less; in a page, another sentence above the signatures."""
    names = sorted(
        str(path.relative_to(told))
        for path in told.rglob("*")
        if (path.is_file() and path.parent.name in {"crl", "cross", "next", "backup"}) or path.name == "destruction.pdf"
    )
    assert len(names) == 10
    name = data.draw(st.sampled_from(names))
    scratch = tmp_path_factory.getbasetemp() / "scratch"
    if not scratch.exists():
        shutil.copytree(told, scratch)
    content = (scratch / name).read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    changed = content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :]
    try:
        (scratch / name).write_bytes(changed)
        _code(scratch)
    finally:
        (scratch / name).write_bytes(content)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_drop("inventory-taken"), "verify.inventory.missing"),
        (_drop("inventory-taken", -1), "verify.inventory.missing"),
        (_set("inventory-taken", 3, objects=[]), "inventory.missing"),
        (_set("inventory-taken", 3, objects="x"), "inventory"),
        (_drop("next-key-generated"), "verify.rollover.key"),
        (_drop("list-prepared"), "verify.prepared"),
        (_set("list-prepared", tbs_sha256="00" * 32), "verify.prepared"),
        (_set("list-issued", number=2), "verify.recorded"),
        (_set("list-issued", revoked=[{"serial": "1"}]), "verify.recorded"),
        (_set("list-issued", file="crl/other-0001.crl"), "verify.crl.plan"),
        (_set("list-issued", der="MAA="), "crl.malformed"),
        (_swap("list-issued", "der"), "verify.recorded"),
        (_drop("other-root-accepted"), "verify.cross.other-root"),
        (_set("other-root-accepted", sha256="00" * 32), "verify.cross.other-root"),
        (_set("cross-issued", serial="1"), "verify.recorded"),
        (_set("cross-issued", file="cross/other.crt"), "verify.cross.plan"),
        (_set("cross-issued", 1, file="rollover/next/other.crt"), "verify.rollover.plan"),
        (_set("next-root-issued", file="rollover/last/root.crt"), "verify.rollover.plan"),
        (_set("next-key-generated", public_key_sha256="00" * 32), "verify.rollover.key"),
        (_set("next-key-generated", name="other"), "verify.rollover.key"),
        (_set("next-key-generated", attributes={}), "hsm.key-exposed"),
        (_set("files-written", files=[]), "verify.files.unrecorded"),
        (_set("key-wrapped", evidence="strong"), "verify.backup.plan"),
        (_drop("key-wrapped"), "verify.backup.restored"),
        (_set("backup-restored", signature="AAAA"), "issue.bad-signature"),
        (_set("backup-restored", signature="?"), "issue.bad-signature"),
        (_swap("backup-restored", "signature"), "issue.bad-signature"),
        (_set("backup-restored", attributes={"TOKEN": True}), "verify.backup.stored"),
        (_set("backup-restored", id="00"), "verify.backup.restored"),
        (_drop("absence-proven"), "verify.destroy.absence"),
        (_drop("key-destroyed"), "verify.destroy.left"),
        (_set("token-erased", refusal="none"), "verify.destroy.paper"),
    ],
)
def test_a_consistent_forgery_still_lies(copy: Path, change: _Change, code: str) -> None:
    """Whoever owns the machine can compute every hash anew, but not make the story true."""
    rewrite(copy, change)
    assert _code(copy).startswith(code)


def test_files_that_nobody_recorded(copy: Path) -> None:
    """A list that lies between the others would be published with them."""
    stray = copy / "crl" / "yearly-0004.crl"
    stray.write_bytes((copy / "crl" / "yearly-0003.crl").read_bytes())
    assert _code(copy) == "verify.files.unrecorded"


def test_a_missing_file(copy: Path) -> None:
    """A list that is gone will be missed on the day on which it should be published."""
    (copy / "crl" / "yearly-0003.crl").unlink()
    with pytest.raises(ColdrootError):
        _codes(copy)


def test_a_backup_in_its_bag(copy: Path) -> None:
    """The wrapped key belongs into a sealed bag: a record that is published without it is whole."""
    (copy / "backup" / "backup-1.json").unlink()
    assert "files" in _codes(copy)
