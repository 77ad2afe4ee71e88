"""The registry: who is found by what, paging, and the allow-list of operations."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from fakes.certificates import BEGIN, make_root
from fakes.tokens import AUDIENCES, NOW, SIGNER, forge, provisioner
from hypothesis import given
from hypothesis import strategies as st

from online.claims import Claims
from online.jose.jwk import PrivateJwk
from online.provisioners import registry as registry_module
from online.provisioners.protocol import Operation, Provisioner, ProvisionerType
from online.provisioners.registry import Registry, authorize_renew, open_token
from shared import keys
from shared.errors import NotFound, RequestRejected, Unauthenticated
from shared.keys import KeyKind

ALL = tuple(
    provisioner(PrivateJwk(key=SIGNER.key, kid=f"kid-{number}", algorithm="ES256"), name=f"name-{number}")
    for number in range(130)
)


def test_everybody_is_found_by_each_of_their_names() -> None:
    """Tokens, certificates and clients each name a provisioner differently."""
    registry = Registry(ALL)
    assert len(registry) == 130
    for each in ALL[:3]:
        assert registry.by_name(each.name) is registry.by_id(each.id) is registry.by_kid(each.kid) is each
        assert registry.by_credential(1, each.name, each.kid) is each


@pytest.mark.parametrize(("kind", "name", "credential"), [(6, "name-0", "kid-0"), (1, "name-1", "kid-0"), (1, "x", "")])
def test_a_certificate_must_name_all_three_alike(kind: int, name: str, credential: str) -> None:
    """A certificate of a deleted provisioner must not renew under a new one of the same name."""
    with pytest.raises(NotFound):
        Registry(ALL).by_credential(kind, name, credential)


def test_nobody_is_found_by_anything_else() -> None:
    """Empty texts are what a missing extension leaves behind; they must find nobody."""
    registry = Registry(ALL)
    for look in (registry.by_name, registry.by_id, registry.by_kid):
        with pytest.raises(NotFound) as caught:
            look("")
        assert caught.value.code == "provisioner.unknown"


def test_doubles_are_refused() -> None:
    """Two of one name: whose token is it? Two of one key: whose limits hold?"""
    other = PrivateJwk.of(keys.generate(KeyKind.EC_P256))
    for second in (provisioner(other, name="admin"), provisioner(SIGNER, name="other")):
        with pytest.raises(RequestRejected) as caught:
            Registry([provisioner(), second])
        assert caught.value.code == "provisioner.duplicate"


@pytest.mark.parametrize(
    ("limit", "pages"), [(100, [100, 30]), (0, [20] * 6 + [10]), (-1, [20] * 6 + [10]), (999, [100, 30])]
)
def test_paging_visits_everybody_once(limit: int, pages: list[int]) -> None:
    """The step CLI walks the pages to find a provisioner by name: one left out cannot be used."""
    registry = Registry(ALL)
    cursor = ""
    seen: list[Provisioner] = []
    sizes: list[int] = []
    while True:
        page, cursor = registry.page(cursor, limit)
        seen.extend(page)
        sizes.append(len(page))
        if not cursor:
            break
    assert seen == list(ALL)
    assert sizes == pages


def test_no_provisioners_one_empty_page() -> None:
    """A CA whose last provisioner was removed must still answer."""
    assert Registry([]).page("", 20) == ((), "")


@given(st.text(max_size=50), st.integers(-(2**70), 2**70))
def test_any_cursor_is_answered(cursor: str, limit: int) -> None:
    """A cursor comes from outside; the worst that it may do is to end the walk."""
    page, _ = Registry(ALL[:5]).page(cursor, limit)
    assert len(page) <= 5


def test_every_type_and_operation_is_decided() -> None:
    """A type or operation that somebody adds is refused until it is in the list: this fails when one is added."""
    allowed = set(registry_module._ALLOWED)
    kinds = (ProvisionerType.JWK, ProvisionerType.X5C, ProvisionerType.OIDC)
    assert allowed == {(kind, operation) for kind in kinds for operation in (Operation.SIGN, Operation.REVOKE)}
    assert set(kinds) == set(ProvisionerType)


@pytest.mark.parametrize("operation", Operation)
def test_without_an_entry_the_best_token_is_refused(operation: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2025-44005 and CVE-2026-30836: what nobody thought of was let through. Here it is refused."""
    monkeypatch.setattr(registry_module, "_ALLOWED", {})
    with pytest.raises(Unauthenticated) as caught:
        Registry([provisioner()]).authorize(operation, open_token(forge()), audiences=AUDIENCES, now=NOW)
    assert caught.value.code == "token.not-allowed"


CERTIFICATE, _ = make_root()


def test_renewal_within_the_certificates_time() -> None:
    """The ordinary case: nothing forbids it, both edges included."""
    for moment in (BEGIN, BEGIN + timedelta(days=3650)):
        authorize_renew(CERTIFICATE, provisioner(), now=moment)


def test_renewal_switched_off() -> None:
    """disableRenewal must hold for certificates that were issued before it was set."""
    off = replace(provisioner(), claims=Claims(disable_renewal=True))
    with pytest.raises(Unauthenticated) as caught:
        authorize_renew(CERTIFICATE, off, now=BEGIN)
    assert caught.value.code == "renewal.disabled"


def test_renewal_before_the_beginning() -> None:
    """A certificate for next week must not be turned into one for now."""
    with pytest.raises(Unauthenticated) as caught:
        authorize_renew(CERTIFICATE, provisioner(), now=BEGIN - timedelta(seconds=1))
    assert caught.value.code == "certificate.not-yet-valid"


def test_renewal_after_the_end() -> None:
    """Refused with the text that the step CLI shows, unless the provisioner allows it."""
    late = BEGIN + timedelta(days=3650, seconds=1)
    with pytest.raises(Unauthenticated) as caught:
        authorize_renew(CERTIFICATE, provisioner(), now=late)
    assert caught.value.code == "certificate.expired"
    assert caught.value.message == "certificate expired on 2036-11-20 00:00:00 +0000 UTC"
    authorize_renew(CERTIFICATE, replace(provisioner(), claims=Claims(allow_renewal_after_expiry=True)), now=late)
