"""One attempt to renew one pair: read, ask, check, install. The command and the agent both come through here.

Invariants:

* the pair is read from the disk anew at each attempt: whoever replaced it meanwhile is not undone, also when that
  was while the CA was asked;
* an attempt that raises left the old pair in place, whole, and where that could not be replaced asked no CA;
* a new key is encrypted as the old one was, with the same password;
* who is to be told of it is noted on the disk before the pair is replaced (``online.renewal.untold``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from online.client import Chain
from online.https import Identity
from online.key_choice import KeyChoice
from online.renewal import renew as renewing
from online.renewal import untold
from online.renewal.hooks import Renewed
from online.renewal.install import check_room, install_certificate, install_pair, write_further
from online.renewal.pair import Pair
from online.trust import Trust
from shared import durable
from shared.errors import PolicyDenied, RequestRejected
from shared.keys import KeyKind, PrivateKey, kind_of
from shared.keystore import load_private_key, open_key, private_key_pem
from shared.keystore.software import LARGEST_KEY_FILE
from shared.terminal import SecretCallback

_RSA_FLOOR = KeyChoice().rsa_bits


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """A pair as it lies on disk, its key open."""

    identity: Identity
    key_pem: bytes | None = field(repr=False)
    """The key's file; ``None`` when an HSM has it."""
    password: bytes | None = field(repr=False)
    """What opened it, if it is encrypted."""

    @property
    def chain(self) -> Chain:
        """The certificate in use, with its intermediates."""
        return self.identity.chain


@contextmanager
def in_use(pair: Pair, secret: SecretCallback) -> Iterator[InUse]:
    """Read a pair, after a rekey of it that was interrupted was completed.

    Args:
        pair: where it lies.
        secret: asked for the password or PIN of the key.

    Raises:
        RequestRejected: ``client.pair`` when certificate and key do not belong together; ``file.*``, ``key.*``.
        ColdrootError: what ``open_key`` raises.
    """
    said: list[bytes] = []

    def remembering(prompt: str) -> bytes:
        said.append(secret(prompt))
        return said[-1]

    renewing.finish_interrupted(pair.certificate, pair.key)
    chain = renewing.load_chain(pair.certificate)
    if pair.key_file is None:
        with open_key(pair.key, secret) as key:
            yield InUse(identity=renewing.check_pair(chain, key), key_pem=None, password=None)
        return
    # Read once: what is copied into further files is what was compared with the certificate.
    pem = durable.read_private(pair.key_file, limit=LARGEST_KEY_FILE)
    key = load_private_key(pem, remembering, what=f"key file {pair.key_file}")
    yield InUse(identity=renewing.check_pair(chain, key), key_pem=pem, password=said[-1] if said else None)


def renew_pair(
    pair: Pair,
    trust: Trust,
    secret: SecretCallback,
    *,
    now: datetime,
    out: Path | None = None,
    rng: renewing.Rng = os.urandom,
) -> Renewed:
    """Renew a pair, for the same key or for a new one, and install what came.

    Args:
        pair: what, and how.
        trust: the CA.
        secret: as for ``in_use``.
        now: aware UTC.
        out: where the new certificate goes, instead of over the old one.
        rng: returns the asked number of random bytes.

    Raises:
        ColdrootError: nothing changed, or (``file.write-failed`` about a further file) all but that file did.
    """
    with in_use(pair, secret) as old:
        if out is None:
            check_room(pair.certificate, pair.key_file if pair.rekey else None)
        if pair.rekey:
            chain = _rekeyed(pair, trust, old, now=now, rng=rng)
            if chain is not None:
                return pair.renewed(old.chain[0], chain[0])
        chain = renewing.renew(trust, old.identity, mtls=pair.mtls, now=now, rng=rng)
        further = pair.outputs.render(chain, old.identity.key, old.key_pem)
        if out is None:
            untold.promise(pair, old.chain[0])
        replacing = old.chain[0] if out is None else None
        place = out or pair.certificate
        install_certificate(place, chain, overwrite=True, key=pair.key_file, further=further, replacing=replacing)
        return pair.renewed(old.chain[0], chain[0], place=place)


def refresh_outputs(pair: Pair, secret: SecretCallback) -> None:
    """Write those further files anew that do not hold the pair: an interrupted run left them, or they are new.

    Raises:
        ColdrootError: as ``in_use``, and what ``Outputs.stale`` and ``write_further`` raise.
    """
    if pair.outputs:
        with in_use(pair, secret) as current:
            write_further(pair.outputs.stale(current.chain, current.identity.key, current.key_pem))


def _rekeyed(pair: Pair, trust: Trust, old: InUse, *, now: datetime, rng: renewing.Rng) -> Chain | None:
    """Rekey and install; ``None`` when the CA takes no token for that, and the old key has to do once more."""
    assert pair.key_file is not None
    new_key = _like(old.identity.key)
    try:
        chain = renewing.rekey(trust, old.identity, new_key, now=now, mtls=pair.mtls, rng=rng)
    except (RequestRejected, PolicyDenied):
        if pair.mtls and renewing.may_use_tls(old.chain[0], now=now):
            raise
        # A step-ca rekeys over TLS only. Renewed by token, the certificate can rekey next time.
        return None
    pem = private_key_pem(new_key, old.password)
    further = pair.outputs.render(chain, new_key, pem)
    untold.promise(pair, old.chain[0])
    install_pair(pair.certificate, pair.key_file, chain, pem, overwrite=True, further=further, replacing=old.chain[0])
    return chain


def _like(key: PrivateKey) -> PrivateKey:
    """Make a key of the same kind and size."""
    kind = kind_of(key)
    bits = getattr(key, "key_size", _RSA_FLOOR) if kind is KeyKind.RSA else _RSA_FLOOR
    return KeyChoice(kind=kind, rsa_bits=bits).generate()
