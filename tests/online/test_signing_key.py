"""An HSM that is slow, hangs or lies, behind the issuing key: others are served, and nobody gets a bad signature."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from fakes.hierarchy import make_csr, make_pki, make_world

from online import signing_key
from online.signing_key import SigningKey
from shared.errors import Fatal, PeerFailed
from shared.keys import KeyKind, generate
from shared.keystore import HsmKey
from shared.keystore.hsm_keys import hsm_key
from shared.signing import sign

KEY = ec.generate_private_key(ec.SECP256R1())


def in_token(key: ec.EllipticCurvePrivateKey, before: Callable[[], None]) -> HsmKey:
    """Return a key as an HSM would have it, which does something before each signature."""

    def raw_sign(mechanism: object, parameters: object, digest: bytes) -> bytes:
        del mechanism, parameters
        before()
        r, s = utils.decode_dss_signature(key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256()))))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return hsm_key(key.public_key(), label="issuing", key_id=b"\x01", raw_sign=raw_sign)


async def test_a_signature_in_the_hsm_does_not_hold_up_the_loop() -> None:
    """Without a thread, one slow signature would stop health checks, handshakes and everybody's requests."""
    loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def before() -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(20)

    with SigningKey(in_token(KEY, before)) as key:
        proving = asyncio.create_task(key.prove())
        # The loop turns while the token is in its call: else the line after this one would never be reached.
        await begun.wait()
        assert not proving.done()
        go_on.set()
        await proving


async def test_behind_a_hung_hsm_nobody_queues() -> None:
    """Without the deadline, requests would pile up until clients, memory or patience end."""
    go_on = threading.Event()
    calls: list[int] = []

    def before() -> None:
        calls.append(1)
        assert go_on.wait(20)

    with SigningKey(in_token(KEY, before), seconds=0.1) as key:
        first, second = await asyncio.gather(key.prove(), key.prove(), return_exceptions=True)
        for each in (first, second):
            assert isinstance(each, PeerFailed)
            assert each.code == "hsm.overdue"
        # By now the first call is overdue: further ones are refused at once, and never reach the token.
        with pytest.raises(PeerFailed, match="in time"):
            await key.prove()
        assert calls == [1]
        go_on.set()
        while True:
            try:
                await key.prove()
                break
            except PeerFailed:
                await asyncio.sleep(0.01)
    # What had left the line was not signed after all.
    assert len(calls) == 2


@pytest.mark.parametrize("in_hsm", [False, True], ids=["memory", "hsm"])
async def test_a_signature_that_does_not_hold(in_hsm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check, a broken token or key would be found out by clients."""
    other = generate(KeyKind.EC_P256)
    monkeypatch.setattr(signing_key, "sign", lambda _key, data: sign(other, data))
    with SigningKey(in_token(KEY, lambda: None) if in_hsm else KEY) as key, pytest.raises(Fatal) as caught:
        await key.prove()
    assert caught.value.code == "issue.bad-signature"


async def test_a_certificate_that_came_too_late_is_recorded_nowhere() -> None:
    """Without this, a token could be spent, or a certificate exist, for a request that was told "not now"."""
    pki = make_pki()
    intermediate_key = pki.intermediate_key
    assert isinstance(intermediate_key, ec.EllipticCurvePrivateKey)
    go_on = threading.Event()

    def before() -> None:
        assert go_on.wait(20)

    world = make_world(pki=pki)
    with SigningKey(in_token(intermediate_key, before), seconds=0.05) as key:
        world.authority._signing = key
        token, csr = world.token("a.example.com"), make_csr("", key=KEY)
        with pytest.raises(PeerFailed):
            await world.authority.sign(csr, token)
        go_on.set()
        assert world.store.certificates == {}
        for _ in range(200):
            try:
                chain = await world.authority.sign(csr, token)
                break
            except PeerFailed:
                await asyncio.sleep(0.01)
        assert [*world.store.certificates] == [chain[0].serial_number]
