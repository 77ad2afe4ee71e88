"""Judging any JSON Web Token by the letter of RFC 7519, RFC 7515 and RFC 8725.

This is the judge of ``online jwt verify``, for whoever receives tokens; the node's own tokens have their own, narrower
one in ``online.tokens``. Invariants:

* nothing in a token says how it is verified: key, algorithm and expectations come from the caller;
* a check that fails is named, with the paragraph that asks for it; a token is either accepted whole or refused;
* time is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from online.jose import b64, jws
from online.jose.jwk import algorithm_for, check_algorithm
from online.jose.jws import LARGEST_TOKEN, UnverifiedToken
from online.jose.trusted_keys import TrustedKey
from online.strict_json import Json, parse_object
from shared.clock import rfc3339
from shared.errors import RequestRejected, Unauthenticated
from shared.keys import KeyKind, kind_of
from shared.names import printable

_PARTS = 3
_JWE_PARTS = 5
_RULES = {
    "form": "RFC 7519 §7.2",
    "alg": "RFC 8725 §3.1",
    "kid": "RFC 7515 §4.1.4",
    "crit": "RFC 7515 §4.1.11",
    "b64": "RFC 7797 §6",
    "typ": "RFC 8725 §3.11",
    "cty": "RFC 7519 §5.2",
    "signature": "RFC 7515 §5.2",
    "iss": "RFC 7519 §4.1.1",
    "sub": "RFC 7519 §4.1.2",
    "aud": "RFC 7519 §4.1.3",
    "exp": "RFC 7519 §4.1.4",
    "nbf": "RFC 7519 §4.1.5",
    "iat": "RFC 7519 §4.1.6",
    "jti": "RFC 7519 §4.1.7",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the receiver of a token expects of it."""

    issuer: str | None
    """``None``: any."""
    audience: str | None
    """The receiver's own name; ``None``: not checked."""
    now: datetime
    """Aware UTC."""
    subject: str | None = None
    """``None``: any."""
    algorithm: str | None = None
    """``None``: the one that goes with the key, if there is only one."""
    any_algorithm: bool = False
    """Let the token choose among the algorithms that suit the key. Only RSA keys have more than one."""
    kid: str | None = None
    typ: str | None = None
    """``None``: a plain JWT. A special kind of token, such as ``at+jwt``, must be asked for."""
    leeway: timedelta = timedelta(0)
    """How far the clocks of both sides may be apart."""
    end_required: bool = True
    """Whether a token without ``exp`` is refused."""


def read_jwt(text: str) -> UnverifiedToken:
    """Take a token apart to look at it; nothing is verified, and any header is shown.

    Raises:
        Unauthenticated: ``jwt.form``.
    """
    if len(text) > LARGEST_TOKEN:
        raise _failed("form", f"the token is longer than {LARGEST_TOKEN} characters")
    parts = text.split(".")
    if len(parts) == _JWE_PARTS:
        raise _failed("form", "the token is encrypted (JWE); only signed tokens are read")
    if len(parts) != _PARTS:
        raise _failed("form", "the token is not three parts joined by dots")
    try:
        header = parse_object(b64.decode(parts[0], what="token's header"), what="token's header")
        signature = b64.decode(parts[2], what="token's signature")
        if _text(header, "cty").upper() == "JWT":
            raise _failed("cty", "the payload is another token; nested tokens are not read")
        claims = parse_object(b64.decode(parts[1], what="token's payload"), what="token's payload")
    except Unauthenticated:
        raise
    except RequestRejected as error:
        raise _failed("form", error.message) from None
    return UnverifiedToken(text=text, header=header, claims=claims, signature=signature)


def verify_jwt(text: str, keys: Sequence[TrustedKey], expected: Expected) -> UnverifiedToken:
    """Accept a token, or say which check it fails.

    1. The form: three parts of strict base64url, two strict JSON objects.
    2. The header: no ``none``, no shared secret, no extension that must be understood, the expected kind.
    3. The key: the one that the caller named, never one out of the token.
    4. The algorithm: the one that belongs to the key.
    5. The signature.
    6. The claims: well-formed, then issuer, subject, audience, then time.

    Args:
        text: the compact token.
        keys: those that the caller trusts.
        expected: what the caller expects.

    Returns:
        The token, now verified.

    Raises:
        Unauthenticated: ``jwt.CHECK`` with the name of the check, such as ``jwt.exp``.
        RequestRejected: ``jwt.which-algorithm`` or ``jwt.which-key`` when the caller's own side is not clear.
    """
    # 1
    token = read_jwt(text)
    # 2
    _check_header(token.header, expected)
    # 3
    trusted = _choose(token, keys, expected.kid)
    # 4
    algorithm = _agreed_algorithm(token, trusted, expected)
    # 5
    try:
        jws.verify(token, trusted.key, algorithm=algorithm)
    except Unauthenticated as error:
        raise _failed("signature", error.message) from None
    # 6
    _check_claims(token.claims, expected)
    return token


def _check_header(header: Mapping[str, Json], expected: Expected) -> None:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or not algorithm:
        raise _failed("alg", "the token names no algorithm")
    if algorithm.lower() == "none":
        raise _failed("alg", "the token is not signed (none)")
    if algorithm.startswith("HS"):
        raise _failed(
            "alg", f"{printable(algorithm)} is a shared secret's; only signatures of private keys are accepted"
        )
    if "crit" in header:
        raise _failed("crit", "the token demands an extension, and none is understood")
    if "b64" in header:
        raise _failed("b64", "the token's payload may not be base64url")
    kind, wanted = _text(header, "typ"), expected.typ or "JWT"
    if _media_type(kind or "JWT") != _media_type(wanted):
        raise _failed("typ", f"the token is of the kind {printable(kind)}, not {printable(wanted)}")


def _media_type(text: str) -> str:
    # RFC 7515 §4.1.9: "application/" may be left out, and case means nothing.
    return text.lower().removeprefix("application/")


def _choose(token: UnverifiedToken, keys: Sequence[TrustedKey], kid: str | None) -> TrustedKey:
    named = _text(token.header, "kid")
    if kid is not None and named not in {"", kid}:
        raise _failed("kid", f"the token is for the key {printable(named)}, not {printable(kid)}")
    wanted = kid or named
    fitting = [each for each in keys if not wanted or each.kid == wanted or (len(keys) == 1 and not each.kid)]
    if not fitting:
        raise _failed("kid", f"the token is for the key {printable(wanted)}, which is not among those given")
    if len(fitting) > 1:
        raise RequestRejected(
            "jwt.which-key", f"{len(fitting)} of the keys given fit the token", hint="name the right one with --kid"
        )
    return fitting[0]


def _agreed_algorithm(token: UnverifiedToken, trusted: TrustedKey, expected: Expected) -> str:
    """Decide on the algorithm before the token is asked, so that it cannot choose a weaker one."""
    if expected.algorithm is not None:
        agreed = check_algorithm(expected.algorithm, trusted.key)
        if trusted.algorithm not in {None, agreed}:
            raise RequestRejected("jwt.which-algorithm", f"--alg says {agreed}, the key says {trusted.algorithm}")
    elif trusted.algorithm is not None:
        agreed = trusted.algorithm
    elif kind_of(trusted.key) is not KeyKind.RSA:
        agreed = algorithm_for(trusted.key)
    elif expected.any_algorithm:
        try:
            agreed = check_algorithm(token.algorithm, trusted.key)
        except RequestRejected as error:
            raise _failed("alg", error.message) from None
    else:
        raise RequestRejected(
            "jwt.which-algorithm",
            "an RSA key goes with several algorithms, and the key file names none",
            hint="say which one with --alg, for example --alg RS256",
        )
    if token.algorithm != agreed:
        raise _failed("alg", f"the token is signed with {printable(token.algorithm)}, the key is for {agreed}")
    return agreed


def _check_claims(claims: Mapping[str, Json], expected: Expected) -> None:
    for name in ("iss", "sub", "jti"):
        if name in claims and not isinstance(claims[name], str):
            raise _failed(name, f"{name} is not text")
    for name in ("iss", "sub"):
        _check_string_or_uri(name, claims.get(name))
    audiences = _audiences(claims)
    _check_text(claims, "iss", expected.issuer, "issued by")
    _check_text(claims, "sub", expected.subject, "about")
    if expected.audience is not None and expected.audience not in audiences:
        meant = ", ".join(printable(each) for each in audiences[:5]) or "nobody in particular"
        raise _failed("aud", f"the token is for {meant}, not for {printable(expected.audience)}")
    _check_times(claims, expected)


def _audiences(claims: Mapping[str, Json]) -> list[str]:
    value = claims.get("aud", [])
    listed = value if isinstance(value, list) else [value]
    audiences = [each for each in listed if isinstance(each, str)]
    if len(audiences) != len(listed):
        raise _failed("aud", "aud is neither text nor a list of texts")
    for each in audiences:
        _check_string_or_uri("aud", each)
    return audiences


def _check_text(claims: Mapping[str, Json], name: str, wanted: str | None, relation: str) -> None:
    if wanted is None or claims.get(name) == wanted:
        return
    found = claims.get(name)
    shown = printable(found) if isinstance(found, str) else "nobody it names"
    raise _failed(name, f"the token is {relation} {shown}, not {printable(wanted)}")


def _check_string_or_uri(name: str, value: Json) -> None:
    """Hold a StringOrURI to its definition: a text with a colon must be a URI (RFC 7519 §2)."""
    if not isinstance(value, str) or ":" not in value:
        return
    try:
        scheme = urlsplit(value).scheme
    except ValueError:
        scheme = ""
    if not scheme:
        raise _failed(name, f"{name} has a colon and is not a URI")


def _check_times(claims: Mapping[str, Json], expected: Expected) -> None:
    now, leeway = expected.now.timestamp(), expected.leeway.total_seconds()
    end, begin, made = (_number(claims, name) for name in ("exp", "nbf", "iat"))
    if end is None and expected.end_required:
        raise _failed("exp", "the token has no end")
    if end is not None and now >= end + leeway:
        raise _failed("exp", f"the token expired at {_moment(end)}")
    if begin is not None and now < begin - leeway:
        raise _failed("nbf", f"the token is not valid before {_moment(begin)}")
    if made is not None and now < made - leeway:
        raise _failed("iat", f"the token was made in the future, at {_moment(made)}")


def _number(claims: Mapping[str, Json], name: str) -> int | float | None:
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _failed(name, f"{name} is not a number of seconds")
    return value


def _moment(seconds: float) -> str:
    try:
        return rfc3339(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, OSError, ValueError):
        return "a time beyond the calendar"


def _text(header: Mapping[str, Json], name: str) -> str:
    value = header.get(name, "")
    if not isinstance(value, str):
        raise _failed(name, f"{name} is not text")
    return value


def _failed(check: str, why: str) -> Unauthenticated:
    return Unauthenticated(f"jwt.{check}", f"{check} ({_RULES[check]}): {why}")
