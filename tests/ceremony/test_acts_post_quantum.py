"""A ceremony whose root is of ML-DSA-65 (FIPS 204, RFC 9881): every act, by a software key for practice."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import Result
from cryptography import x509
from fakes.ca_keys import generate_for_ca
from fakes.rehearsal import Rehearsal, no_hardening, request_bundle
from fakes.softhsm import needs_softhsm

from ceremony.compare import compare
from ceremony.records import Kind
from ceremony.transcript import Record, verify_chain
from shared import keys, names
from shared.keys import KeyKind, PostQuantum
from shared.pem import load_certificate

pytestmark = needs_softhsm

PLAN = """\
version = 1
title = "Quantum ceremony"
organization = "Example"
acts = ["root", "intermediate:classical", "intermediate:other", "crl:yearly", "rollover:next", "destroy"]

[root]
common_name = "Quantum Root CA"
key = "ml-dsa-65"
label = "quantum-root"
years = 10

[[intermediate]]
file = "classical"
common_name = "Classical CA"
years = 5

[[intermediate]]
file = "other"
common_name = "Other CA"
years = 5

[[crl]]
name = "yearly"
number = 1
this_update = "2027-01-01T00:00:00Z"
next_update = "2027-12-01T00:00:00Z"

[[rollover]]
name = "next"
common_name = "Quantum Root CA 2"
key = "ml-dsa-65"
label = "quantum-root-2"
years = 10

[shares]
threshold = 2
custodians = ["Ada", "Blaise", "Carl"]
"""
SOFTWARE = 'module = "softhsm2"\ntoken_label = "root"\nsoftware_keys = true\n[softhsm]\ndirectory = "ceremony/tokens"\n'


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """Rehearse all acts but the last."""
    rehearsal = Rehearsal(tmp_path_factory.mktemp("quantum"))
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        rehearsal.prepare(PLAN)
        (rehearsal.base / "hsm.toml").write_text(SOFTWARE)
        assert rehearsal.root().exit_code == 0
        for name, kind in (("Classical", KeyKind.EC_P256), ("Other", PostQuantum.ML_DSA_65)):
            subject = names.subject(common=f"{name} CA", organization="Example")
            bundle = rehearsal.base / f"{name}.bundle"
            bundle.write_bytes(request_bundle(generate_for_ca(kind), subject=subject))
            signed = _act(rehearsal, "intermediate", "--out", rehearsal.base / name, bundle)
            assert signed.exit_code == 0, signed.stderr
        for command in (("crl", "yearly"), ("rollover", "next")):
            signed = _act(rehearsal, *command)
            assert signed.exit_code == 0, signed.stderr
    return rehearsal


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hardening(monkeypatch)


def _act(rehearsal: Rehearsal, *command: str | Path) -> Result:
    name, *rest = command
    return rehearsal.run(
        "rehearse", name, "--dir", rehearsal.directory, "--hsm", rehearsal.base / "hsm.toml", "--words-file",
        rehearsal.words, *rest,
    )  # fmt: skip


def _records(rehearsal: Rehearsal) -> tuple[Record, ...]:
    return verify_chain((rehearsal.directory / "transcript.jsonl").read_bytes())


def test_it_verifies_and_says_that_the_key_is_for_practice(done: Rehearsal) -> None:
    """Whoever reads the verdict must not take a software key for one of an HSM."""
    verified = done.run("verify", done.directory)
    assert verified.exit_code == 0, verified.stderr
    assert "would be refused in a real ceremony: it is a software key for practice" in verified.output
    assert "cannot leave it" not in verified.output
    generated = next(each for each in _records(done) if each.kind == Kind.KEY_GENERATED)
    assert isinstance(generated.body["attributes"], dict)
    assert generated.body["attributes"]["SOFTWARE"] is True
    assert generated.body["attributes"]["EXTRACTABLE"] is True


def test_every_signature_is_of_the_planned_kind(done: Rehearsal) -> None:
    """A root of one kind that signs by another would be two roots."""
    root = load_certificate((done.directory / "root.crt").read_bytes())
    for file in ("root.crt", "classical.crt", "other.crt", "rollover/next/new-with-old.crt"):
        certificate = load_certificate((done.directory / file).read_bytes())
        assert certificate.signature_algorithm_oid.dotted_string == "2.16.840.1.101.3.4.3.18"
        certificate.verify_directly_issued_by(root)
    assert keys.describe(keys.ca_key(load_certificate((done.directory / "other.crt").read_bytes()))) == "ML-DSA-65"
    revoked = x509.load_der_x509_crl((done.directory / "crl/yearly-0001.crl").read_bytes())
    assert revoked.is_signature_valid(root.public_key())  # type: ignore[arg-type]


def test_openssl_is_asked_where_it_knows_the_kind(done: Rehearsal) -> None:
    """An openssl that does not know ML-DSA must not stop the act, and the record must not say that it was asked."""
    listed = subprocess.run(["openssl", "list", "-public-key-algorithms"], capture_output=True, text=True, check=False)
    knows = "ML-DSA-65" in listed.stdout
    issued = [each for each in _records(done) if each.kind in {Kind.CERTIFICATE_ISSUED, Kind.NEXT_ROOT_ISSUED}]
    assert len(issued) == 4
    for record in issued:
        assert (record.body["second_opinion"] != "not asked") == knows
        assert str(record.body["pkilint"]).startswith("pkilint ") == (find_spec("pkilint") is not None)
    verified = done.run("verify", done.directory)
    assert ("a second implementation accepts root.crt" in verified.output) == knows


def test_the_end_destroys_the_software_key_too(done: Rehearsal, tmp_path: Path) -> None:
    """A practice key that survives its destruction would have taught people a wrong ceremony."""
    again = done.copy(tmp_path / "again")
    destroyed = _act(again, "destroy")
    assert destroyed.exit_code == 0, destroyed.stderr
    assert again.run("verify", again.directory).exit_code == 0


def test_a_rehearsal_by_software_is_like_the_day_in_an_hsm(done: Rehearsal) -> None:
    """The token's pair of objects must not stop the real run that follows the practice; nothing else may differ."""
    practised = _records(done)
    real = [_as_in_an_hsm(each) for each in practised]
    assert compare(practised, real) == ()
    assert any(before.body != after.body for before, after in zip(practised, real, strict=True))


def _as_in_an_hsm(record: Record) -> Record:
    rows = record.body.get("objects")
    if not isinstance(rows, list):
        return record
    pairs = [{**row, "kind": kind, "key_type": "ML_DSA"} for row in rows for kind in ("PUBLIC_KEY", "PRIVATE_KEY")]
    return Record(
        seq=record.seq, prev=record.prev, time=record.time, kind=record.kind, body={**record.body, "objects": pairs},
        digest=record.digest,
    )  # fmt: skip


def test_a_token_that_cannot_is_named_before_anything_is_written(tmp_path: Path) -> None:
    """People who dealt shares for a key that the HSM cannot make would have to burn them."""
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare(PLAN)
    before = rehearsal.snapshot()
    refused = rehearsal.root()
    assert refused.exit_code == 1
    assert "CKM_ML_DSA_KEY_PAIR_GEN" in refused.stderr
    assert "SoftHSM v2" in refused.stderr
    assert rehearsal.snapshot() == before


def test_a_real_ceremony_has_no_software_key(tmp_path: Path) -> None:
    """One line in hsm.toml must not turn a real root into a file."""
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare(PLAN)
    (rehearsal.base / "hsm.toml").write_text(SOFTWARE)
    before = rehearsal.snapshot()
    refused = rehearsal.run(
        "root", "create", "--plan", tmp_path / "plan.toml", "--hsm", tmp_path / "hsm.toml", "--dir", tmp_path / "real"
    )
    assert (refused.exit_code, "software keys" in refused.stderr) == (1, True)
    assert rehearsal.snapshot() == before
