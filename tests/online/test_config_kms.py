"""The kms block of step-ca, and the one URI that the node makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import vectors

from online.config import Config, load_config, parse_config
from shared.errors import RequestRejected, Unsupported

PATH = Path("/home/ca/.coldroot/config/ca.json")
MODULE = "module-path=/usr/lib/softhsm/libsofthsm2.so"


def document(**changes: Any) -> dict[str, Any]:
    """Return step's ca.json with a database of ours, and changes."""
    return {**vectors.step_ca_json(), "db": {"type": "sqlite", "dataSource": "db/coldroot.db"}, **changes}


def parse(**changes: Any) -> Config:
    """Parse it."""
    return parse_config(json.dumps(document(**changes)).encode(), path=PATH)


@pytest.mark.parametrize(
    ("key", "uri", "merged"),
    [
        ("pkcs11:object=ca", f"pkcs11:token=node;{MODULE}", f"pkcs11:object=ca;token=node?{MODULE}"),
        ("pkcs11:object=ca", f"pkcs11:token=node?{MODULE}", f"pkcs11:object=ca;token=node?{MODULE}"),
        ("pkcs11:id=%01;token=a", f"pkcs11:token=b;{MODULE}", f"pkcs11:id=%01;token=a?{MODULE}"),
        (
            "pkcs11:object=ca",
            f"pkcs11:{MODULE};token=node?pin-source=/run/pin",
            f"pkcs11:object=ca;token=node?{MODULE}&pin-source=/run/pin",
        ),
    ],
)
def test_the_block_completes_the_keys_uri(key: str, uri: str, merged: str) -> None:
    """Without this, a step-ca with an HSM could not switch: it keeps module and token apart from the key."""
    assert parse(key=key, kms={"type": "pkcs11", "uri": uri}).key == merged


def test_the_pin_of_the_block_unlocks_the_key() -> None:
    """Without this, the node would ask a person for a PIN that stands in the file."""
    config = parse(key="pkcs11:object=ca", kms={"type": "pkcs11", "uri": f"pkcs11:token=a;{MODULE}", "pin": "1234"})
    assert config.password == "1234"
    assert "1234" not in repr(config)


def test_a_file_with_a_pin_is_private(tmp_path: Path) -> None:
    """Without this, every user of the machine could read the PIN of the HSM."""
    path = tmp_path / "ca.json"
    block = {"type": "pkcs11", "uri": f"pkcs11:token=a;{MODULE}", "pin": "1234"}
    path.write_text(json.dumps(document(key="pkcs11:object=ca", kms=block)))
    path.chmod(0o644)
    with pytest.raises(RequestRejected) as caught:
        load_config(path)
    assert caught.value.code == "file.exposed"


@pytest.mark.parametrize("block", [None, {}, {"type": ""}, {"type": "softkms"}, {"type": "pkcs11"}])
def test_a_block_that_says_nothing(block: Any) -> None:
    """Without this, files that step wrote for a key in a file would be refused."""
    assert parse(kms=block).key == "/home/step/.step/secrets/intermediate_ca_key"


@pytest.mark.parametrize(
    "block",
    [
        {"type": "awskms", "uri": "awskms:region=us-east-1"},
        {"type": "yubikey"},
        {"uri": "tpmkms:name=x"},
        {"type": "pkcs11", "uri": f"pkcs11:token=a;{MODULE}", "credentialsFile": "/x"},
        {"type": "pkcs11", "uri": f"pkcs11:slot-id=0;{MODULE}"},
    ],
)
def test_key_services_that_are_not_there(block: Any) -> None:
    """Without this, the node would look for the key somewhere else than the operator said."""
    with pytest.raises(Unsupported) as caught:
        parse(key="pkcs11:object=ca", kms=block)
    assert caught.value.code == "config.unsupported-key"


@pytest.mark.parametrize(
    ("key", "block"),
    [
        ("secrets/key", {"type": "pkcs11", "uri": f"pkcs11:token=a;{MODULE}"}),
        ("secrets/key", {"type": "pkcs11", "pin": "1"}),
        ("pkcs11:object=ca", {"type": "pkcs11", "uri": "pkcs11:token=a"}),
        ("pkcs11:object=ca", {"type": "pkcs11", "uri": f"pkcs11:{MODULE}?pin-value=1234"}),
    ],
)
def test_blocks_that_make_no_sense(key: str, block: Any) -> None:
    """Without this, a PIN could stand where every error message shows it, or a setting be dropped in silence."""
    with pytest.raises(RequestRejected) as caught:
        parse(key=key, kms=block)
    assert caught.value.code == "config.malformed"
    assert "1234" not in f"{caught.value} {caught.value.hint}"
