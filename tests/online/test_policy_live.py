"""A policy and a template in a running node, asked by the real client: refused, issued, and tightened by a reload."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from cryptography import x509
from fakes.node import PROVISIONER_PASSWORD, Node, make_home, running

ROOT = Path(__file__).parents[2]


def govern(node_config: Path, **authority: Any) -> None:
    """Rewrite ca.json with changed members of ``authority``; ``provisioner`` goes into the only provisioner."""
    document = json.loads(node_config.read_text())
    document["authority"]["provisioners"][0].update(authority.pop("provisioner", {}))
    document["authority"].update(authority)
    node_config.write_text(json.dumps(document))


def online(node: Node, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    trusted = ["--ca-url", node.url, "--root", str(node.home.root), "--home", str(directory / "client")]
    return subprocess.run(
        [sys.executable, "-m", "online", *arguments, *trusted],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "HOME": str(directory)},
    )


def certificate(node: Node, directory: Path, name: str) -> subprocess.CompletedProcess[str]:
    password = directory / "password"
    if not password.exists():
        password.touch(mode=0o600)
        password.write_bytes(PROVISIONER_PASSWORD)
    token = online(node, directory, "token", name, "--password-file", str(password)).stdout.strip()
    return online(
        node, directory, "certificate", name, f"{directory}/{name}.crt", f"{directory}/{name}.key", "--token", token
    )


def test_a_policy_from_the_file_to_the_client_and_through_a_reload(tmp_path: Path) -> None:
    """All of it by the public commands: what the file says is what a client meets, also after SIGHUP."""
    home = make_home(tmp_path / "home")
    template = {"subject": {"commonName": "{{ .Subject.CommonName }}", "organization": "Acme"}, "sans": "{{ .SANs }}"}
    govern(
        home.config,
        policy={"x509": {"allow": {"dns": ["*.example.com"]}}},
        provisioner={"options": {"x509": {"template": template}}},
    )
    with running(home) as node:
        assert certificate(node, tmp_path, "a.example.com").returncode == 0
        issued = x509.load_pem_x509_certificates((tmp_path / "a.example.com.crt").read_bytes())[0]
        assert issued.subject.rfc4514_string() == "CN=a.example.com,O=Acme"

        refused = certificate(node, tmp_path, "evil.test")
        assert refused.returncode == 1
        assert 'cn name "evil.test" not allowed' in refused.stderr
        assert not (tmp_path / "evil.test.crt").exists()
        node.wait_for("authority.policy.x509.allow.dns")

        # A broken policy is refused by a reload and changes nothing; a good one holds at once, for renewals too.
        govern(home.config, policy={"x509": {"deny": {"dns": ["*"]}}})
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("authority.policy.x509.deny.dns[0]")
        assert certificate(node, tmp_path, "b.example.com").returncode == 0
        govern(home.config, policy={"x509": {"deny": {"dns": ["a.example.com"]}}})
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("configuration reloaded")
        files = [str(tmp_path / "a.example.com.crt"), str(tmp_path / "a.example.com.key")]
        renewal = online(node, tmp_path, "renew", *files, "--force")
        assert renewal.returncode == 1
        assert 'name "a.example.com" not allowed' in renewal.stderr
