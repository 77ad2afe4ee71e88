"""The node's end of TLS, judged by OpenSSL's command line, curl and Python's own client."""

from __future__ import annotations

import gc
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes.hierarchy import make_pki, make_world
from fakes.live import Live, live
from fakes.tls import foreign_leaf

from online.config import TlsEngine, TlsSettings, TlsVersion
from online.hierarchy import Chain
from online.tls import OwnLeaf, make_own_leaf, server_context
from shared import keys
from shared.errors import Fatal
from shared.keys import KeyKind
from shared.keystore import private_key_pem
from shared.pem import certificate_pem

_NOW = datetime.now(UTC)
_BOTH = pytest.mark.parametrize("engine", list(TlsEngine), ids=lambda engine: engine.value)


@pytest.fixture(scope="module", params=list(TlsEngine), ids=lambda engine: engine.value)
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Live]:
    """A running server, with each of the engines."""
    with live(tmp_path_factory.mktemp("live"), tls=TlsSettings(engine=request.param)) as running:
        yield running


def s_client(server: Live, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``openssl s_client`` against the server; it ends after the handshake."""
    connect = ("-connect", f"127.0.0.1:{server.port}", "-servername", "localhost")
    return subprocess.run(
        ["openssl", "s_client", *connect, "-CAfile", str(server.root), "-verify_return_error", *arguments],
        input="",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_accepts_the_handshake_and_the_chain(server: Live, version: str) -> None:
    """Without this, a client that knows the root only could fail to verify the node."""
    done = s_client(server, version, "-alpn", "h2,http/1.1", "-verify_hostname", "localhost")
    assert done.returncode == 0, done.stderr
    assert "Verify return code: 0 (ok)" in done.stdout
    assert "ALPN protocol: http/1.1" in done.stdout
    assert "Compression: NONE" in done.stdout
    assert " 1 s:" in done.stdout  # the intermediate is sent


@pytest.mark.parametrize(
    "arguments",
    [("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"),
     ("-tls1_2", "-cipher", "AES128-GCM-SHA256")],
)  # fmt: skip
def test_old_versions_and_suites_are_refused(server: Live, arguments: tuple[str, ...]) -> None:
    """Without this, a man in the middle could talk both sides down."""
    assert s_client(server, *arguments).returncode != 0


def test_renegotiation_is_refused(server: Live) -> None:
    """Without this, a client could make the node do handshakes at will on one connection."""
    connect = ("-connect", f"127.0.0.1:{server.port}", "-CAfile", str(server.root), "-tls1_2")
    done = subprocess.run(
        ["openssl", "s_client", *connect], input="R\n", capture_output=True, text=True, check=False, timeout=30
    )
    assert "no renegotiation" in done.stderr.lower() or done.returncode != 0


def test_new_keys_are_agreed_on_while_a_connection_is_open(server: Live) -> None:
    """Without this, clients that renew their keys, as TLS 1.3 lets them (RFC 8446 §4.6.3), could hang or break."""
    connect = ("-connect", f"127.0.0.1:{server.port}", "-servername", "localhost", "-tls1_3")
    arguments = ["openssl", "s_client", *connect, "-CAfile", str(server.root)]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        said = ""
        while "read R BLOCK" not in said and "Verify return code" not in said:
            said = client.stdout.readline()
            assert said, "it ended too early"
        # A line that begins with K has s_client ask for new keys, both ways; each must be read by itself.
        client.stdin.write("K\n")
        for line in client.stdout:
            if "KEYUPDATE" in line:
                break
        client.stdin.write("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert '{"status":"ok"}' in client.stdout.read()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_gnutls_verifies_reads_and_is_told_why_it_is_refused(server: Live, version: str) -> None:
    """Without this, what OpenSSL takes for granted on both sides could puzzle every other library."""
    gnutls = shutil.which("gnutls-cli")
    if gnutls is None:
        pytest.skip("gnutls-cli is not on PATH")

    def say(chain: Chain, key: keys.PrivateKey) -> str:
        pair = server.directory / "gnutls.pem"
        pair.write_bytes(certificate_pem(*chain) + private_key_pem(key, None))
        trust = ("--x509cafile", str(server.root), "--x509certfile", str(pair), "--x509keyfile", str(pair))
        where = ("--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}", "--port", str(server.port), "localhost")
        request = "POST /renew HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        done = subprocess.run(
            [gnutls, *trust, *where], input=request, capture_output=True, text=True, check=False, timeout=30
        )
        return done.stdout + done.stderr

    answer = say(*server.leaf())
    assert "Status: The certificate is trusted." in answer
    assert "HTTP/1.1 201 Created" in answer
    other = make_pki(now=_NOW)
    leaf, key = foreign_leaf(other.intermediate, other.intermediate_key)
    assert "CA is unknown" in say((leaf,), key)


def test_curl_verifies_and_reads(server: Live) -> None:
    """Without this, the commonest of clients could fail."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not on PATH")
    arguments = ("-sS", "--fail", "--cacert", str(server.root), f"{server.url}/health")
    done = subprocess.run([curl, *arguments], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == '{"status":"ok"}\n'


def refused(server: Live, context: ssl.SSLContext) -> bool:
    """Tell whether a client's certificate keeps it from ever getting an HTTP answer."""
    try:
        return server.send(b"POST /renew HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", context) == []
    except OSError:
        return True


def test_a_client_without_a_certificate_is_welcome(server: Live) -> None:
    """Without this, nobody could get a first certificate."""
    assert server.request("GET", "/health").status == 200


def test_a_client_with_a_leaf_and_with_or_without_the_intermediate_is_known(server: Live) -> None:
    """Without this, clients that send their leaf only could not renew."""
    chain, key = server.leaf()
    assert server.request("POST", "/renew", context=server.context(chain, key)).status == 201
    assert server.request("POST", "/renew", context=server.context(chain[:1], key)).status == 201


def test_a_client_of_another_ca_is_refused_in_the_handshake(server: Live) -> None:
    """Without this, anybody's certificate could come as far as HTTP."""
    other = make_pki(now=_NOW)
    begin, usage = _NOW - timedelta(minutes=5), ExtendedKeyUsageOID.CLIENT_AUTH
    leaf, key = foreign_leaf(other.intermediate, other.intermediate_key, begin=begin, usage=usage)
    assert refused(server, server.context((leaf, other.intermediate), key))


@pytest.mark.parametrize(
    ("age", "usage"),
    [
        (timedelta(hours=3), ExtendedKeyUsageOID.CLIENT_AUTH),
        (timedelta(hours=-1), ExtendedKeyUsageOID.CLIENT_AUTH),
        (timedelta(minutes=5), ExtendedKeyUsageOID.SERVER_AUTH),
    ],
    ids=["expired", "not-yet-valid", "server-only"],
)
def test_a_client_outside_its_time_or_purpose_is_refused_in_the_handshake(
    server: Live, age: timedelta, usage: x509.ObjectIdentifier
) -> None:
    """Without this, a certificate could be used for what, or when, it was not issued for."""
    pki = server.world.pki
    leaf, key = foreign_leaf(pki.intermediate, pki.intermediate_key, begin=_NOW - age, usage=usage)
    assert refused(server, server.context((leaf, pki.intermediate), key))


def test_a_client_that_does_not_hold_the_key_cannot_even_be_built(server: Live) -> None:
    """Without this, a stolen certificate alone could renew itself."""
    chain, _ = server.leaf()
    with pytest.raises(ssl.SSLError):
        server.context(chain, keys.generate(KeyKind.EC_P256))


@_BOTH
def test_the_configured_versions_and_suites_hold(tmp_path: Path, engine: TlsEngine) -> None:
    """Without this, the tls block of ca.json could be without effect."""
    with live(tmp_path, tls=TlsSettings(engine=engine, min_version=TlsVersion.TLS_1_3)) as running:
        assert s_client(running, "-tls1_2").returncode != 0
        assert s_client(running, "-tls1_3").returncode == 0
    suites = ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",)
    only = TlsSettings(engine=engine, max_version=TlsVersion.TLS_1_2, cipher_suites=suites)
    other = tmp_path / "other"
    other.mkdir()
    with live(other, tls=only) as running:
        done = s_client(running)
        assert "ECDHE-ECDSA-AES256-GCM-SHA384" in done.stdout
        assert s_client(running, "-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305").returncode != 0


@_BOTH
@pytest.mark.parametrize("kind", [KeyKind.EC_P384, KeyKind.RSA, KeyKind.ED25519])
def test_an_intermediate_of_another_kind_of_key_serves_too(tmp_path: Path, kind: KeyKind, engine: TlsEngine) -> None:
    """Without this, the node's TLS could depend on the kind of the issuing key."""
    with live(tmp_path, pki=make_pki(now=_NOW, kind=kind), tls=TlsSettings(engine=engine)) as running:
        assert running.request("GET", "/health").status == 200
        chain, key = running.leaf()
        assert running.request("POST", "/renew", context=running.context(chain, key)).status == 201


async def own_leaf() -> OwnLeaf:
    """Have a node's leaf made."""
    return await make_own_leaf(make_world().authority)


async def test_the_own_leaf_is_due_at_two_thirds_of_its_life() -> None:
    """Without this, the node's own certificate could run out, or be renewed all the time."""
    leaf = await own_leaf()
    certificate = leaf.chain[0]
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    assert leaf.due() == begin + (end - begin) * 2 / 3
    assert not leaf.is_due(begin)
    assert leaf.is_due(leaf.due())
    assert leaf.is_due(begin - timedelta(seconds=1))
    assert leaf.is_due(begin + timedelta(minutes=1), after=timedelta(minutes=1))
    assert "key" not in repr(leaf)


@_BOTH
async def test_making_a_context_leaves_no_file_and_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: TlsEngine
) -> None:
    """Without this, the node's TLS key could stay on a disk, or each renewal leak a descriptor."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    world = make_world()
    leaf = await make_own_leaf(world.authority)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        server_context(leaf, trusted=(world.pki.root, world.pki.intermediate), settings=TlsSettings(engine=engine))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert os.listdir(tmp_path) == []


async def test_without_anonymous_files_a_private_one_is_gone_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this, the node could not serve, or leave its key behind, where Linux's memfd is missing."""
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    world = make_world()
    leaf = await make_own_leaf(world.authority)
    server_context(leaf, trusted=(world.pki.root,), settings=TlsSettings(engine=TlsEngine.SYSTEM))
    assert os.listdir(tmp_path) == []


@_BOTH
def test_a_pair_that_does_not_match_is_never_served(engine: TlsEngine) -> None:
    """Without this, a context with somebody else's key could replace a working one."""
    world = make_world()
    wrong = OwnLeaf(key=keys.generate(KeyKind.EC_P256), chain=(world.pki.intermediate,))
    with pytest.raises(Fatal) as failure:
        server_context(wrong, trusted=(world.pki.root,), settings=TlsSettings(engine=engine))
    assert failure.value.code == "tls.context"
    assert private_key_pem(wrong.key, None).decode() not in failure.value.message
