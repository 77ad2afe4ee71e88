"""Minting one-time tokens, shaped as the step CLI's: by a provisioner's key, with or without contact to the CA.

Invariants: a minted token lives between ten seconds and an hour, starts within half an hour, has a fresh 256-bit
ID, and names one audience; so the CA's own checks pass by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from cryptography import x509

from online.claims import parse_validity
from online.jose import jws, x5c
from online.jose.jwk import PrivateJwk, thumbprint
from online.strict_json import JsonObject
from online.tokens.verified import CERTIFICATE_CLAIM, CNF_MEMBER, LONGEST_DELAY, LONGEST_LIFE
from shared.clock import whole_seconds
from shared.durations import format_duration
from shared.errors import RequestRejected
from shared.keys import PrivateKey, certificate_key
from shared.names import common_name_of, parse_sans

Rng = Callable[[int], bytes]

SHORTEST_LIFE = timedelta(seconds=10)
DEFAULT_LIFE = timedelta(minutes=5)
RENEW_ISSUER = "step-ca-client/1.0"
RENEW_HEADER = "x5cInsecure"
_JTI_BYTES = 32


def mint_sign_token(
    signer: PrivateJwk,
    *,
    issuer: str,
    audience: str,
    subject: str,
    sans: Sequence[str],
    root_fingerprint: str,
    now: datetime,
    rng: Rng,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    cnf: str | None = None,
    user: JsonObject | None = None,
    chain: Sequence[x509.Certificate] = (),
    cert_not_before: str = "",
    cert_not_after: str = "",
) -> str:
    """Mint a token for one certificate.

    Args:
        signer: the provisioner's private key.
        issuer: the provisioner's name.
        audience: as ``audience`` or ``offline_audience`` returns it.
        subject: the common name to certify.
        sans: the alternative names; empty for the subject alone.
        root_fingerprint: hex SHA-256 of the root's DER: with it, a client without configuration finds trust.
        now: aware UTC.
        rng: returns the asked number of random bytes.
        not_before: when the token begins to be valid, aware UTC; now by default.
        not_after: when it ends, aware UTC; five minutes after its beginning by default.
        cnf: binds the token to one CSR, see ``csr_confirmation``.
        user: free data for templates.
        chain: for an X5C provisioner, the certificate of ``signer`` and its issuers; the root may be left out.
        cert_not_before: the earliest begin of the certificate: RFC 3339, or a duration from when it is issued.
        cert_not_after: its latest end, likewise, or from its begin when that is given.

    Raises:
        RequestRejected: ``token.lifetime``, ``token.subject``, ``key.mismatch``, ``time.malformed`` or ``name.*``.
    """
    if not subject:
        raise RequestRejected("token.subject", "a token needs a subject")
    names = list(sans) or [subject]
    # The CA checks again; here a typing error is told before the token is carried anywhere.
    parse_sans(names)
    parse_validity(not_before=cert_not_before, not_after=cert_not_after, now=now)
    extra: JsonObject = {"sans": [*names], "sha": root_fingerprint}
    if cert_not_before or cert_not_after:
        times = {"notBefore": cert_not_before, "notAfter": cert_not_after}
        extra[CERTIFICATE_CLAIM] = {name: each for name, each in times.items() if each}
    if cnf is not None:
        extra["cnf"] = {CNF_MEMBER: cnf}
    if user is not None:
        extra["user"] = user
    return _mint(
        signer,
        {**extra, "iss": issuer, "aud": audience, "sub": subject},
        now=now,
        rng=rng,
        not_before=not_before,
        not_after=not_after,
        chain=chain,
    )


def mint_revoke_token(
    signer: PrivateJwk,
    *,
    issuer: str,
    audience: str,
    serial: int,
    root_fingerprint: str,
    now: datetime,
    rng: Rng,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    chain: Sequence[x509.Certificate] = (),
) -> str:
    """Mint a token that revokes one certificate.

    Args:
        signer: the provisioner's private key.
        issuer: the provisioner's name.
        audience: as for ``mint_sign_token``, for the operation revoke.
        serial: the certificate's serial number, positive.
        root_fingerprint: as for ``mint_sign_token``.
        now: aware UTC.
        rng: returns the asked number of random bytes.
        not_before: as for ``mint_sign_token``.
        not_after: as for ``mint_sign_token``.
        chain: as for ``mint_sign_token``.

    Raises:
        RequestRejected: ``token.lifetime`` or ``key.mismatch``.
    """
    return _mint(
        signer,
        {"sha": root_fingerprint, "iss": issuer, "aud": audience, "sub": str(serial)},
        now=now,
        rng=rng,
        not_before=not_before,
        not_after=not_after,
        chain=chain,
    )


def mint_renew_token(
    chain: Sequence[x509.Certificate],
    key: PrivateKey,
    *,
    audience: str,
    now: datetime,
    rng: Rng,
    cnf: str | None = None,
) -> str:
    """Mint a token that renews or rekeys a certificate by proof of possession, for when mutual TLS is not possible.

    The chain goes into the header member ``x5cInsecure``, where step puts it: a library that knew ``x5c`` would
    refuse the token of a certificate that has expired.

    Args:
        chain: the certificate, then its issuers, the root left out.
        key: the certificate's private key.
        audience: as ``audience`` returns it for the operation renew or rekey.
        now: aware UTC.
        rng: returns the asked number of random bytes.
        cnf: for a rekey, the digest of the request with the new key, see ``csr_confirmation``: whoever gets hold of
            the token cannot put a key of their own in.

    Raises:
        RequestRejected: ``key.mismatch``, or ``name.common-name`` for an odd subject.
    """
    _check_pair(chain, key)
    start = int(now.timestamp())
    claims: JsonObject = {
        "aud": audience,
        "exp": start + int(DEFAULT_LIFE.total_seconds()),
        "iat": start,
        "iss": RENEW_ISSUER,
        # step-ca needs none; with it, two tokens of one second differ even under deterministic Ed25519.
        "jti": rng(_JTI_BYTES).hex(),
        "nbf": start,
        "sub": common_name_of(chain[0].subject),
    }
    if cnf is not None:
        claims["cnf"] = {CNF_MEMBER: cnf}
    return jws.sign(claims, key, header={"kid": thumbprint(key.public_key()), RENEW_HEADER: x5c.write_chain(chain)})


def token_life(*, now: datetime, not_before: datetime | None, not_after: datetime | None) -> tuple[datetime, datetime]:
    """Return begin and end of a token, judged before any key is opened or CA asked.

    Args:
        now: aware UTC.
        not_before: when it begins; now when not given.
        not_after: when it ends; after the usual life when not given.

    Raises:
        RequestRejected: ``token.lifetime``.
    """
    begins = whole_seconds(now if not_before is None else not_before)
    ends = begins + DEFAULT_LIFE if not_after is None else whole_seconds(not_after)
    if not SHORTEST_LIFE <= ends - begins <= LONGEST_LIFE:
        raise RequestRejected(
            "token.lifetime",
            f"a token lives from {format_duration(SHORTEST_LIFE)} to {format_duration(LONGEST_LIFE)},"
            f" not {format_duration(ends - begins)}",
        )
    if begins - now > LONGEST_DELAY or ends <= now:
        raise RequestRejected(
            "token.lifetime", f"a token must not have ended, and starts at most {format_duration(LONGEST_DELAY)} ahead"
        )
    return begins, ends


def _mint(
    signer: PrivateJwk,
    said: JsonObject,
    *,
    now: datetime,
    rng: Rng,
    not_before: datetime | None,
    not_after: datetime | None,
    chain: Sequence[x509.Certificate],
) -> str:
    header: JsonObject = {"kid": signer.kid}
    if chain:
        _check_pair(chain, signer.key)
        header[x5c.MEMBER] = x5c.write_chain(chain)
    begins, ends = token_life(now=now, not_before=not_before, not_after=not_after)
    claims: JsonObject = {
        **said,
        "exp": int(ends.timestamp()),
        "iat": int(now.timestamp()),
        "jti": rng(_JTI_BYTES).hex(),
        "nbf": int(begins.timestamp()),
    }
    return jws.sign(claims, signer.key, header=header, algorithm=signer.algorithm)


def _check_pair(chain: Sequence[x509.Certificate], key: PrivateKey) -> None:
    if certificate_key(chain[0]) != key.public_key():
        raise RequestRejected("key.mismatch", "the private key does not belong to the certificate")
