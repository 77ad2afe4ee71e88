"""Every client command against a real step-ca: the client may not depend on what only our node does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.client_story import ClientStory, Shell
from fakes.ports import free_port

from online.client import fetch_root
from online.https import CaUrl
from shared.errors import PeerFailed

_STEP, _STEP_CA = shutil.which("step"), shutil.which("step-ca")
pytestmark = pytest.mark.skipif(
    _STEP is None or _STEP_CA is None, reason="step and step-ca are not on PATH: nothing to try the client on"
)
_PATIENCE = 30.0


def _init(directory: Path, port: int, password_file: Path) -> str:
    """Make a step-ca home and return the root's fingerprint."""
    assert _STEP is not None
    environment = {"STEPPATH": str(directory), "HOME": str(directory), "PATH": os.environ["PATH"]}
    command = [
        *(_STEP, "ca", "init", "--name", "Judge", "--provisioner", "admin", "--dns", "localhost"),
        *("--address", f"127.0.0.1:{port}", "--deployment-type", "standalone"),
        *("--password-file", str(password_file), "--provisioner-password-file", str(password_file)),
    ]
    subprocess.run(command, env=environment, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    fingerprint: str = json.loads((directory / "config" / "defaults.json").read_text())["fingerprint"]
    return fingerprint


def _wait(url: CaUrl, fingerprint: str) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            fetch_root(url, fingerprint)
        except PeerFailed:
            assert time.monotonic() < until, "step-ca did not come up"
            time.sleep(0.1)
        else:
            return


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A running step-ca, and a client that was bootstrapped to it."""
    directory, client_directory = tmp_path_factory.mktemp("step-ca"), tmp_path_factory.mktemp("client")
    password_file = client_directory / "password"
    password_file.write_text("correct horse battery staple\n")
    password_file.chmod(0o600)
    port = free_port()
    fingerprint = _init(directory / "home", port, password_file)
    assert _STEP_CA is not None
    config = str(directory / "home" / "config" / "ca.json")
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [_STEP_CA, config, "--password-file", str(password_file)],
            env={"STEPPATH": str(directory / "home"), "HOME": str(directory), "PATH": os.environ["PATH"]},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
        try:
            url = CaUrl(host="localhost", port=port)
            _wait(url, fingerprint)
            client = Shell(
                directory=client_directory, url=str(url), fingerprint=fingerprint, password_file=password_file
            )
            client.run("bootstrap", "--ca-url", str(url), "--fingerprint", fingerprint)
            yield client
        finally:
            server.terminate()
            server.wait(timeout=_PATIENCE)


class TestAgainstStepCa(ClientStory):
    """The story, told to a step-ca."""
