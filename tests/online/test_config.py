"""A ca.json that is right: every setting ends where it belongs, and what init writes is what is read."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes import vectors
from fakes.tokens import provisioner

from online.claims import Claims
from online.config import Config, TlsEngine, TlsSettings, TlsVersion, load_config, parse_config, render_config
from shared.errors import RequestRejected

PATH = Path("/home/ca/.coldroot/config/ca.json")


def document(**changes: Any) -> dict[str, Any]:
    """Return step's ca.json with a database of ours and changes; ``...`` removes a key."""
    base = {**vectors.step_ca_json(), "db": {"type": "sqlite", "dataSource": "db/coldroot.db"}, **changes}
    return {name: value for name, value in base.items() if value is not ...}


def parse(path: Path = PATH, **changes: Any) -> Config:
    """Parse the document with changes."""
    return parse_config(json.dumps(document(**changes)).encode(), path=path)


def test_steps_own_file_is_read() -> None:
    """Switching means to point the node at the file that is there; only the database must change."""
    config = parse()
    assert config.roots == (Path("/home/step/.step/certs/root_ca.crt"),)
    assert config.crt == Path("/home/step/.step/certs/intermediate_ca.crt")
    assert config.key == "/home/step/.step/secrets/intermediate_ca_key"
    assert config.address == ("", 9000)
    assert config.dns_names == ("localhost",)
    assert config.common_name == "Step Online CA"
    assert config.federated_roots == ()
    assert config.db.type == "sqlite"
    assert config.claims == Claims()
    assert config.backdate == timedelta(minutes=1)
    assert config.logger.format == "text"
    assert config.password is None
    assert [each.name for each in config.provisioners] == ["admin"]


def test_relative_paths_hang_on_the_home() -> None:
    """A home that can be moved has relative paths; absolute ones of a step installation stay."""
    config = parse(
        root=["certs/a.crt", "/etc/b.crt"],
        federatedRoots=["certs/c.crt"],
        crt="certs/i.crt",
        key="secrets/k",
    )
    home = Path("/home/ca/.coldroot")
    assert config.home == home
    assert config.roots == (home / "certs/a.crt", Path("/etc/b.crt"))
    assert config.federated_roots == (home / "certs/c.crt",)
    assert config.crt == home / "certs/i.crt"
    assert config.key == "/home/ca/.coldroot/secrets/k"
    assert config.db.data_source == "/home/ca/.coldroot/db/coldroot.db"


def test_without_a_config_directory_the_files_own_is_the_home() -> None:
    """step-ca takes a ca.json from anywhere; so must we, with paths that mean something."""
    assert parse(Path("/srv/ca.json")).home == Path("/srv")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("pkcs11:token=ca;object=intermediate", "pkcs11:token=ca;object=intermediate"),
        ("PKCS11:token=ca", "PKCS11:token=ca"),
        ("file:secrets/k", "/home/ca/.coldroot/secrets/k"),
        ("/abs/k", "/abs/k"),
    ],
)
def test_keys_by_path_and_uri(key: str, expected: str) -> None:
    """A token's URI must not be taken for a relative path."""
    assert parse(key=key).key == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (":443", ("", 443)),
        ("127.0.0.1:9000", ("127.0.0.1", 9000)),
        ("[::1]:9000", ("::1", 9000)),
        ("ca.local:0", ("ca.local", 0)),
        (":65535", ("", 65535)),
    ],
)
def test_addresses(address: str, expected: tuple[str, int]) -> None:
    """Go's forms of a listening address."""
    assert parse(address=address).address == expected


def test_names_default_to_the_local_ones() -> None:
    """As in step-ca; they are what tokens are matched against."""
    assert parse(dnsNames=...).dns_names == ("localhost", "127.0.0.1", "::1")
    assert parse(dnsNames=None).dns_names == ("localhost", "127.0.0.1", "::1")


def test_names_are_canonical() -> None:
    """Two spellings of one host must not be two names."""
    assert parse(dnsNames=["CA.local", "ca.LOCAL", "0:0::1", "10.0.0.1"]).dns_names == ("ca.local", "::1", "10.0.0.1")


def test_the_tls_block() -> None:
    """What it says decides the server's context and is sent to clients as tlsOptions."""
    config = parse(
        tls={"cipherSuites": ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"], "minVersion": 1.3, "maxVersion": 1.3}
    )
    assert config.tls.min_version is config.tls.max_version is TlsVersion.TLS_1_3
    assert config.tls.openssl_ciphers() == "ECDHE-ECDSA-AES256-GCM-SHA384"
    assert config.tls.to_json() == {
        "cipherSuites": ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"],
        "minVersion": 1.3,
        "maxVersion": 1.3,
        "renegotiation": False,
    }


def test_the_engine_of_tls_is_chosen_beside_the_tls_block() -> None:
    """Where the distribution's crypto policy must hold, it must hold whatever else is configured."""
    for tls in (..., {"minVersion": 1.3}):
        assert parse(tls=tls).tls.engine is TlsEngine.BUNDLED
        assert parse(tls=tls, coldroot={"tlsEngine": "bundled"}).tls.engine is TlsEngine.BUNDLED
        assert parse(tls=tls, coldroot={"tlsEngine": "system"}).tls.engine is TlsEngine.SYSTEM
    # What clients are told is step-ca's block and no more.
    assert "engine" not in parse(coldroot={"tlsEngine": "system"}).tls.to_json()


def test_tls_defaults_are_steps() -> None:
    """Without a block, and with zeros, the suites and versions are those of step-ca."""
    assert parse(tls=...).tls == parse(tls={"minVersion": 0, "maxVersion": 0}).tls == parse().tls == TlsSettings()
    assert TlsSettings().openssl_ciphers() == "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"


def test_old_names_of_suites() -> None:
    """A ca.json of 2020 calls the ChaCha suite by Go's older name."""
    config = parse(tls={"cipherSuites": ["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"]})
    assert config.tls.openssl_ciphers() == "ECDHE-ECDSA-CHACHA20-POLY1305"


def test_only_tls_1_3_suites_leave_the_defaults_for_1_2() -> None:
    """An empty OpenSSL cipher list would be an error at start, or worse, OpenSSL's own defaults."""
    config = parse(tls={"cipherSuites": ["TLS_AES_128_GCM_SHA256"]})
    assert config.tls.openssl_ciphers() == TlsSettings().openssl_ciphers()


def test_the_authority_block() -> None:
    """Claims, backdating, and the settings that say what is the case anyway."""
    config = parse(
        authority={
            "claims": {"maxTLSCertDuration": "48h"},
            "backdate": "2m",
            "provisioners": [],
            "type": "softcas",
            "deploymentType": "standalone",
            "disableIssuedAtCheck": True,
            "enableAdmin": False,
            "template": {},
            "policy": None,
        }
    )
    assert config.claims.max_tls == timedelta(hours=48)
    assert config.stated_claims.to_json() == {"maxTLSCertDuration": "48h0m0s"}
    assert config.backdate == timedelta(minutes=2)
    assert config.provisioners == ()


def test_no_authority_block() -> None:
    """A CA without provisioners signs nothing and still renews and answers reads."""
    assert parse(authority=...).provisioners == parse(authority={"provisioners": None}).provisioners == ()


def test_provisioners_inherit_the_authoritys_claims() -> None:
    """A limit stated once for all must hold for each."""
    authority = {**vectors.step_ca_json()["authority"], "claims": {"maxTLSCertDuration": "48h"}}
    assert parse(authority=authority).provisioners[0].claims.max_tls == timedelta(hours=48)


def test_what_step_writes_for_nothing_is_nothing() -> None:
    """Empty texts, nulls and empty objects of unsupported settings pass, for step ca init writes them."""
    parse(insecureAddress="", federatedRoots=None, templates={}, ssh=None, crl={"enabled": False}, kms={"type": ""})


def test_init_writes_what_load_reads(tmp_path: Path) -> None:
    """A new CA whose file is refused at the first start would be a poor beginning."""
    path = tmp_path / "config" / "ca.json"
    path.parent.mkdir()
    rendered = render_config(
        dns_names=["ca.local", "127.0.0.1"], address=":9443", provisioners=[provisioner()], common_name="My CA"
    )
    path.write_text(json.dumps(rendered))
    config = load_config(path)
    assert config.address == ("", 9443)
    assert config.dns_names == ("ca.local", "127.0.0.1")
    assert config.common_name == "My CA"
    assert config.roots == (tmp_path / "certs/root_ca.crt",)
    assert config.key == str(tmp_path / "secrets/intermediate_ca_key")
    assert config.db.data_source == str(tmp_path / "db/coldroot.db")
    assert config.provisioners == (provisioner(),)
    assert config.tls == TlsSettings()


def test_a_password_needs_a_private_file(tmp_path: Path) -> None:
    """A file that holds the key's password and that everybody may read must stop the start."""
    path = tmp_path / "ca.json"
    path.write_text(json.dumps(document(password="hunter22")))
    path.chmod(0o644)
    with pytest.raises(RequestRejected) as caught:
        load_config(path)
    assert caught.value.code == "file.exposed"
    path.chmod(0o600)
    config = load_config(path)
    assert config.password == "hunter22"
    assert "hunter22" not in repr(config)
