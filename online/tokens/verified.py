"""What a one-time token must say, once its signature holds, and what it then authorises.

Invariants:

* a ``VerifiedToken`` was signed by its provisioner's key, is meant for this CA and this operation, is within
  its time, lives an hour at most, and can be recorded as used under a digest that belongs to its provisioner;
* verifying consumes nothing: the use is recorded in the transaction that records what was done with it, so
  nobody without the key can burn a token or fill a table;
* a token's text is in no message, record or ``repr``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from online.claims import parse_validity
from online.jose import b64
from online.provisioners.protocol import Operation, Provisioner
from online.strict_json import Json
from online.tokens.audiences import Audiences
from shared.errors import RequestRejected, Unauthenticated
from shared.names import MOST_NAMES

LEEWAY = timedelta(seconds=60)
"""How far the clocks of a client and the CA may differ, each way."""
LONGEST_LIFE = timedelta(hours=1)
"""The longest life of a token, from nbf (or iat) to exp; the step CLI mints no longer ones either."""
LONGEST_DELAY = timedelta(minutes=30)
"""The furthest that nbf may lie after iat."""

_LONGEST_TEXT = 2048
_LONGEST_JTI = 1024
# The end of the year 9999, the last that X.509 and Python can write.
_LAST_NUMERIC_DATE = 253_402_300_799
CNF_MEMBER = "x5rt#S256"
CERTIFICATE_CLAIM = "cert"
"""A claim of ours: an object with ``notBefore`` and ``notAfter`` as ``POST /sign`` has them."""
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedToken:
    """What a verified one-time token authorises."""

    provisioner: Provisioner
    operation: Operation
    subject: str
    """The common name to certify, or the decimal serial to revoke."""
    sans: tuple[str, ...]
    """The alternative names to certify, as the token has them; empty for a revocation."""
    token_digest: str
    """SHA-256 in hex of the provisioner's ID and the token's jti: the key of the single-use record."""
    expires: datetime
    """The exp claim, aware UTC. The token is accepted ``LEEWAY`` longer, and its record must live as long."""
    cnf: str | None
    """SHA-256 in base64url of the one CSR (DER) that the token is good for; ``None`` for any."""
    credential: x509.Certificate | None = None
    """The certificate whose key signed the token (X5C): what is issued on its word does not outlive it."""
    aliases: tuple[str, ...] = ()
    """What a request may also give as its common name. It never enters a certificate."""
    unbound: bool = False
    """Its holder is an administrator (OIDC): the request, not the token, says which names or which serial."""
    not_before: datetime | None = None
    """The earliest begin of the certificate, and its begin where the request wishes none; aware UTC."""
    not_after: datetime | None = None
    """The latest end of the certificate, and its end where the request wishes none; aware UTC."""

    def window(self) -> tuple[datetime, datetime]:
        """Return the begin and end that what is issued must keep within: the token's, and the credential's."""
        begin, end = self.not_before or _EARLIEST, self.not_after or _LATEST
        if self.credential is not None:
            begin = max(begin, self.credential.not_valid_before_utc)
            end = min(end, self.credential.not_valid_after_utc)
        return begin, end


def require_times(claims: Mapping[str, Json], *, now: datetime) -> datetime:
    """Insist that a token is within its time, and that its time is short.

    1. ``exp`` is there, and ``nbf`` or ``iat`` is: a life without beginning or end cannot be capped.
    2. From the beginning (``nbf``, else ``iat``) to ``exp`` is at most an hour, and ``nbf`` is not put off.
    3. Now is inside, give or take the leeway.

    Args:
        claims: verified or not; nothing is consumed.
        now: aware UTC.

    Returns:
        The ``exp`` claim, aware UTC.

    Raises:
        Unauthenticated: ``token.times``, ``token.lifetime``, ``token.expired`` or ``token.not-yet-valid``.
    """
    # 1
    expires = _moment(claims, "exp")
    starts, issued = _moment(claims, "nbf"), _moment(claims, "iat")
    begins = issued if starts is None else starts
    if expires is None or begins is None:
        raise Unauthenticated("token.times", "the token lacks exp, or both nbf and iat")
    # 2
    if expires <= begins or expires - begins > LONGEST_LIFE:
        raise Unauthenticated("token.lifetime", "the token's life is not between nothing and an hour")
    if issued is not None and begins - issued > LONGEST_DELAY:
        raise Unauthenticated("token.lifetime", "the token's nbf lies too long after its iat")
    # 3
    if now - LEEWAY > expires:
        raise Unauthenticated("token.expired", "the token has expired")
    if now + LEEWAY < begins or (issued is not None and now + LEEWAY < issued):
        raise Unauthenticated("token.not-yet-valid", "the token is not valid yet")
    return expires


def require_text(claims: Mapping[str, Json], name: str, *, longest: int = _LONGEST_TEXT) -> str:
    """Return a claim that must be a non-empty text.

    Raises:
        Unauthenticated: ``token.claims``.
    """
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise Unauthenticated("token.claims", f"the token's claim {name} is missing, empty, too long or not text")
    return value


def verified_token(
    claims: Mapping[str, Json],
    *,
    provisioner: Provisioner,
    operation: Operation,
    audiences: Audiences,
    now: datetime,
    credential: x509.Certificate | None = None,
) -> VerifiedToken:
    """Turn claims whose signature holds into a ``VerifiedToken``.

    1. The issuer is the provisioner; the audience is this CA and this operation.
    2. The times hold.
    3. There is a subject and an ID to record; the ID is scoped to the provisioner.
    4. No SSH or registration-authority options: they belong to operations that the node does not have.
    5. Names, the certificate's times and the binding to one CSR are well-formed.

    Args:
        claims: what ``jws.verify`` returned.
        provisioner: whose key verified it.
        operation: what the caller asks for.
        audiences: the names of this CA.
        now: aware UTC.
        credential: the certificate whose key verified it, where it was one.

    Raises:
        Unauthenticated: ``token.*``.
    """
    # 1
    if require_text(claims, "iss") != provisioner.name:
        raise Unauthenticated("token.issuer", "the token's issuer is not the provisioner that signed it")
    audiences.require(operation, claims.get("aud"))
    # 2
    expires = require_times(claims, now=now)
    # 3
    subject = require_text(claims, "sub")
    identifier = require_text(claims, "jti", longest=_LONGEST_JTI)
    # 4
    if claims.get("step"):
        raise Unauthenticated("token.claims", "the token carries options of an operation that is not offered")
    # 5
    sans = _names(claims, subject) if operation is Operation.SIGN else ()
    not_before, not_after = _certificate_times(claims, now) if operation is Operation.SIGN else (None, None)
    return VerifiedToken(
        provisioner=provisioner,
        operation=operation,
        subject=subject,
        sans=sans,
        token_digest=use_digest(provisioner.id, identifier),
        expires=expires,
        cnf=_confirmation(claims),
        credential=credential,
        not_before=not_before,
        not_after=not_after,
    )


def use_digest(provisioner_id: str, identifier: str) -> str:
    """Return the digest under which the use of a token is recorded: hex SHA-256, scoped to the provisioner.

    The length in front keeps two different pairs from running together into one text.
    """
    scope = provisioner_id.encode("utf-8")
    return hashlib.sha256(len(scope).to_bytes(4, "big") + scope + identifier.encode("utf-8")).hexdigest()


def csr_confirmation(csr: x509.CertificateSigningRequest) -> str:
    """Return the ``cnf`` value that binds a token to one CSR: SHA-256 of its DER in base64url."""
    return b64.encode(hashlib.sha256(csr.public_bytes(Encoding.DER)).digest())


def check_confirmation(text: str) -> str:
    """Check a ``cnf`` value, as ``csr_confirmation`` returns it, and return it.

    Raises:
        RequestRejected: ``token.confirmation``.
    """
    with suppress(RequestRejected):
        if len(b64.decode(text, what="digest")) == hashlib.sha256().digest_size:
            return text
    raise RequestRejected(
        "token.confirmation",
        "the confirmation is not a SHA-256 digest in base64url, 43 characters long",
        hint="give the CSR itself with --cnf-file",
    )


def require_moment(claims: Mapping[str, Json], name: str) -> datetime:
    """Return a claim that must be a time, aware UTC.

    Raises:
        Unauthenticated: ``token.times``.
    """
    moment = _moment(claims, name)
    if moment is None:
        raise Unauthenticated("token.times", f"the token lacks the claim {name}")
    return moment


def _moment(claims: Mapping[str, Json], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    # JSON's true would count as 1 in Python; RFC 7519 §2 NumericDate is a number.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_NUMERIC_DATE:
        raise Unauthenticated("token.times", f"the token's claim {name} is not a time")
    return datetime.fromtimestamp(value, UTC)


def _names(claims: Mapping[str, Json], subject: str) -> tuple[str, ...]:
    value = claims.get("sans")
    if value is None and "sans" not in claims:
        return (subject,)
    if not isinstance(value, list) or len(value) > MOST_NAMES:
        raise Unauthenticated("token.claims", f"the token's claim sans is not a list of at most {MOST_NAMES} names")
    names = tuple(each for each in value if isinstance(each, str) and 0 < len(each) <= _LONGEST_TEXT)
    if len(names) != len(value):
        raise Unauthenticated("token.claims", "the token's claim sans holds something that is not a name")
    return names or (subject,)


def _certificate_times(claims: Mapping[str, Json], now: datetime) -> tuple[datetime | None, datetime | None]:
    if CERTIFICATE_CLAIM not in claims:
        return None, None
    value = claims[CERTIFICATE_CLAIM]
    texts = value if isinstance(value, dict) and set(value) <= {"notBefore", "notAfter"} else {"": None}
    if all(isinstance(each, str) for each in texts.values()):
        with suppress(RequestRejected):
            return parse_validity(
                not_before=str(texts.get("notBefore", "")), not_after=str(texts.get("notAfter", "")), now=now
            )
    raise Unauthenticated(
        "token.claims", f"the token's claim {CERTIFICATE_CLAIM} does not hold the times of a certificate"
    )


def _confirmation(claims: Mapping[str, Json]) -> str | None:
    if "cnf" not in claims:
        return None
    value = claims["cnf"]
    bound = value.get(CNF_MEMBER) if isinstance(value, dict) and set(value) == {CNF_MEMBER} else None
    # A binding that is not understood must not turn the token into one for any bearer.
    with suppress(RequestRejected):
        if isinstance(bound, str):
            return check_confirmation(bound)
    raise Unauthenticated("token.claims", "the token is bound to a proof that is not understood")
