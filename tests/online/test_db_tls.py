"""The way to a database server: protected where the address says so, and then to nobody else."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fakes.databases import NETWORKED, DatabaseServer, discard, start_server

from online.config import DatabaseSettings
from online.store import upkeep
from online.store.open import open_store
from shared.errors import StoreFailed
from shared.keystore import private_key_pem
from shared.pem import certificate_pem

# The drivers leave what a failed handshake opened to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    yield
    gc.collect()


def certificate(*, address: str) -> tuple[bytes, bytes]:
    """Return a certificate that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "db")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate_pem(made), private_key_pem(key, None)


@pytest.fixture(scope="module", params=NETWORKED)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """A server with a certificate for its address."""
    crt, key = certificate(address="127.0.0.1")
    (tmp_path_factory.getbasetemp() / f"{request.param}.crt").write_bytes(crt)
    names = {"crt": "DIRECTORY/crt", "key": "DIRECTORY/key"}
    extra = {
        "postgresql": {"ssl": "on", "ssl_cert_file": names["crt"], "ssl_key_file": names["key"]},
        "mysql": {"ssl-cert": names["crt"], "ssl-key": names["key"]},
    }[request.param]
    started = start_server(request.param, files={"crt": crt, "key": key}, **extra)
    yield started
    discard(started)


def demanding(server: DatabaseServer, settings: DatabaseSettings, root: Path) -> DatabaseSettings:
    """Return settings that want the server to be verified under a root."""
    if server.kind == "postgresql":
        wanted = f"sslmode=verify-full&sslrootcert={root}"
        return dataclasses.replace(settings, data_source=settings.data_source.replace("sslmode=disable", wanted))
    return dataclasses.replace(settings, data_source=f"{settings.data_source}?ssl-ca={root}")


def test_a_server_that_is_verified_is_spoken_to(
    server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Parameters that are read and not obeyed would leave the password's exchange to the network."""
    settings = server.fresh()
    root = tmp_path_factory.getbasetemp() / f"{server.kind}.crt"
    found = {each.what: each.detail for each in upkeep.check(demanding(server, settings, root))}
    assert found["tls"] == "in use"
    found = {each.what: each.detail for each in upkeep.check(settings)}
    assert found["tls"] == "not in use, on this machine"


async def test_a_server_of_somebody_else_is_not(server: DatabaseServer, tmp_path: Path) -> None:
    """Whoever stands between would read every row, and could answer that no token was used."""
    settings = await asyncio.to_thread(server.fresh)
    root = tmp_path / "other.crt"
    root.write_bytes(certificate(address="127.0.0.1")[0])
    store = open_store(demanding(server, settings, root))
    with pytest.raises(StoreFailed) as failed:
        await store.ready()
    assert failed.value.code == "store.tls"
    await store.close()


async def test_a_file_that_is_not_there_is_said(server: DatabaseServer, tmp_path: Path) -> None:
    """A root that cannot be read must not mean any root."""
    settings = await asyncio.to_thread(server.fresh)
    store = open_store(demanding(server, settings, tmp_path / "missing.crt"))
    with pytest.raises(StoreFailed) as failed:
        await store.ready()
    assert failed.value.code == "store.tls"
    await store.close()
