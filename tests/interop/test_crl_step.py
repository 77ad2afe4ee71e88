"""Revocation lists between the worlds: our list under step's eyes, a real step-ca's list under ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes.node import PROVISIONER_PASSWORD, make_home, running
from fakes.ports import free_port

from online.cli import cli
from shared.pem import load_certificates

_STEP, _STEP_CA = shutil.which("step"), shutil.which("step-ca")
pytestmark = pytest.mark.skipif(_STEP is None or _STEP_CA is None, reason="step and step-ca are not on PATH")


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


class Step:
    """The step CLI in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run a command and insist on its exit status; return what it says."""
        assert _STEP is not None
        done = subprocess.run(
            [_STEP, *arguments],
            cwd=self.directory,
            env={"STEPPATH": str(self.directory / "step"), "HOME": str(self.directory), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def certificate(self, subject: str, stem: str) -> int:
        """Obtain a certificate; return its serial."""
        password = ("--provisioner", "admin", "--provisioner-password-file", "password")
        self.run("ca", "certificate", subject, f"{stem}.crt", f"{stem}.key", "--force", *password)
        return load_certificates((self.directory / f"{stem}.crt").read_bytes())[0].serial_number


def test_step_verifies_our_leaves_with_our_list(tmp_path: Path) -> None:
    """step finds the list by the leaf's own words, believes it, and refuses what is on it."""
    home = make_home(tmp_path / "home")
    port = free_port()
    home.change_config(crl={"enabled": True, "generateOnRevoke": True}, insecureAddress=f"127.0.0.1:{port}")
    with running(home) as node:
        step = Step(tmp_path / "client")
        (step.directory / "password").write_bytes(PROVISIONER_PASSWORD)
        step.run("ca", "bootstrap", "--ca-url", node.url, "--fingerprint", home.fingerprint)
        good, bad = step.certificate("good.local", "good"), step.certificate("bad.local", "bad")
        issuer = str(home.path / "certs" / "intermediate_ca.crt")
        verify = ("certificate", "verify", "--roots", str(home.root), "--verify-crl", "--issuing-ca", issuer)
        step.run(*verify, "good.crt")
        step.run(*verify, "bad.crt")
        step.run("ca", "revoke", "--cert", "bad.crt", "--key", "bad.key", "--reasonCode", "4")
        step.run(*verify, "good.crt")
        assert "revoked" in step.run(*verify, "bad.crt", status=1)
        url = f"http://localhost:{port}/1.0/crl"
        shown = json.loads(step.run("crl", "inspect", "--ca", issuer, "--format", "json", url))
        assert shown["signature"]["valid"] is True
        (entry,) = shown["revoked_certificates"]
        assert entry["serial_number"] == str(bad) != str(good)
        assert entry["extensions"] == [{"crl_reason_code": "Superseded"}]


def test_our_command_reads_a_step_cas_list(tmp_path: Path) -> None:
    """The client commands must work against a step-ca, whose list has another number and another reason's form."""
    step = Step(tmp_path / "client")
    (step.directory / "password").write_text("correct horse battery staple\n")
    port = free_port()
    step.run(
        "ca", "init", "--name", "Judge", "--provisioner", "admin", "--dns", "localhost",
        "--address", f"127.0.0.1:{port}", "--deployment-type", "standalone",
        "--password-file", "password", "--provisioner-password-file", "password",
    )  # fmt: skip
    home = step.directory / "step"
    config = home / "config" / "ca.json"
    document = json.loads(config.read_text())
    document["crl"] = {"enabled": True, "generateOnRevoke": True, "cacheDuration": "24h"}
    config.write_text(json.dumps(document))
    assert _STEP_CA is not None
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [_STEP_CA, str(config), "--password-file", str(step.directory / "password")],
            env={"STEPPATH": str(home), "HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            options = ["crl", "--home", str(tmp_path / "our-home"), "--ca-url", f"https://localhost:{port}"]
            options += ["--root", str(home / "certs" / "root_ca.crt"), "--json"]
            _until(lambda: CliRunner().invoke(cli, options).exit_code == 0)
            serial = step.certificate("a.local", "a")
            step.run("ca", "revoke", "--cert", "a.crt", "--key", "a.key", "--reasonCode", "1")
            result = CliRunner().invoke(cli, options)
            assert result.exit_code == 0, result.output
            described = json.loads(result.stdout)
            assert described["signature"] == {"valid": True}
            assert [(each["serial_number"], each["reason"]) for each in described["revoked_certificates"]] == [
                (str(serial), "keyCompromise")
            ]
        finally:
            server.terminate()
            server.wait(timeout=30)
