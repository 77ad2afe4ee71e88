"""The promises of the Store protocol, kept by every kind of database and by the fake that stands in for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from fakes.clock import NOON
from fakes.databases import KINDS, fresh_store
from fakes.rows import certificate_row, revocation_of, token_use
from fakes.store import MemoryStore

from online.store import Store, TokenUse
from shared.errors import PolicyDenied, RequestRejected, StoreFailed, Unauthenticated
from shared.serials import LARGEST_SERIAL


@pytest_asyncio.fixture(params=[*KINDS, "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    opened = await fresh_store(request.param, tmp_path)
    yield opened
    await opened.close()


async def test_a_recorded_certificate_comes_back_as_it_went_in(store: Store) -> None:
    """Renewal trusts the row: a field that changes on the way would renew for the wrong provisioner."""
    row = certificate_row(parent=None)
    child = certificate_row(parent=row.serial)
    await store.record_certificate(token=token_use(), certificate=row)
    await store.record_certificate(token=None, certificate=child)
    assert await store.certificate(row.serial) == row
    assert await store.certificate(child.serial) == child
    assert await store.certificate(12345) is None


@pytest.mark.parametrize("serial", [1, 15, 16, 1 << 63, 1 << 64, (1 << 127) - 1, LARGEST_SERIAL])
async def test_serials_of_any_size_are_one_number(store: Store, serial: int) -> None:
    """A serial that is cut, signed or written in two forms hides a revocation (a CVE of 2026 elsewhere)."""
    await store.record_certificate(token=None, certificate=certificate_row(serial=serial))
    await store.record_revocation(token=None, revocation=revocation_of(serial))
    found = await store.certificate(serial)
    revoked = await store.revocation(serial)
    assert found is not None
    assert revoked is not None
    assert found.serial == revoked.serial == serial
    assert await store.revocation(serial + 1) is None


async def test_a_token_is_good_for_one_certificate(store: Store) -> None:
    """A replayed token would issue a second certificate."""
    first, second = certificate_row(), certificate_row()
    await store.record_certificate(token=token_use(), certificate=first)
    with pytest.raises(Unauthenticated) as refusal:
        await store.record_certificate(token=token_use(), certificate=second)
    assert refusal.value.code == "token.used"
    assert await store.certificate(second.serial) is None


async def test_tokens_are_apart_by_provisioner(store: Store) -> None:
    """One provisioner could burn another's tokens by guessing their IDs."""
    await store.record_certificate(token=token_use(provisioner="a"), certificate=certificate_row())
    await store.record_certificate(token=token_use(provisioner="b"), certificate=certificate_row())


async def test_a_token_for_signing_cannot_revoke_afterwards(store: Store) -> None:
    """Single use must hold across operations, not a table each."""
    await store.record_certificate(token=token_use(), certificate=certificate_row())
    with pytest.raises(Unauthenticated):
        await store.record_revocation(token=token_use(), revocation=revocation_of(7))
    assert await store.revocation(7) is None


async def test_rivals_for_one_token_get_one_certificate(store: Store) -> None:
    """Two requests at once with one token: a look before the insert would let both through."""
    rows = [certificate_row() for _ in range(20)]
    results = await asyncio.gather(
        *(store.record_certificate(token=token_use(), certificate=row) for row in rows), return_exceptions=True
    )
    assert sum(result == 0 for result in results) == 1
    assert all(result == 0 or isinstance(result, Unauthenticated) for result in results)
    found = [await store.certificate(row.serial) for row in rows]
    assert sum(row is not None for row in found) == 1


async def test_a_revoked_parent_has_no_children(store: Store) -> None:
    """A renewal that overlaps the revocation would keep the thief's access alive."""
    parent = certificate_row()
    await store.record_certificate(token=None, certificate=parent)
    await store.record_revocation(token=token_use("r"), revocation=revocation_of(parent.serial))
    child = certificate_row(parent=parent.serial)
    with pytest.raises(Unauthenticated) as refusal:
        await store.record_certificate(token=token_use("n"), certificate=child)
    assert refusal.value.code == "certificate.revoked"
    assert await store.certificate(child.serial) is None
    # The refused renewal used nothing up.
    await store.record_certificate(token=token_use("n"), certificate=certificate_row())


async def test_a_certificate_is_revoked_once(store: Store) -> None:
    """A second revocation must not change the date or reason of the first; step's text is what clients compare."""
    await store.record_revocation(token=None, revocation=revocation_of(7))
    with pytest.raises(RequestRejected) as refusal:
        await store.record_revocation(token=token_use("second"), revocation=revocation_of(7))
    assert refusal.value.code == "certificate.already-revoked"
    assert refusal.value.message == "certificate with serial number '7' is already revoked"
    assert await store.revocation(7) == revocation_of(7)
    # The token was answered, so it is spent: a third try hears of the token, as with step-ca.
    with pytest.raises(Unauthenticated):
        await store.record_revocation(token=token_use("second"), revocation=revocation_of(7))


async def test_a_compromised_key_gets_nothing_more(store: Store) -> None:
    """Whoever stole the key would just have it certified again."""
    await store.record_revocation(token=None, revocation=revocation_of(7, key="stolen"))
    row = certificate_row(key="stolen")
    with pytest.raises(PolicyDenied) as refusal:
        await store.record_certificate(token=token_use(), certificate=row)
    assert refusal.value.code == "key.compromised"
    assert await store.certificate(row.serial) is None
    await store.record_certificate(token=token_use(), certificate=certificate_row(key="another"))


async def test_a_taken_serial_is_refused_with_its_token(store: Store) -> None:
    """After a restore from backup a serial could return; neither half of the transaction may stay."""
    row = certificate_row()
    await store.record_certificate(token=None, certificate=row)
    with pytest.raises(StoreFailed):
        await store.record_certificate(
            token=token_use(), certificate=certificate_row(serial=row.serial, subject="CN=b")
        )
    assert await store.certificate(row.serial) == row
    await store.record_certificate(token=token_use(), certificate=certificate_row())


async def test_one_that_fails_takes_no_other_along(store: Store) -> None:
    """They share a transaction and know nothing of each other: what is wrong with one is its own affair."""
    taken = certificate_row()
    await store.record_certificate(token=None, certificate=taken)
    rows = [certificate_row(serial=taken.serial if at == 3 else None, subject=f"CN={at}") for at in range(8)]
    results = await asyncio.gather(
        *(store.record_certificate(token=token_use(str(at)), certificate=row) for at, row in enumerate(rows)),
        return_exceptions=True,
    )
    assert isinstance(results.pop(3), StoreFailed)
    assert results == [0] * 7
    await store.record_certificate(token=token_use("3"), certificate=certificate_row())


async def test_old_tokens_are_forgotten_and_others_are_not(store: Store) -> None:
    """A table that only grows fills the disk; one that forgets too early lets tokens be replayed."""
    old, current = token_use("old", expires=NOON - timedelta(days=2)), token_use("current", expires=NOON)
    for use in (old, current):
        await store.record_certificate(token=use, certificate=certificate_row())
    assert await store.forget_tokens(expired_before=NOON - timedelta(days=1)) == 1
    assert await store.forget_tokens(expired_before=NOON - timedelta(days=1)) == 0
    await store.record_certificate(token=old, certificate=certificate_row())
    with pytest.raises(Unauthenticated):
        await store.record_certificate(token=current, certificate=certificate_row())


async def test_a_closed_store_says_so(store: Store) -> None:
    """A request during shutdown must get an answer, not hang."""
    await store.ready()
    await store.close()
    for call in (
        store.ready(),
        store.record_certificate(token=None, certificate=certificate_row()),
        store.revocation(1),
        store.certificate(1),
    ):
        with pytest.raises(StoreFailed):
            await call


@pytest.mark.parametrize("digest", ["", "00", "A" * 64, "g" * 64, "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"])
def test_only_a_digest_can_be_recorded_as_a_use(digest: str) -> None:
    """A raw token in the database is a token for whoever reads the backup."""
    with pytest.raises(ValueError, match="digest"):
        TokenUse(provisioner_id="p", digest=digest, expires=NOON)
