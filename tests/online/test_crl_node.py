"""Revocation lists at the real node: its processes, its plain address, and OpenSSL as the relying party."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.hierarchy import PROVISIONER, make_csr, make_pki
from fakes.node import KEY_PASSWORD, Node, NodeHome, make_home, running
from fakes.ports import free_port
from fakes.rows import revocation_of
from fakes.softhsm import SoftHsm, needs_softhsm, softhsm_fixture  # noqa: F401 (a fixture)

from online.cli import cli
from online.client import Client
from online.config.settings import DatabaseSettings
from online.https import parse_ca_url
from online.provisioners.protocol import Operation
from online.store.sqlite import open_store
from online.tokens import audience, mint_revoke_token, mint_sign_token
from shared import names
from shared.issue import IssuanceRequest, Issuer, issue, prepare
from shared.keys import KeyKind, generate
from shared.keystore import create_key
from shared.pem import certificate_pem, load_crl
from shared.profile import intermediate_profile
from shared.serials import random_serial


def until(condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


class Site:
    """A node with lists, and a client of it."""

    def __init__(self, node: Node, port: int, *, metrics: int = 0) -> None:
        self.node = node
        self.port = port
        self.metrics = metrics
        self.client = Client(parse_ca_url(node.url), roots=(node.home.pki.root,))

    def plain(self, path: str, method: str = "GET", *, port: int = 0, **headers: str) -> tuple[HTTPResponse, bytes]:
        """Ask the plain address, or another one."""
        connection = HTTPConnection("127.0.0.1", port or self.port, timeout=20)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): each for name, each in headers.items()})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def list(self) -> x509.CertificateRevocationList:
        """Fetch the list as a relying party does."""
        response, body = self.plain("/1.0/crl")
        assert response.status == 200
        return load_crl(body)

    def serials(self) -> set[int]:
        """Return what is on the list."""
        return {each.serial_number for each in self.list()}

    def leaf(self, subject: str = "a.example.com") -> x509.Certificate:
        """Get a certificate."""
        token = mint_sign_token(
            self.node.home.signer,
            issuer=PROVISIONER,
            audience=audience(self.node.url, Operation.SIGN),
            subject=subject,
            sans=[],
            root_fingerprint=self.node.home.fingerprint,
            now=datetime.now(UTC),
            rng=os.urandom,
        )
        return self.client.sign(make_csr(subject, key=generate(KeyKind.EC_P256)), token)[0]

    def revoke(self, serial: int, *, reason_code: int = 1) -> None:
        """Revoke by a token."""
        token = mint_revoke_token(
            self.node.home.signer,
            issuer=PROVISIONER,
            audience=audience(self.node.url, Operation.REVOKE),
            serial=serial,
            root_fingerprint=self.node.home.fingerprint,
            now=datetime.now(UTC),
            rng=os.urandom,
        )
        self.client.revoke(serial, reason_code=reason_code, reason="test", token=token)

    def keeper(self) -> int:
        """Return the pid of the process that builds lists: the nice one."""
        return self.node.keeper()


def lists_on(home: NodeHome, **block: object) -> int:
    """Switch lists on in a home; return the plain port."""
    port = free_port()
    home.change_config(crl={"enabled": True, "generateOnRevoke": True, **block}, insecureAddress=f"127.0.0.1:{port}")
    return port


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A node with two workers and lists."""
    home = make_home(tmp_path_factory.mktemp("node") / "home")
    port = lists_on(home)
    metrics = free_port()
    home.change_config(metricsAddress=f"127.0.0.1:{metrics}")
    with running(home, workers=2) as node:
        yield Site(node, port, metrics=metrics)


def openssl_verdict(directory: Path, site: Site, leaf: x509.Certificate) -> str:
    """Let OpenSSL verify a leaf with the list, as a relying party does; return what it says."""
    (directory / "leaf.pem").write_bytes(certificate_pem(leaf))
    (directory / "ca.pem").write_bytes(certificate_pem(site.node.home.pki.intermediate))
    (directory / "crl.pem").write_bytes(site.list().public_bytes(Encoding.PEM))
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-partial_chain", "-crl_check", "-trusted", directory / "ca.pem",
         "-CRLfile", directory / "crl.pem", directory / "leaf.pem"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_openssl_believes_the_list(site: Site, tmp_path: Path) -> None:
    """The whole way: the leaf names the list, the list is there, and a revoked certificate is refused with it."""
    good, bad = site.leaf("good.example.com"), site.leaf("bad.example.com")
    point = good.extensions.get_extension_for_class(x509.CRLDistributionPoints).value[0]
    assert point.full_name == [x509.UniformResourceIdentifier(f"http://localhost:{site.port}/1.0/crl")]
    site.revoke(bad.serial_number)
    assert openssl_verdict(tmp_path, site, good).endswith("leaf.pem: OK\n")
    assert "certificate revoked" in openssl_verdict(tmp_path, site, bad)


def test_a_revocation_is_on_the_list_when_it_is_answered(site: Site) -> None:
    """With generateOnRevoke that is the promise, on every worker and both addresses."""
    for reason_code in (1, 4, 0):
        serial = site.leaf().serial_number
        site.revoke(serial, reason_code=reason_code)
        for _ in range(4):
            assert serial in site.serials()
            assert serial in {each.serial_number for each in load_crl(site.client.crl())}


def test_all_workers_serve_the_same_bytes(site: Site) -> None:
    """Two lists under one number would make clients keep whichever came first."""
    found = {site.plain("/crl")[1] for _ in range(12)} | {site.client.crl() for _ in range(6)}
    assert len(found) == 1


def test_the_plain_address(site: Site) -> None:
    """It serves the list and health to anybody, and takes nothing from anybody."""
    response, body = site.plain("/crl?pem")
    assert response.getheader("Content-Type") == "application/x-pem-file"
    assert load_crl(body) == site.list()
    tag = response.getheader("ETag") or ""
    response, body = site.plain("/crl?pem", if_none_match=tag)
    assert (response.status, body) == (304, b"")
    response, body = site.plain("/crl", "HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.getheader("Content-Length") or 0) > 200
    assert site.plain("/health")[0].status == 200
    for method, path in (("GET", "/provisioners"), ("GET", "/roots"), ("POST", "/sign"), ("POST", "/1.0/revoke")):
        response, body = site.plain(path, method)
        assert response.status == 404
        assert json.loads(body)["status"] == 404
    assert site.plain("/crl", "POST")[0].status == 405


def test_curl_gets_the_list_once(site: Site, tmp_path: Path) -> None:
    """A client's own cache must work with our tags and dates."""
    url = f"http://127.0.0.1:{site.port}/1.0/crl"
    tag, kept = str(tmp_path / "tag"), str(tmp_path / "crl")
    for options, status in (
        (["--etag-save", tag, "-o", kept], "200"),
        (["--etag-compare", tag, "-o", os.devnull], "304"),
        (["-z", "Fri, 31 Dec 2049 00:00:00 GMT", "-o", os.devnull], "304"),
    ):
        done = subprocess.run(
            ["curl", "-s", "-w", "%{http_code}", *options, url], capture_output=True, text=True, check=True
        )
        assert done.stdout == status


def test_a_revocation_beside_the_node_reaches_the_list(site: Site) -> None:
    """online revoke --offline writes into the database; nobody rings, and the list must name it all the same."""
    serial = site.leaf().serial_number

    async def record() -> None:
        store = open_store(DatabaseSettings(data_source=str(site.node.home.path / "db" / "coldroot.db")))
        try:
            await store.record_revocation(token=None, revocation=revocation_of(serial))
        finally:
            await store.close()

    asyncio.run(record())
    until(lambda: serial in site.serials())


def test_a_keeper_that_dies_is_replaced(site: Site) -> None:
    """Without this, the list would end within a day, and with it every client that checks."""
    first = site.keeper()
    os.kill(first, signal.SIGKILL)
    site.node.wait_for(f"keeper {first} ended")
    until(lambda: len(site.node.children()) == 4)
    serial = site.leaf().serial_number
    site.revoke(serial)
    until(lambda: serial in site.serials())


def test_the_end_of_the_list_is_among_the_numbers(site: Site) -> None:
    """Whoever watches must hear that lists are not renewed before relying parties do."""

    def shown() -> bool:
        text = site.plain("/metrics", port=site.metrics)[1].decode()
        ends = [line.split()[1] for line in text.splitlines() if line.startswith("coldroot_crl_next_update")]
        end = site.list().next_update_utc
        return end is not None and [float(each) for each in ends] == [end.timestamp()]

    until(shown)


def command(site: Site, *arguments: str, status: int = 0) -> Result:
    """Run the command line as a client of the node."""
    options = ["--home", str(site.node.home.path / "client"), "--ca-url", site.node.url]
    result = CliRunner().invoke(cli, ["crl", *options, "--root", str(site.node.home.root), *arguments])
    assert result.exit_code == status, result.output
    return result


def test_the_command_fetches_and_verifies_the_list(site: Site, tmp_path: Path) -> None:
    """An operator must see what relying parties see, and scripts must be able to read it."""
    serial = site.leaf().serial_number
    site.revoke(serial)
    shown = command(site).stdout
    assert "Signature:    valid" in shown
    assert "(in force)" in shown
    described = json.loads(command(site, "--json").stdout)
    assert described["signature"] == {"valid": True}
    assert described["distribution_points"] == [f"http://localhost:{site.port}/1.0/crl"]
    entries = {each["serial_number"]: each["reason"] for each in described["revoked_certificates"]}
    assert entries[str(serial)] == "keyCompromise"
    for name in ("ca.crl", "ca.pem"):
        command(site, "--output-file", str(tmp_path / name))
        assert load_crl((tmp_path / name).read_bytes()) == site.list()
    assert (tmp_path / "ca.pem").read_bytes().startswith(b"-----BEGIN X509 CRL")
    assert "exists" in command(site, "--output-file", str(tmp_path / "ca.crl"), status=1).output
    command(site, "--output-file", str(tmp_path / "ca.crl"), "--force")


def test_the_command_reads_any_list(site: Site, tmp_path: Path) -> None:
    """Files, plain addresses and addresses over TLS; a signature is only called valid when it was checked."""
    issuer = tmp_path / "ca.pem"
    issuer.write_bytes(certificate_pem(site.node.home.pki.intermediate))
    file = tmp_path / "crl.der"
    file.write_bytes(site.client.crl())
    for place in (str(file), f"http://127.0.0.1:{site.port}/crl", f"{site.node.url}/1.0/crl?pem"):
        assert "not checked" in command(site, "--inspect", place).stdout
        assert "Signature:    valid" in command(site, "--inspect", place, "--issuer", str(issuer)).stdout
    assert command(site, "--inspect", str(file), "--format", "pem").stdout.startswith("-----BEGIN X509 CRL")
    root = command(site, "--inspect", str(file), "--issuer", str(site.node.home.root), status=1)
    assert "none of the known issuers" in root.output
    for place, text in (
        (f"http://127.0.0.1:{site.port}/roots", "answers 404"),
        (f"http://127.0.0.1:{free_port()}/crl", "cannot be reached"),
        ("http://user@127.0.0.1/crl", "not an http:// address"),
        (str(issuer), "not one PEM revocation list"),
        (str(tmp_path / "nowhere"), "nowhere"),
    ):
        assert text in command(site, "--inspect", place, status=1).output


def test_lists_are_switched_on_and_off_by_a_reload(tmp_path: Path) -> None:
    """An operator must not have to stop the node for it, and a leaf must not name a list that is not there."""
    home = make_home(tmp_path / "home")
    with running(home, workers=1) as node:
        site = Site(node, 0)
        assert len(node.children()) == 3
        with pytest.raises(x509.ExtensionNotFound):
            site.leaf().extensions.get_extension_for_class(x509.CRLDistributionPoints)
        url = "http://crl.example.com/ca.crl"
        home.change_config(crl={"enabled": True, "idpURL": url})
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("configuration reloaded")
        assert len(load_crl(site.client.crl())) == 0
        points = site.leaf().extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert points[0].full_name == [x509.UniformResourceIdentifier(url)]
        until(lambda: len(node.children()) == 3)
        since = len(node.lines)
        home.change_config(crl={"enabled": True, "renewPeriod": "48h"})
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("was not reloaded", since=since)
        assert len(node.children()) == 3
        home.change_config(crl={"enabled": False})
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("configuration reloaded", since=since)
        until(lambda: len(node.children()) == 3)
        until(lambda: _is_404(site))


@needs_softhsm
def test_a_key_in_an_hsm_signs_lists(tmp_path: Path, softhsm: SoftHsm) -> None:
    """The keeper has a session of its own; without one, lists would end where keys are best kept."""
    pki = make_pki(now=datetime.now(UTC))
    token = softhsm.token("issuing", user_pin=KEY_PASSWORD)
    uri = f"pkcs11:token=issuing;serial={token.serial};object=intermediate?module-path={softhsm.path}"
    wanted = IssuanceRequest(
        subject=names.subject(common="HSM Intermediate CA"),
        public_key=create_key(uri, KeyKind.EC_P384, lambda _: KEY_PASSWORD),
        serial=random_serial(os.urandom),
        not_before=pki.root.not_valid_before_utc,
        not_after=pki.root.not_valid_before_utc + timedelta(days=365),
    )
    intermediate = issue(prepare(intermediate_profile(), wanted, Issuer.from_certificate(pki.root)), pki.root_key)
    home = make_home(tmp_path / "home", pki=replace(pki, intermediate=intermediate), key_uri=uri)
    port = lists_on(home)
    with running(home) as node:
        site = Site(node, port)
        good, bad = site.leaf(), site.leaf()
        site.revoke(bad.serial_number)
        assert openssl_verdict(tmp_path, site, good).endswith("leaf.pem: OK\n")
        assert "certificate revoked" in openssl_verdict(tmp_path, site, bad)


def _is_404(site: Site) -> bool:
    try:
        site.client.crl()
    except Exception as error:  # noqa: BLE001 (told apart here)
        return getattr(error, "code", "") == "ca.not-found"
    return False
