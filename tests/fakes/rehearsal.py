"""A whole rehearsal by the public commands, for tests to look at, repeat and damage."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ceremony import host
from ceremony.cli import cli
from ceremony.plan import EXAMPLE
from shared import durable, keys, names
from shared.crossing.bundle import Bundle, Purpose
from shared.crossing.transfer import stage_bundle

SUBJECT = names.subject(common="Example Intermediate CA", organization="Example")


def no_hardening(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the acts from hardening the test's own process: it cannot be undone."""
    monkeypatch.setattr(host, "harden_process", lambda: ())


def fit_host(monkeypatch: pytest.MonkeyPatch, *, fit: bool) -> None:
    """Let the acts find a host that is fit, or one with a network."""
    status = host.Status.PASS if fit else host.Status.FAIL
    finding = host.HostFinding(check=host.Check.INTERFACES, status=status, detail="as the test wants it")
    monkeypatch.setattr(host, "check_host", lambda **_: (finding,))


def request_bundle(
    key: keys.CaPrivateKey,
    *,
    subject: x509.Name = SUBJECT,
    extensions: Sequence[x509.ExtensionType] = (),
    damage: bool = False,
) -> bytes:
    """Return an encoded request bundle, with a broken proof of possession when ``damage`` is set."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    algorithm = hashes.SHA256() if isinstance(keys.kind_of(key), keys.KeyKind) else None
    csr = bytearray(builder.sign(key, algorithm).public_bytes(Encoding.DER))
    if damage:
        csr[-1] ^= 1
    return Bundle(
        purpose=Purpose.INTERMEDIATE_REQUEST,
        identifier="ab" * 16,
        in_reply_to=None,
        members={"request.csr": bytes(csr)},
    ).encode()


@dataclass(frozen=True)
class Rehearsal:
    """Where a rehearsal's files lie."""

    base: Path

    @property
    def directory(self) -> Path:
        return self.base / "ceremony"

    @property
    def words(self) -> Path:
        return self.base / "words.txt"

    @property
    def crossing(self) -> Path:
        return self.base / "crossing"

    def run(self, *arguments: str | Path) -> Result:
        """Run the ``ceremony`` command."""
        return CliRunner().invoke(cli, [str(argument) for argument in arguments])

    def prepare(self, plan: str = EXAMPLE) -> None:
        """Write the inputs."""
        (self.base / "plan.toml").write_text(plan)
        (self.base / "hsm.toml").write_text(
            'module = "softhsm2"\ntoken_label = "root"\n[softhsm]\ndirectory = "ceremony/tokens"\n'
        )
        self.crossing.mkdir()

    def root(self) -> Result:
        """Rehearse the root act."""
        return self.run(
            "rehearse", "root", "--plan", self.base / "plan.toml", "--hsm", self.base / "hsm.toml", "--dir",
            self.directory, "--words-file", self.words,
        )  # fmt: skip

    def request(self, encoded: bytes) -> list[Path]:
        """Write a request bundle as file and images; return the paths."""
        with durable.Staging() as staging:
            return stage_bundle(staging, self.crossing, "request", encoded)

    def intermediate(self, *request: Path, words: Path | None = None) -> Result:
        """Rehearse the intermediate act."""
        return self.run(
            "rehearse", "intermediate", "--dir", self.directory, "--hsm", self.base / "hsm.toml", "--words-file",
            words or self.words, "--out", self.crossing, *request,
        )  # fmt: skip

    def copy(self, base: Path) -> Rehearsal:
        """Copy everything to another place."""
        shutil.copytree(self.base, base)
        return Rehearsal(base)

    def snapshot(self) -> dict[str, bytes]:
        """Return every file's content, the HSM's own bookkeeping excepted."""
        return {
            str(path.relative_to(self.base)): path.read_bytes()
            for path in sorted(self.base.rglob("*"))
            if path.is_file() and "tokens" not in path.parts
        }


def full_rehearsal(base: Path) -> Rehearsal:
    """Rehearse root and intermediate; the request comes in as images, in another order."""
    rehearsal = Rehearsal(base)
    rehearsal.prepare()
    done = rehearsal.root()
    assert done.exit_code == 0, done.stderr
    _, *images = rehearsal.request(request_bundle(keys.generate(keys.KeyKind.EC_P256)))
    done = rehearsal.intermediate(*reversed(images))
    assert done.exit_code == 0, done.stderr
    return rehearsal
