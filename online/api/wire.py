"""The shapes of request bodies, read strictly where step-ca reads leniently.

What step-ca lets pass and clients rely on stays: keys match without regard to case, unknown keys are ignored,
``null`` and ``""`` mean "not given". What could make two readers see two different requests is refused: a key that
occurs twice (in any case), bytes that are not UTF-8, NaN and infinities, lone surrogates, deep nesting, anything
behind the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509

from online.strict_json import Json, parse_object
from shared import pem, serials
from shared.crl import Reason
from shared.errors import RequestRejected, Unsupported

# An honest request has one object, and template data perhaps a few dozen values within.
_MOST_CONTAINERS = 1000
_MOST_VALUES = 10_000
_REASON_CODES = frozenset(map(int, Reason))
_LONGEST_REASON = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SignRequest:
    """The body of ``POST /sign``."""

    csr: x509.CertificateSigningRequest
    """Parsed, its signature not yet checked."""
    token: str
    not_before: str
    not_after: str
    """Both as sent: an RFC 3339 time, a Go duration from now, or empty for "not given"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeRequest:
    """The body of ``POST /revoke``."""

    serial: int
    token: str | None
    reason_code: int
    reason: str


def read_sign(body: bytes) -> SignRequest:
    """Read the body of ``POST /sign``; template data is accepted and, as there are no templates, ignored.

    Raises:
        RequestRejected: ``wire.*``, in step-ca's words.
    """
    fields = _Fields(body)
    csr = fields.csr()
    token = fields.text("ott")
    if not token:
        raise RequestRejected("wire.missing-token", "missing ott")
    fields.check_object("templateData")
    return SignRequest(csr=csr, token=token, not_before=fields.text("notBefore"), not_after=fields.text("notAfter"))


def read_rekey(body: bytes) -> x509.CertificateSigningRequest:
    """Read the body of ``POST /rekey``: a request of which only the key counts.

    Raises:
        RequestRejected: ``wire.*``.
    """
    return _Fields(body).csr()


def read_revoke(body: bytes) -> RevokeRequest:
    """Read the body of ``POST /revoke``; the order of the checks is step-ca's.

    Raises:
        RequestRejected: ``wire.*`` or ``serial.malformed``.
        Unsupported: ``wire.active-revocation`` unless ``passive`` is true.
    """
    fields = _Fields(body)
    written = fields.text("serial")
    if not written:
        raise RequestRejected("wire.missing-serial", "missing serial")
    serial = serials.parse_serial(written)
    reason_code = fields.integer("reasonCode")
    if reason_code not in _REASON_CODES:
        raise RequestRejected("wire.reason-code", "reasonCode out of bounds")
    reason = fields.text("reason")
    if len(reason) > _LONGEST_REASON:
        raise RequestRejected("wire.reason", f"reason is longer than {_LONGEST_REASON} characters")
    if not fields.boolean("passive"):
        raise Unsupported("wire.active-revocation", "only passive revocation is supported")
    return RevokeRequest(serial=serial, token=fields.text("ott") or None, reason_code=reason_code, reason=reason)


class _Fields:
    """The members of a request's object, asked for by step's names in any case."""

    def __init__(self, body: bytes) -> None:
        self._members = _read_object(body)

    def text(self, name: str) -> str:
        """Return a text; empty when it is missing or null."""
        value = self._members.get(name.lower())
        if value is None:
            return ""
        if not isinstance(value, str):
            raise _undecodable()
        return value

    def integer(self, name: str) -> int:
        """Return a whole number; 0 when it is missing or null. ``true`` and ``1.0`` are none."""
        value = self._members.get(name.lower())
        if value is None:
            return 0
        if type(value) is not int:
            raise _undecodable()
        return value

    def boolean(self, name: str) -> bool:
        """Return a truth value; false when it is missing or null."""
        value = self._members.get(name.lower())
        if value is None:
            return False
        if not isinstance(value, bool):
            raise _undecodable()
        return value

    def check_object(self, name: str) -> None:
        """Insist that a member, if there is one, is an object."""
        if not isinstance(self._members.get(name.lower()), dict | None):
            raise _undecodable()

    def csr(self) -> x509.CertificateSigningRequest:
        """Return the request in ``csr``; its signature is not checked here."""
        written = self.text("csr")
        if not written:
            raise RequestRejected("wire.missing-csr", "missing csr")
        # The wire carries PEM; DER could not come through JSON text anyway.
        if not written.isascii() or not written.lstrip().startswith("-----BEGIN "):
            raise _undecodable()
        try:
            return pem.load_csr(written.encode("ascii"))
        except RequestRejected:
            raise _undecodable() from None


def _read_object(body: bytes) -> Mapping[str, Json]:
    """Read one JSON object; its keys are returned in lower case."""
    # Counted first: what a stranger nests or lists must not decide about a parser's time and stack.
    if body.count(b"{") + body.count(b"[") > _MOST_CONTAINERS or body.count(b",") > _MOST_VALUES:
        raise _undecodable()
    try:
        value = parse_object(body, what="request body", room="wire")
    except RequestRejected as error:
        # The details go to the log; the answer is step-ca's.
        raise _undecodable(error.message) from None
    members = {key.lower(): each for key, each in value.items()}
    if len(members) != len(value):
        raise _undecodable("the request body gives a key twice, in different cases")
    return members


def _undecodable(why: str = "") -> RequestRejected:
    # step-ca says no more than this, and the caller's mistake is in what the caller sent.
    return RequestRejected("wire.malformed", "error decoding json", hint=why or None)
