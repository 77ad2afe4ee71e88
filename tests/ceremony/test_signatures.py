"""Signatures under a transcript: who signed which head, in both formats, and every way of getting one wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.clock import FakeClock
from fakes.rehearsal import Rehearsal
from hypothesis import given, settings
from hypothesis import strategies as st

from ceremony.plan import EXAMPLE, load_plan
from ceremony.plan_history import PlanHistory
from ceremony.signing.act import ActSigner, signed_acts
from ceremony.signing.countersign import counter_signatures, file_signature, filed_signers, read_signers, statement
from ceremony.signing.minisign import read_minisig
from ceremony.signing.sshsig import read_sshsig
from ceremony.transcript import Transcript, verify_chain
from shared.errors import ColdrootError, Fatal, RequestRejected

needs_openssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
KINDS = {"ed25519": "256", "ecdsa": "384", "rsa": "3072"}


class Minisign:
    """Signs as minisign does: a key with a number, and a comment under a second signature."""

    def __init__(self) -> None:
        self._key, self._id = Ed25519PrivateKey.generate(), b"\x01\x02\x03\x04\x05\x06\x07\x08"
        public = b"Ed" + self._id + self._key.public_key().public_bytes_raw()
        self.public = base64.b64encode(public).decode()

    def sign(self, message: bytes, *, algorithm: bytes = b"ED") -> bytes:
        signed = hashlib.blake2b(message).digest() if algorithm == b"ED" else message
        value = self._key.sign(signed)
        comment = b"timestamp:1795000000\tfile:head.txt"
        over = self._key.sign(value + comment)
        lines = (
            b"untrusted comment: signature from minisign secret key", base64.b64encode(algorithm + self._id + value),
            b"trusted comment: " + comment, base64.b64encode(over),
        )  # fmt: skip
        return b"".join(line + b"\n" for line in lines)


class Desk:
    """A small transcript on disk, and officers' keys."""

    def __init__(self, base: Path) -> None:
        self.base, self.directory = base, base / "ceremony"
        self.directory.mkdir()
        (self.directory / "plan.toml").write_text(EXAMPLE)
        signer = ActSigner()
        transcript = Transcript.create(self.path, {"act": "root", **signer.opening()}, FakeClock())
        transcript.append("act-closed", {"act": "root"})
        transcript.append("act-signed", signer.sign(transcript.head()))
        self.records = transcript.records
        self.message = statement(transcript.head())

    @property
    def path(self) -> Path:
        return self.directory / "transcript.jsonl"

    def key(self, name: str, kind: str = "ed25519") -> str:
        """Make an SSH key; return the line of allowed_signers."""
        path = self.base / name
        command = ["ssh-keygen", "-q", "-t", kind, "-b", KINDS[kind], "-N", "", "-C", "", "-f", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        return f"{name} {path.with_suffix('.pub').read_text().strip()}\n"

    def sign(self, name: str, *, namespace: str = "coldroot-transcript", message: bytes | None = None) -> bytes:
        """Have ssh-keygen sign the head."""
        path = self.base / "head.txt"
        path.write_bytes(message or self.message)
        path.with_name("head.txt.sig").unlink(missing_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", self.base / name, path],
            check=True, capture_output=True,
        )  # fmt: skip
        return path.with_name("head.txt.sig").read_bytes()

    def claims(self) -> list[tuple[str, str]]:
        """Return who signed, and with which role."""
        plan = load_plan(EXAMPLE.encode())
        return [
            (each.name, each.role) for each in counter_signatures(self.directory, self.records, PlanHistory.of(plan))
        ]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A transcript that nobody signed yet."""
    return Desk(tmp_path)


def test_an_act_is_signed_once(desk: Desk) -> None:
    """A key that could sign twice could also sign what came after the act."""
    assert [each.seq for each in signed_acts(desk.records)] == [2]
    signer = ActSigner()
    signer.sign(b"\0" * 32)
    with pytest.raises(Fatal) as refused:
        signer.sign(b"\0" * 32)
    assert refused.value.code == "signature.spent"


@needs_openssh
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_signatures_of_ssh_keys(desk: Desk, kind: str) -> None:
    """Officers have the keys they have; each common kind must do, and only over this head, for this purpose."""
    signers = read_signers(desk.key("Grace", kind).encode())
    path = file_signature(desk.directory, desk.records, "Grace", desk.sign("Grace"), signers)
    assert path.name == f"Grace.{desk.records[-1].digest.hex()[:16]}.sshsig"
    (desk.directory / "signatures" / "allowed_signers").write_text(
        f'Grace namespaces="coldroot-transcript" {desk.key("other").split(" ", 1)[1]}'
    )
    with pytest.raises(ColdrootError) as refused:
        desk.claims()
    assert refused.value.code == "signature.unknown-signer"
    for wrong, code in (
        (desk.sign("Grace", namespace="git"), "signature.other-namespace"),
        (desk.sign("Grace", message=b"another head\n"), "signature.wrong"),
        (desk.sign("other"), "signature.unknown-signer"),
        (b"-----BEGIN", "signature.malformed"),
        (desk.sign("Grace") + b"\n", "signature.malformed"),
    ):
        with pytest.raises(ColdrootError) as refused:
            file_signature(desk.directory, desk.records, "Grace", wrong, signers)
        assert refused.value.code == code


@pytest.mark.parametrize("algorithm", [b"ED", b"Ed"])
def test_signatures_of_minisign(desk: Desk, algorithm: bytes) -> None:
    """Both kinds that minisign ever made; the comment that nobody signed is not kept."""
    minisign = Minisign()
    signers = read_signers(b"", f"Grace {minisign.public}\n".encode())
    signature = minisign.sign(desk.message, algorithm=algorithm)
    path = file_signature(desk.directory, desk.records, "Grace", signature, signers)
    assert path.read_bytes().startswith(b"untrusted comment: signature under a coldroot transcript\n")
    (path.parent / "minisign_keys").write_text(f"Grace {minisign.public}\n")
    assert desk.claims() == [("Grace", "")]
    with pytest.raises(ColdrootError) as refused:
        file_signature(desk.directory, desk.records, "Grace", Minisign().sign(desk.message), signers)
    assert refused.value.code == "signature.wrong"
    with pytest.raises(ColdrootError) as refused:
        file_signature(desk.directory, desk.records, "Ada", signature, signers)
    assert refused.value.code == "signature.unknown-signer"


@needs_openssh
def test_every_byte_of_a_filed_signature_counts(desk: Desk) -> None:
    """A signature file that can be altered unnoticed is one about which two auditors can disagree."""
    minisign = Minisign()
    signers = read_signers(desk.key("Grace").encode(), f"Grace {minisign.public}\n".encode())
    paths = [
        file_signature(desk.directory, desk.records, "Grace", each, signers)
        for each in (desk.sign("Grace"), minisign.sign(desk.message))
    ]
    (paths[0].parent / "allowed_signers").write_text(desk.key("Grace-2").replace("Grace-2", "Ada"))
    (paths[0].parent / "minisign_keys").write_text(f"Grace {minisign.public}\n")
    plan = load_plan(EXAMPLE.encode())
    for path in paths:
        content = path.read_bytes()
        for place in range(len(content)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(ColdrootError):
                list(counter_signatures(desk.directory, desk.records, PlanHistory.of(plan), signers=signers))
        path.write_bytes(content)
    assert len(list(counter_signatures(desk.directory, desk.records, PlanHistory.of(plan), signers=signers))) == 2


@needs_openssh
def test_the_commands(desk: Desk) -> None:
    """What an officer types, on the ceremony's machine and on their own; and what an auditor reads."""
    run = Rehearsal(desk.base).run
    listed = desk.base / "signers"
    custodian = load_plan(EXAMPLE.encode()).shares.custodians[0].replace(" ", "-")
    listed.write_text(desk.key(custodian) + desk.key("Grace", "ecdsa"))
    done = run(
        "transcript", "sign", desk.directory, "--as", custodian, "--key", desk.base / custodian,
        "--allowed-signers", listed,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    stated = run("transcript", "statement", desk.directory)
    assert stated.stdout.encode() == desk.message
    elsewhere = desk.base / "elsewhere.sig"
    elsewhere.write_bytes(desk.sign("Grace"))
    done = run("transcript", "countersign", desk.directory, elsewhere, "--as", "Grace")
    assert done.exit_code == 0, done.stderr
    again = run("transcript", "countersign", desk.directory, elsewhere, "--as", "Grace")
    assert (again.exit_code, "already exists" in again.stderr) == (1, True)
    assert filed_signers(desk.directory).ssh.keys() == {custodian, "Grace"}
    told = run("transcript", "verify", desk.directory)
    assert f"{custodian}, custodian, signed up to record 2 (the last one)" in told.stdout, told.stderr
    assert "Grace, whom the plan does not name" in told.stdout
    found = json.loads(run("transcript", "verify", desk.directory, "--json", "--allowed-signers", listed).stdout)
    assert [each["name"] for each in found] == sorted([custodian, "Grace"])
    listed.write_text(desk.key("Grace2").replace("Grace2", "Grace"))
    foreign = run("transcript", "verify", desk.directory, "--allowed-signers", listed)
    assert (foreign.exit_code, "does not give them" in foreign.stderr) == (1, True)
    (desk.directory / "signatures" / "notes.txt").write_text("hello")
    stray = run("transcript", "verify", desk.directory)
    assert (stray.exit_code, "is no signature over a head" in stray.stderr) == (1, True)
    missing = run("transcript", "sign", desk.directory, "--as", "Grace", "--key", desk.base / "nowhere")
    assert (missing.exit_code, "did not sign" in missing.stderr) == (1, True)


@pytest.mark.parametrize(
    "line",
    [
        "Grace", "Grace ssh-ed25519", "Grace ssh-ed25519 AAAA", "Grace ssh-ed25519 !!!!", " ssh-ed25519 AAAA", "#",
        "Grace cert-authority ssh-ed25519 AAAA", "*.example ssh-ed25519 AAAA", "", "Gr\xe9ce a b",
    ],
)  # fmt: skip
def test_lists_that_are_none(line: str) -> None:
    """A pattern or an authority in the list would let people sign whom nobody named."""
    for end in ("\n", ""):
        with pytest.raises(RequestRejected):
            read_signers(f"{line or '-'}{end}".encode())
        with pytest.raises(RequestRejected):
            read_signers(b"", f"{line or '-'}{end}".encode())


@settings(max_examples=150)
@given(st.binary(max_size=300), st.sampled_from([read_sshsig, read_minisig]))
def test_noise_is_refused(data: bytes, read: Callable[[bytes], object]) -> None:
    """A parser that is fed by strangers must refuse in its own words."""
    with pytest.raises(RequestRejected):
        read(data)
    armoured = b"-----BEGIN SSH SIGNATURE-----\n%s\n-----END SSH SIGNATURE-----\n"
    with pytest.raises(RequestRejected):
        read_sshsig(armoured % base64.b64encode(b"SSHSIG\0\0\0\1" + data)[:70])


def test_the_chain_and_the_signature_are_two_things(desk: Desk) -> None:
    """The records are what is signed; the file must still be the chain that they were read from."""
    assert verify_chain(desk.path.read_bytes()) == desk.records
