"""A real step-ca's home, taken over: what it issued renews at our node, and its provisioner goes on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from fakes.ports import free_port

from shared.pem import load_certificates

_STEP, _STEP_CA = shutil.which("step"), shutil.which("step-ca")
pytestmark = pytest.mark.skipif(None in {_STEP, _STEP_CA}, reason="step or step-ca is not on PATH")

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A step home and what runs on it."""

    directory: Path
    port: int

    @property
    def home(self) -> Path:
        """The step home."""
        return self.directory / "step"

    def run(self, *command: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command in the directory."""
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def step(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run ``step``."""
        return self.run("step", *arguments, status=status)

    def online(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run ``online``."""
        return self.run(sys.executable, "-m", "online", *arguments, status=status)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of all commands."""
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "PYTHONPATH": str(ROOT)}
        return {**kept, "STEPPATH": str(self.home), "COLDROOT_HOME": str(self.home)}

    def read(self, name: str) -> x509.Certificate:
        """Return the leaf in a file."""
        return load_certificates((self.directory / name).read_bytes())[0]

    @contextlib.contextmanager
    def serving(self, command: Sequence[str], word: str) -> Iterator[None]:
        """Run a server until the block ends."""
        process = subprocess.Popen(
            command,
            cwd=self.directory,
            env=self.environment,
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        lines: list[str] = []
        assert process.stdout is not None
        reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            deadline = time.monotonic() + 30
            while not any(re.search(word, line) for line in lines):
                assert process.poll() is None, "".join(lines)
                assert time.monotonic() < deadline, "".join(lines)
                time.sleep(0.05)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            reader.join(5)
            process.stdout.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A step-ca that issued ``old.crt`` and was stopped."""
    port = free_port()
    place = Place(directory=tmp_path_factory.mktemp("place"), port=port)
    (place.directory / "password").write_text("pass1234\n")
    (place.directory / "password").chmod(0o600)
    place.step(
        "ca", "init", "--name", "Acme", "--dns", "localhost", "--address", f"127.0.0.1:{port}",
        "--provisioner", "admin", "--password-file", "password", "--deployment-type", "standalone", "--ssh",
    )  # fmt: skip
    config = place.home / "config" / "ca.json"
    document = json.loads(config.read_text())
    document["authority"]["provisioners"].append({"type": "ACME", "name": "acme"})
    document["aNote"] = "step-ca ignores this"
    config.write_text(json.dumps(document, indent=1))
    with place.serving(["step-ca", str(config), "--password-file", "password"], "Serving HTTPS"):
        for stem in ("old", "withdrawn"):
            place.step("ca", "certificate", f"{stem}.example.com", f"{stem}.crt", f"{stem}.key", "--provisioner",
                       "admin", "--provisioner-password-file", "password")  # fmt: skip
    return place


def test_the_report_names_each_part(place: Place) -> None:
    """Without this, an operator would find out after switching what is gone."""
    found = {each["what"]: each for each in json.loads(place.online("import-step", "step", "--json").stdout)}
    fates = {what: each["fate"] for what, each in found.items()}
    assert fates["root"] == fates["crt"] == fates["key"] == "carries"
    assert fates["authority.provisioners[0] JWK admin"] == "carries"
    assert fates["authority.provisioners[1] SSHPOP sshpop"] == "drops"
    assert fates["authority.provisioners[2] ACME acme"] == "drops"
    assert fates["ssh"] == fates["templates"] == fates["aNote"] == "drops"
    assert fates["db"] == "changes"
    assert fates["db: revocations"] == fates["secrets/root_ca_key"] == "to do"
    assert place.online("import-step", "step").stdout.startswith("carries  root: ")
    assert not (place.home / "config" / "coldroot.json").exists()


def test_taken_over_and_given_back(place: Place) -> None:
    """Without this, switching could need new keys, lose what was issued, or have no way back."""
    before = {
        path: path.read_bytes()
        for path in sorted(place.home.rglob("*"))
        if path.is_file() and "db" not in path.relative_to(place.home).parts
    }
    (place.directory / "revoked.txt").write_text(f"{place.read('withdrawn.crt').serial_number}\n")
    place.online("import-step", "step", "--write", "--revoked", "revoked.txt")
    again = place.online("import-step", "step", "--write", status=1)
    assert "file.exists" in again.stderr
    config = place.home / "config" / "coldroot.json"
    assert '"ok"' in place.online("config", "check", str(config), "--json").stdout
    serve = [sys.executable, "-m", "online", "serve", str(config), "--password-file", "password"]
    with place.serving(serve, "READY"):
        old = place.read("old.crt")
        place.step("ca", "renew", "--force", "old.crt", "old.key")
        assert place.read("old.crt").serial_number != old.serial_number
        for proof in ("--mtls=true", "--mtls=false"):
            refused = place.step("ca", "renew", "--force", proof, "withdrawn.crt", "withdrawn.key", status=1)
            assert "authorization" in refused.stderr
        password = ("--provisioner", "admin", "--provisioner-password-file", "password")
        place.step("ca", "certificate", "new.example.com", "new.crt", "new.key", *password)
        place.online("certificate", "own.example.com", "own.crt", "own.key", *password)
    assert {path: path.read_bytes() for path in before} == before
    with place.serving(
        ["step-ca", str(place.home / "config" / "ca.json"), "--password-file", "password"], "Serving HTTPS"
    ):
        place.step("ca", "renew", "--force", "new.crt", "new.key")
