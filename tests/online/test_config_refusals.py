"""A ca.json that is wrong: each fault is refused by its dotted path, and nothing is ignored in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import vectors
from hypothesis import given
from hypothesis import strategies as st

from online.config import load_config, parse_config
from shared.errors import ColdrootError, RequestRejected, Unsupported

PATH = Path("/home/ca/.coldroot/config/ca.json")
BASE: dict[str, Any] = {**vectors.step_ca_json(), "db": {"type": "sqlite", "dataSource": "db/coldroot.db"}}
PROVISIONER: dict[str, Any] = BASE["authority"]["provisioners"][0]


def refuse(changes: dict[str, Any]) -> ColdrootError:
    """Parse the document with changes (dotted keys; ``...`` removes) and return the refusal."""
    document = json.loads(json.dumps(BASE))
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is ...:
            del place[last]
        else:
            place[last] = value
    with pytest.raises(ColdrootError) as caught:
        parse_config(json.dumps(document).encode(), path=PATH)
    return caught.value


@pytest.mark.parametrize(
    ("dotted", "near"),
    [
        ("dnsnames", "dnsNames"),
        ("DNSNames", "dnsNames"),
        ("adress", "address"),
        ("authority.provisioner", "provisioners"),
        ("authority.claims.maxTLSDuration", "maxTLSCertDuration"),
        ("authority.backdat", "backdate"),
        ("tls.cipherSuite", "cipherSuites"),
        ("db.datasource", "dataSource"),
        ("logger.fromat", "format"),
        ("coldroot.loglevel", "logLevel"),
    ],
)
def test_a_typing_error_is_named_with_what_was_meant(dotted: str, near: str) -> None:
    """A limit under a mistyped key is no limit; Go's own decoder passes over it in silence."""
    error = refuse({dotted: {}})
    assert error.code == "config.unknown-key"
    assert dotted in error.message
    assert error.hint == f"the nearest known one is {near}"


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("kms", {"type": "awskms", "uri": "awskms:region=x"}),
        ("monitoring", {"type": "newrelic"}),
        ("ssh", {"hostKey": "/x"}),
        ("templates", {"ssh": {"user": [{"name": "x"}]}}),
        ("authority.authorityId", "abc"),
        ("authority.enableAdmin", True),
        ("authority.policy.ssh", {"host": {"allow": {"dns": ["*.local"]}}}),
        ("authority.certificateIssuer", {"type": "x5c"}),
        ("authority.claims.enableSSHCA", True),
        ("tls.renegotiation", True),
        ("db.badgerFileLoadingMode", "FileIO"),
        ("db.valueDir", "/x"),
    ],
)
def test_a_setting_of_step_ca_that_is_not_supported(dotted: str, value: Any) -> None:
    """An operator who relies on SSH, a CRL or a KMS must learn at the start that it is not there."""
    error = refuse({dotted: value})
    assert isinstance(error, Unsupported)
    assert error.code == "config.unsupported-key"
    assert dotted in error.message
    assert error.hint


@pytest.mark.parametrize("kind", ["badger", "badgerv1", "badgerv2", "badgerV2", "bbolt"])
def test_a_database_of_step_ca_is_refused_by_name(kind: str) -> None:
    """The one thing to change when switching: the message names the database, the hint gives the new block."""
    error = refuse({"db": {"type": kind, "dataSource": "/x", "badgerFileLoadingMode": "", "database": "ca"}})
    assert isinstance(error, Unsupported)
    assert error.code == "config.unsupported-database"
    assert f"db.type: step-ca's {kind} database is not supported" == error.message
    assert error.hint is not None
    assert '"sqlite"' in error.hint
    assert "online import-step DIR --write" in error.hint


@pytest.mark.parametrize("kind", ["GCP", "ACME", "Azure", "SSHPOP", "AWS", "K8sSA", "SCEP", "Nebula", "acme"])
def test_a_provisioner_of_another_type_is_refused_by_name(kind: str) -> None:
    """A provisioner that is silently missing is an outage for its users."""
    error = refuse({"authority.provisioners": [PROVISIONER, {"type": kind, "name": "x", "clientID": "y"}]})
    assert isinstance(error, Unsupported)
    assert error.code == "config.unsupported-provisioner"
    assert "authority.provisioners[1].type" in error.message
    assert kind in error.message
    assert "online import-step DIR --write" in (error.hint or "")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"root": 5}, "root"),
        ({"root": [5]}, "root[0]"),
        ({"crt": []}, "crt"),
        ({"key": {}}, "key"),
        ({"address": 9000}, "address"),
        ({"dnsNames": "localhost"}, "dnsNames"),
        ({"dnsNames": [None]}, "dnsNames[0]"),
        ({"commonName": 1}, "commonName"),
        ({"password": 1234}, "password"),
        ({"db": []}, "db"),
        ({"db.type": 1}, "db.type"),
        ({"tls": "1.2"}, "tls"),
        ({"tls.minVersion": "1.2"}, "tls.minVersion"),
        ({"tls.minVersion": True}, "tls.minVersion"),
        ({"logger": "text"}, "logger"),
        ({"authority": []}, "authority"),
        ({"authority": ""}, "authority"),
        ({"authority.claims": "24h"}, "authority.claims"),
        ({"authority.claims": {"disableRenewal": "false"}}, "authority.claims.disableRenewal"),
        ({"authority.backdate": 60}, "authority.backdate"),
        ({"authority.disableIssuedAtCheck": "yes"}, "authority.disableIssuedAtCheck"),
        ({"authority.provisioners": {}}, "authority.provisioners"),
        ({"authority.provisioners": ["admin"]}, "authority.provisioners[0]"),
        ({"authority.provisioners": [{"type": 1}]}, "authority.provisioners[0].type"),
        ({"authority.provisioners": [{**PROVISIONER, "name": 1}]}, "authority.provisioners[0].name"),
    ],
)
def test_a_value_of_the_wrong_kind(changes: dict[str, Any], where: str) -> None:
    """Each is refused by its path; what stands there is not shown, for it may be a password."""
    error = refuse(changes)
    assert error.code == "config.wrong-type"
    assert error.message.startswith(f"{where} must be ")
    assert "1234" not in error.message


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"root": ...}, "root"),
        ({"root": ""}, "root"),
        ({"root": []}, "root"),
        ({"root": None}, "root"),
        ({"crt": ...}, "crt"),
        ({"key": ""}, "key"),
        ({"address": None}, "address"),
        ({"db": ...}, "db"),
        ({"db": None}, "db"),
        ({"db": {"type": "sqlite"}}, "db.dataSource"),
        ({"db": {"dataSource": "x"}}, "db.type"),
        ({"authority.provisioners": [{"name": "x"}]}, "authority.provisioners[0].type"),
        ({"authority.provisioners": [{"type": "JWK", "name": "x"}]}, "authority.provisioners[0].key"),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, Any], where: str) -> None:
    """A default for any of these would be a guess about somebody's keys."""
    error = refuse(changes)
    assert error.code == "config.missing-key"
    assert error.message == f"{where} is missing"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"address": "9000"}, "address"),
        ({"address": ":https"}, "address"),
        ({"address": ":65536"}, "address"),
        ({"address": ":-1"}, "address"),
        ({"address": "::1:9000"}, "address"),
        ({"address": "host name:9000"}, "address"),
        ({"address": "host:٩"}, "address"),
        ({"dnsNames": ["ca.local:9000"]}, "dnsNames[0]"),
        ({"dnsNames": ["ok.local", "-bad-"]}, "dnsNames[1]"),
        ({"dnsNames": ["https://ca.local"]}, "dnsNames[0]"),
        ({"dnsNames": ["*.ca.local"]}, "dnsNames[0]"),
        ({"dnsNames": [""]}, "dnsNames[0]"),
        ({"commonName": "x" * 65}, "commonName"),
        ({"commonName": "a\nb"}, "commonName"),
        ({"password": "p" * 5000}, "password"),
        ({"db.type": "oracle"}, "db.type"),
        ({"tls.minVersion": 1.1}, "tls.minVersion"),
        ({"tls.maxVersion": 1.4}, "tls.maxVersion"),
        ({"tls.minVersion": 1.3, "tls.maxVersion": 1.2}, "tls.minVersion"),
        ({"tls.cipherSuites": ["TLS_RSA_WITH_AES_128_CBC_SHA"]}, "tls.cipherSuites[0]"),
        ({"logger.traceHeader": "X: y\r\n"}, "logger.traceHeader"),
        ({"coldroot.logLevel": "debug"}, "coldroot.logLevel"),
        ({"coldroot.tlsEngine": "openssl"}, "coldroot.tlsEngine"),
        ({"authority.backdate": "-1m"}, "authority.backdate"),
        ({"authority.backdate": "60"}, "authority.backdate"),
        ({"authority.claims": {"maxTLSCertDuration": "1h"}}, "authority.claims"),
        ({"authority.provisioners": [{"type": "JWT", "name": "x"}]}, "authority.provisioners[0].type"),
        ({"authority.provisioners": [PROVISIONER, PROVISIONER]}, "authority.provisioners"),
        ({"authority.provisioners": [PROVISIONER, {**PROVISIONER, "name": "b"}]}, "authority.provisioners"),
    ],
)
def test_a_value_that_makes_no_sense(changes: dict[str, Any], where: str) -> None:
    """Of the right kind and still wrong: named by its path."""
    error = refuse(changes)
    assert isinstance(error, RequestRejected)
    assert error.code == "config.malformed"
    assert error.message.startswith(where)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"key": "awskms:key-id=abc"}, "key"),
        ({"key": "yubikey:slot-id=9c"}, "key"),
        ({"authority.type": "vaultcas"}, "authority.type"),
        ({"authority.deploymentType": "linked"}, "authority.deploymentType"),
        ({"logger.format": "common"}, "logger.format"),
    ],
)
def test_a_value_of_step_ca_that_is_not_supported(changes: dict[str, Any], where: str) -> None:
    """Supported settings with values that only step-ca knows."""
    error = refuse(changes)
    assert isinstance(error, Unsupported)
    assert error.message.startswith(where)
    assert error.hint


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "config.malformed"),
        (b"[]", "config.wrong-type"),
        (b"null", "config.wrong-type"),
        (b'{"root": "a", "root": "b"}', "config.duplicate-key"),
        (b'{"authority": {"claims": {"disableRenewal": true, "disableRenewal": false}}}', "config.duplicate-key"),
        (b'{"root": "a" // comment\n}', "config.malformed"),
        (b'{"tls": {"minVersion": NaN}}', "config.malformed"),
        (json.dumps(BASE).encode("utf-16"), "config.malformed"),
    ],
)
def test_a_document_that_is_no_strict_json(data: bytes, code: str) -> None:
    """A doubled key above all: the reviewer reads one value, the program uses the other."""
    with pytest.raises(RequestRejected) as caught:
        parse_config(data, path=PATH)
    assert caught.value.code == code


@given(st.sampled_from(sorted(BASE)), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
))  # fmt: skip
def test_noise_in_any_setting_is_refused_not_crashed_on(key: str, value: Any) -> None:
    """Whatever stands in a setting, the operator gets a line of ours and never a traceback."""
    code = "config.accepted"
    try:
        parse_config(json.dumps({**BASE, key: value}).encode(), path=PATH)
    except ColdrootError as error:
        code = error.code
    assert code.startswith("config.")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The commonest fault of all has its own plain line."""
    with pytest.raises(RequestRejected) as caught:
        load_config(tmp_path / "ca.json")
    assert caught.value.code == "file.missing"


def test_a_huge_file(tmp_path: Path) -> None:
    """A path given by mistake to something large must not fill the memory."""
    path = tmp_path / "ca.json"
    path.write_bytes(b" " * (2 << 20))
    with pytest.raises(RequestRejected) as caught:
        load_config(path)
    assert caught.value.code == "file.too-large"
