"""Verification by somebody who was not there: what is true is said, and every change is found."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fakes.certificates import make_intermediate, make_root
from fakes.forgery import rewrite
from fakes.rehearsal import Rehearsal, full_rehearsal, no_hardening
from fakes.softhsm import needs_softhsm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ceremony.second_opinion import openssl_verifies
from ceremony.transcript import verify_chain
from ceremony.verify import Claim, verify
from shared import keys
from shared.errors import ColdrootError, Fatal
from shared.pem import certificate_pem

pytestmark = needs_softhsm

FILES = (
    "plan.toml", "transcript.jsonl", "root.crt", "intermediate.crt",
    *(f"sheets/{kind}-{number}.pdf" for kind in ("share", "receipt") for number in range(1, 6)),
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """One finished rehearsal, never changed: tests copy it."""
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        yield full_rehearsal(tmp_path_factory.mktemp("verify"))


@pytest.fixture(scope="module")
def scratch(finished: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to damage and mend again."""
    return finished.copy(tmp_path_factory.mktemp("scratch") / "copy").directory


def _claims(directory: Path, head: bytes | None = None) -> list[str]:
    found: list[Claim] = []
    verify(directory, expected_head=head, report=found.append)
    return [claim.code for claim in found]


def _head(directory: Path) -> bytes:
    return verify_chain((directory / "transcript.jsonl").read_bytes())[-1].digest


def test_every_claim_is_made(finished: Rehearsal) -> None:
    """A check that silently stopped running would leave a claim out."""
    claims = _claims(finished.directory, _head(finished.directory))
    assert claims == [
        "transcript.chain", "acts", "plan", "host", "key", "root", "intermediate", "shares", "inventory",
        "digest-confirmed", "second-opinion", "sheets", "receipts", "signatures",
    ]  # fmt: skip


def test_without_hsm_shares_network_and_sheets(finished: Rehearsal, tmp_path: Path) -> None:
    """The auditor has four files, in another place, on a machine without a network."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in FILES[:4]:
        (bare / name).write_bytes((finished.directory / name).read_bytes())
    assert "sheets" not in _claims(bare)
    probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("this machine does not let a test leave the network")
    program = "from ceremony.cli import cli; cli()"
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-c", program, "verify", bare],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "verified: 13 claims" in done.stdout


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_single_byte_counts(finished: Rehearsal, scratch: Path, data: st.DataObject) -> None:
    """With the witnesses' head, no byte of plan, transcript, certificates and sheets can change unnoticed."""
    head = _head(finished.directory)
    name = data.draw(st.sampled_from(FILES))
    content = (finished.directory / name).read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(1, 255))
    (scratch / name).write_bytes(content[:place] + bytes([content[place] ^ byte]) + content[place + 1 :])
    try:
        with pytest.raises(ColdrootError):
            _claims(scratch, head)
    finally:
        (scratch / name).write_bytes(content)


def _of(records: list[dict[str, object]], kind: str) -> dict[str, object]:
    body = next(record["body"] for record in records if record["kind"] == kind)
    assert isinstance(body, dict)
    return body


def _drop(kind: str) -> Callable[[list[dict[str, object]]], None]:
    def change(records: list[dict[str, object]]) -> None:
        records[:] = [record for record in records if record["kind"] != kind]

    return change


def _set(kind: str, **values: object) -> Callable[[list[dict[str, object]]], None]:
    return lambda records: _of(records, kind).update(values)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_drop("act-closed"), "verify.acts"),
        (_drop("act-opened"), "verify.acts"),
        (_drop("host-checked"), "verify.host"),
        (_drop("key-generated"), "verify.key-generated"),
        (_drop("certificate-prepared"), "verify.certificate.prepared"),
        (_drop("certificate-issued"), "verify.root.recorded"),
        (_drop("shares-dealt"), "verify.shares-dealt"),
        (_drop("sheet-written"), "verify.shares.sheets"),
        (_drop("shares-read-back"), "verify.shares.read-back"),
        (_drop("sheet-read-back"), "verify.shares.read-back"),
        (_drop("quorum-unlocked"), "verify.shares.quorum"),
        (_drop("request-accepted"), "verify.intermediate.request"),
        (_set("act-opened", mode="real"), "verify.acts.mode"),
        (_set("act-opened", plan="00" * 32), "verify.plan.digest"),
        (_set("act-opened", act="root"), "verify.acts.order"),
        (_set("key-generated", public_key_sha256="00" * 32), "verify.key.root"),
        (_set("key-generated", attributes={}), "hsm.key-exposed"),
        (_set("certificate-prepared", tbs_sha256="00" * 32), "verify.certificate.prepared"),
        (_set("certificate-issued", serial="1"), "verify.certificate.recorded"),
        (_set("shares-dealt", quorums_proven=9), "verify.shares.proven"),
        (_set("shares-dealt", groups=[{"name": "custodians", "threshold": 2, "custodians": 5}]), "verify.shares.plan"),
        (_set("shares-dealt", shares="x"), "share.bad-commitments"),
        (_set("sheet-written", custodian="Mallory"), "verify.shares.sheets"),
        (_set("quorum-unlocked", indexes=[1, 2]), "verify.shares.quorum"),
        (_set("quorum-unlocked", indexes=[1, 1, 1]), "verify.shares.quorum"),
        (_set("quorum-unlocked", set_id="00" * 16), "verify.shares.quorum"),
        (_set("shares-read-back", indexes=[1, 2, 3, 4]), "verify.shares.read-back"),
        (_set("request-accepted", public_key_sha256="00" * 32), "verify.intermediate.request"),
        (_set("genesis", mode=7), "verify"),
        (_set("sheet-written", receipt_sha256="00" * 32), "verify.files"),
        (_set("sheet-written", copy="x"), "verify"),
        (_set("sheet-written", file="../share-1.pdf"), "verify.files.sheet"),
        (_set("genesis", signing_key="00" * 32), "verify.signature.wrong"),
        (_set("genesis", signing_key="x"), "verify.signature.key"),
        (_set("act-closed", act="other"), "verify.signature.wrong"),
        (_set("act-signed", head="00" * 32), "verify.signature.wrong"),
        (_set("act-signed", signature="00" * 64), "verify.signature.wrong"),
        (_set("act-signed", signature=7), "verify.signature.key"),
        (lambda records: records.append(dict(records[-1])), "verify.signature.place"),
    ],
)
def test_a_consistent_forgery_still_lies(
    finished: Rehearsal, tmp_path: Path, change: Callable[[list[dict[str, object]]], None], code: str
) -> None:
    """Whoever recomputes the whole chain must still not get a false story past the checks."""
    copy = finished.copy(tmp_path / "copy").directory
    rewrite(copy, lambda _: None)
    assert _claims(copy)
    rewrite(copy, change)
    with pytest.raises(ColdrootError) as refused:
        _claims(copy)
    assert refused.value.code.startswith(code)


def test_the_script_is_drawn_again(finished: Rehearsal, tmp_path: Path) -> None:
    """Whoever prints the script from the record must hold what the people held, byte for byte."""
    copy = finished.copy(tmp_path / "copy")
    given: list[str | Path] = [
        "script", "render", "--plan", copy.base / "plan.toml", "--pdf", tmp_path / "script.pdf", "--record",
    ]  # fmt: skip
    assert copy.run(*given).exit_code == 2
    done = copy.run(*given, "--dir", copy.directory)
    assert done.exit_code == 0, done.stderr
    assert "script" in _claims(copy.directory)
    body = verify_chain((copy.directory / "transcript.jsonl").read_bytes())[-1].body
    assert body["pdf_sha256"] == hashlib.sha256((tmp_path / "script.pdf").read_bytes()).hexdigest()
    other = (copy.base / "plan.toml").read_text().replace("Example root key", "Another root key")
    (tmp_path / "other.toml").write_text(other)
    refused = copy.run(
        "script", "render", "--plan", tmp_path / "other.toml", "--pdf", tmp_path / "2.pdf", "--record", "--dir",
        copy.directory,
    )  # fmt: skip
    assert (refused.exit_code, (tmp_path / "2.pdf").exists()) == (1, False)
    lies: list[dict[str, object]] = [
        {"html_sha256": "00" * 32}, {"tbs": {"root.crt": "zz"}}, {"tbs": {"root.crt": "00" * 32}}, {"only": ["root"]},
    ]  # fmt: skip
    for number, change in enumerate(lies):
        again = copy.copy(tmp_path / f"copy-{number}").directory
        rewrite(again, _set("script-rendered", **change))
        with pytest.raises(ColdrootError) as false:
            _claims(again)
        assert false.value.code == "verify.script"


def test_strangers_are_named(finished: Rehearsal, tmp_path: Path) -> None:
    """A file that nobody recorded must not pass for one of the ceremony's, least of all among the papers."""
    copy = finished.copy(tmp_path / "copy").directory
    (copy / "notes.txt").write_text("hello")
    assert "files.unknown" in _claims(copy)
    (copy / "sheets" / "receipt-9.pdf").write_bytes(b"%PDF")
    with pytest.raises(ColdrootError) as refused:
        _claims(copy)
    assert refused.value.code == "verify.files.paper"


def test_other_versions_draw_no_receipts(finished: Rehearsal, tmp_path: Path) -> None:
    """Years later another release draws other bytes: that is no forgery, and must be said instead of hidden."""
    copy = finished.copy(tmp_path / "copy").directory
    rewrite(copy, _set("genesis", tools={"reportlab": "0"}))
    found: list[Claim] = []
    with pytest.raises(ColdrootError) as refused:
        verify(copy, report=found.append)
    assert refused.value.code == "verify.signature.wrong"
    assert any("were not drawn again" in claim.text for claim in found)


def test_a_foreign_intermediate(finished: Rehearsal, tmp_path: Path) -> None:
    """A certificate that another root signed, put in the place of the real one."""
    copy = finished.copy(tmp_path / "copy").directory
    root, key = make_root()
    (copy / "intermediate.crt").write_bytes(certificate_pem(make_intermediate(root, key)[0]))
    with pytest.raises(ColdrootError):
        _claims(copy)


def test_the_command(finished: Rehearsal, tmp_path: Path) -> None:
    """What an auditor types, and what a script reads."""
    done = finished.run("verify", finished.directory, "--json")
    verdict = json.loads(done.stdout)
    assert (verdict["mode"], len(verdict["claims"]), len(verdict["words"])) == ("rehearsal", 14, 32)
    head = finished.run("transcript", "head", finished.directory).stdout.splitlines()
    assert finished.run("verify", finished.directory, "--head", head[1]).exit_code == 0
    assert finished.run("verify", finished.directory, "--head", "00" * 32).exit_code == 1
    assert finished.run("verify", finished.directory, "--head", "zz" * 32).exit_code == 1
    assert finished.run("verify", finished.directory, "--head", "two words").exit_code == 1
    missing = finished.run("verify", tmp_path)
    assert (missing.exit_code, missing.stdout) == (1, "")
    shown = finished.run("transcript", "show", finished.directory)
    assert "key-generated" in shown.stdout
    records = json.loads(finished.run("transcript", "show", "--json", finished.directory).stdout)
    assert records[0]["kind"] == "genesis"


def test_second_opinion(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other implementation must really be asked, and its refusal must count."""
    root, key = make_root()
    intermediate, _ = make_intermediate(root, key)
    at = root.not_valid_before_utc + timedelta(days=1)
    version = openssl_verifies(root, [intermediate], at=at)
    assert version is None or version.startswith("OpenSSL")
    if version is not None:
        other, _ = make_root(common="Other")
        with pytest.raises(Fatal):
            openssl_verifies(other, [intermediate], at=at)
        with pytest.raises(Fatal):
            openssl_verifies(root, [intermediate], at=root.not_valid_after_utc + timedelta(days=1))
    monkeypatch.setenv("PATH", "/nowhere")
    assert openssl_verifies(root, [intermediate], at=at) is None
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert keys.kind_of(key) is keys.KeyKind.EC_P256
