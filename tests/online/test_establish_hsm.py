"""``online init`` and ``online import`` with the intermediate's key in a token (SoftHSM)."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.ceremony_reply import certify_request, reply_bundle
from fakes.certificates import make_root
from fakes.softhsm import SoftHsm, needs_softhsm, softhsm_fixture  # noqa: F401 (pytest finds the fixture)

from online import establish as module
from online.adopt import adopt
from online.config import load_config
from online.establish import Wishes, establish
from online.home import Home
from online.key_choice import KeyChoice
from online.next_intermediate import Wishes as Next
from online.next_intermediate import request_next
from shared.errors import RequestRejected, StoreFailed, Unauthenticated
from shared.keys import fingerprint

NOW = datetime.now(UTC)
PIN = b"9876"
URI = "pkcs11:token=node;object=intermediate?module-name=softhsm2"
WISHES = Wishes(name="Acme", dns_names=("localhost",), address=":9000", provisioner="admin", key_uri=URI)


def _pin(prompt: str) -> bytes:
    assert "node" in prompt
    return PIN


@needs_softhsm
def test_from_a_key_in_the_token_to_its_certificate(softhsm: SoftHsm, tmp_path: Path) -> None:
    """The whole way with a key that never leaves the token: no key file, no password of one, the URI in ca.json."""
    softhsm.token("node", user_pin=PIN)
    home = Home(path=tmp_path / "home")
    made = establish(home, tmp_path / "crossing", WISHES, pin=_pin)
    assert [each.name for each in (home.path / "secrets").iterdir()] == ["provisioner_password.txt"]
    assert load_config(home.config).key == URI
    root, root_key = make_root(begin=NOW - timedelta(days=1))
    request = made.bundle[0].read_bytes()
    reply = tmp_path / "reply.bundle"
    reply.write_bytes(reply_bundle(request, root, certify_request(request, root, root_key)))
    with pytest.raises(Unauthenticated):
        adopt(home, [reply], pinned=fingerprint(root), secret=lambda _: b"0000", now=NOW)
    adopt(home, [reply], pinned=fingerprint(root), secret=_pin, now=NOW)
    assert home.intermediate_certificate.exists()
    # The next one has a key of its own there, and the operator says which.
    crossing = tmp_path / "next"
    with pytest.raises(RequestRejected, match="in an HSM"):
        request_next(home, crossing, Next(key=KeyChoice()), secret=_pin)
    second = URI.replace("object=intermediate", "object=second")
    asked = request_next(home, crossing, Next(key=KeyChoice(), key_uri=second), secret=_pin).bundle[0].read_bytes()
    reply.write_bytes(reply_bundle(asked, root, certify_request(asked, root, root_key)))
    adopted = adopt(home, [reply], pinned=None, secret=_pin, now=NOW)
    config = load_config(home.config)
    assert (config.key, config.crt) == (second, adopted.certificate)
    assert config.former_intermediates == (home.intermediate_certificate,)


@needs_softhsm
def test_a_key_that_exists_is_used_only_on_demand(softhsm: SoftHsm, tmp_path: Path) -> None:
    """A label that is taken may be the key of another CA; only the operator can say that it is meant."""
    softhsm.token("node", user_pin=PIN)
    establish(Home(path=tmp_path / "a"), tmp_path / "crossing-a", WISHES, pin=_pin)
    with pytest.raises(RequestRejected, match="intermediate"):
        establish(Home(path=tmp_path / "b"), tmp_path / "crossing-b", WISHES, pin=_pin)
    assert not (tmp_path / "b").exists()
    again = dataclasses.replace(WISHES, key_exists=True)
    establish(Home(path=tmp_path / "b"), tmp_path / "crossing-b", again, pin=_pin)


@needs_softhsm
def test_a_failure_after_the_key_was_made_says_so(
    softhsm: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key in the token cannot be taken back: the operator must know how to go on."""
    softhsm.token("node", user_pin=PIN)

    def failing(path: Path) -> None:
        raise StoreFailed("file.write-failed", f"{path} cannot be written")

    monkeypatch.setattr(module, "create_database", failing)
    with pytest.raises(StoreFailed) as caught:
        establish(Home(path=tmp_path / "home"), tmp_path / "crossing", WISHES, pin=_pin)
    assert "--key-exists" in (caught.value.hint or "")
    assert not (tmp_path / "home").exists()
