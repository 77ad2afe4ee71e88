"""Getting a new certificate: a key, a request for it that fits the token, and an answer that was checked.

Invariants: what a token says is used before its verification only to build the request and to find the CA: the CA
verifies it; no certificate is handed on that is not for our key and under the trusted root.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from online.claims import parse_validity
from online.client import Chain
from online.home import parse_fingerprint
from online.https import CaUrl, parse_ca_url
from online.jose import jws, x5c
from online.provisioners.oidc import identity_uri
from online.renewal.check import check_issued
from online.strict_json import Json
from online.tokens import CERTIFICATE_CLAIM
from online.trust import TokenHint, Trust
from shared import names
from shared.clock import rfc3339
from shared.errors import RequestRejected
from shared.keys import PrivateKey, csr_key, kind_of, signature_hash

_ORIGIN = re.compile(r"(https://[^/]+)/.*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFacts:
    """What an unverified one-time token says."""

    subject: str
    sans: tuple[str, ...]
    hint: TokenHint
    is_identity: bool = False
    """An ID token of an OpenID Connect issuer: its holder, if an administrator, may ask for other names too."""
    not_before: str = ""
    """When the certificate shall begin, as ``POST /sign`` has it; empty when the token leaves it open."""
    not_after: str = ""


def read_token(token: str) -> TokenFacts:
    """Read what a one-time token says, without verifying it.

    Raises:
        Unauthenticated: ``token.*`` when it is no well-formed token.
    """
    claims = jws.split_unverified(token, key_members=frozenset({x5c.MEMBER})).claims
    if _is_identity(claims):
        return _identity_facts(claims)
    subject, sans, root, audience = (claims.get(each) for each in ("sub", "sans", "sha", "aud"))
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    if not isinstance(subject, str) or not subject:
        raise RequestRejected("token.subject", "the token names no subject")
    listed = tuple(each for each in sans if isinstance(each, str)) if isinstance(sans, list) else ()
    times = claims.get(CERTIFICATE_CLAIM)
    before, after = (times.get(each) if isinstance(times, dict) else "" for each in ("notBefore", "notAfter"))
    return TokenFacts(
        subject=subject,
        not_before=before if isinstance(before, str) else "",
        not_after=after if isinstance(after, str) else "",
        sans=listed or (subject,),
        hint=TokenHint(
            url=_origin(audience) if isinstance(audience, str) else None,
            fingerprint=parse_fingerprint(root, what="the token's root") if isinstance(root, str) else None,
        ),
    )


def is_identity_token(token: str) -> bool:
    """Tell whether a text is the ID token of an OpenID Connect issuer; nothing about it is verified."""
    try:
        return read_token(token).is_identity
    except RequestRejected:
        return False


def make_csr(key: PrivateKey, subject: str, sans: Sequence[str]) -> x509.CertificateSigningRequest:
    """Make a request for a key and names.

    Args:
        key: signs the request.
        subject: the common name.
        sans: the alternative names, of any kind.

    Raises:
        RequestRejected: ``name.*``.
    """
    builder = x509.CertificateSigningRequestBuilder(names.subject(common=subject))
    alternative = x509.SubjectAlternativeName(names.parse_sans(sans).general_names())
    return builder.add_extension(alternative, critical=False).sign(key, signature_hash(kind_of(key)))


def csr_names(csr: x509.CertificateSigningRequest) -> tuple[str, tuple[str, ...]]:
    """Return the subject and the alternative names that a request asks for.

    Raises:
        RequestRejected: ``csr.no-name`` or ``name.*``.
    """
    try:
        sans = names.sans_of(csr.extensions).texts()
    except (ValueError, x509.DuplicateExtension):
        raise RequestRejected("csr.malformed", "an extension of the request cannot be read") from None
    subject = names.common_name_of(csr.subject) or (sans[0] if sans else "")
    if not subject:
        raise RequestRejected("csr.no-name", "the request names nobody")
    return subject, sans or (subject,)


def check_wishes(*, not_before: str, not_after: str, now: datetime) -> None:
    """Refuse times that no CA can grant, before a key is made and a token is spent. The rest is for the CA to judge.

    Args:
        not_before: RFC 3339, a duration from now, or empty.
        not_after: the same; a duration counts from ``not_before``.
        now: aware UTC.

    Raises:
        RequestRejected: ``time.malformed``, ``validity.in-the-past`` or ``validity.reversed``.
    """
    start, end = parse_validity(not_before=not_before, not_after=not_after, now=now)
    if end is None:
        return
    if end <= now:
        raise RequestRejected("validity.in-the-past", f"--not-after is in the past: {rfc3339(end)}")
    if start is not None and end <= start:
        raise RequestRejected("validity.reversed", f"--not-after ({rfc3339(end)}) is not after --not-before")


def certify(
    trust: Trust,
    csr: x509.CertificateSigningRequest,
    token: str,
    *,
    not_before: str,
    not_after: str,
    now: datetime,
) -> Chain:
    """Have a request signed and check the answer.

    Args:
        trust: the CA.
        csr: the request.
        token: for its names. What it says of the certificate's times is asked for, where nothing else is: a CA that
            does not know the claim would give its default.
        not_before: as ``Client.sign`` takes it.
        not_after: as ``Client.sign`` takes it.
        now: aware UTC.

    Raises:
        Unauthenticated: the token does not hold.
        PolicyDenied: the CA does not allow names or times.
        PeerFailed: ``issued.other-key``, ``trust.chain`` or ``ca.*``.
    """
    key = csr_key(csr)
    facts = read_token(token)
    chain = trust.client().sign(
        csr, token, not_before=not_before or facts.not_before, not_after=not_after or facts.not_after
    )
    check_issued(chain, key, trust.roots, now=now)
    return chain


def _is_identity(claims: Mapping[str, Json]) -> bool:
    """Tell ID tokens from tokens that were made for a CA, as step tells them: those have one of its own claims."""
    issuer = claims.get("iss")
    return isinstance(issuer, str) and issuer.startswith("https://") and not {"sha", "sans"} & claims.keys()


def _identity_facts(claims: Mapping[str, Json]) -> TokenFacts:
    email, subject = claims.get("email"), claims.get("sub")
    known = email if isinstance(email, str) and email else subject
    if not isinstance(known, str) or not known:
        raise RequestRejected("token.subject", "the token names no subject")
    # Without an address, the only name that such a token gives is the URI of the issuer and its subject.
    sans = (known,) if known == email else (identity_uri(str(claims["iss"]), known),)
    return TokenFacts(subject=known, sans=sans, hint=TokenHint(url=None, fingerprint=None), is_identity=True)


def _origin(audience: str) -> CaUrl | None:
    match = _ORIGIN.fullmatch(audience)
    try:
        return parse_ca_url(match[1]) if match else None
    except RequestRejected:
        return None
