"""Why a TLS handshake came to nothing: a closed set of reasons, for the log and for a counter's label.

Both engines speak OpenSSL's language, the one with blanks and the other with underscores; here it is read once.

Invariant: neither a reason nor its detail holds a byte that the client sent. The details are OpenSSL's own texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from shared.errors import PeerFailed


class Refusal(StrEnum):
    """A reason; the value is how the log and the metrics write it."""

    UNKNOWN_CA = "unknown-ca"
    """The client's certificate is of another CA."""
    EXPIRED = "certificate-expired"
    NOT_YET_VALID = "certificate-not-yet-valid"
    PURPOSE = "certificate-purpose"
    """The client's certificate is not for clients."""
    CERTIFICATE = "certificate-invalid"
    """Anything else about the client's certificate."""
    CLIENT_ALERT = "client-refused"
    """The client did not like what it saw; mostly it does not trust the node's root."""
    VERSION = "version"
    ALGORITHM = "no-common-algorithm"
    PLAIN_HTTP = "plain-http"
    PROTOCOL = "not-tls"
    """Bytes that are no TLS, or break its rules."""
    TIMEOUT = "timeout"
    TOO_LARGE = "too-large"
    """The client sent more than a handshake may need, such as a chain of a hundred certificates."""
    CROWDED = "crowded"
    """Too many handshakes at one time; this one had waited longest."""
    GONE = "client-left"
    """The client closed the connection in the middle."""


class HandshakeRefused(PeerFailed):
    """A handshake that will not come to an end. It stays within this room."""

    def __init__(self, refusal: Refusal, detail: str = "") -> None:
        """Refuse a handshake.

        Args:
            refusal: the reason.
            detail: the TLS library's own words for it.
        """
        super().__init__("tls.handshake", f"the TLS handshake was refused: {refusal}")
        self.refusal = refusal
        self.detail = detail


def broken() -> PeerFailed:
    """Return the error of a connection that failed after its handshake."""
    return PeerFailed("tls.broken", "the TLS connection broke")


# X509_verify_cert_error_string(3); RFC 5280 §6.1 in OpenSSL's numbers.
_BY_VERDICT: Mapping[int, Refusal] = {
    2: Refusal.UNKNOWN_CA,  # the issuer is not known
    9: Refusal.NOT_YET_VALID,
    10: Refusal.EXPIRED,
    18: Refusal.UNKNOWN_CA,  # a self-signed leaf
    19: Refusal.UNKNOWN_CA,  # a foreign root at the end of the chain
    20: Refusal.UNKNOWN_CA,
    21: Refusal.UNKNOWN_CA,  # a lone leaf of an unknown issuer
    26: Refusal.PURPOSE,
}
_BY_REASON: Mapping[str, Refusal] = {
    "HTTP_REQUEST": Refusal.PLAIN_HTTP,
    "HTTPS_PROXY_REQUEST": Refusal.PLAIN_HTTP,
    "UNSUPPORTED_PROTOCOL": Refusal.VERSION,
    "VERSION_TOO_LOW": Refusal.VERSION,
    "VERSION_TOO_HIGH": Refusal.VERSION,
    "INAPPROPRIATE_FALLBACK": Refusal.VERSION,
    "NO_SHARED_CIPHER": Refusal.ALGORITHM,
    "NO_SHARED_GROUPS": Refusal.ALGORITHM,
    "NO_SUITABLE_GROUPS": Refusal.ALGORITHM,
    "NO_SUITABLE_KEY_SHARE": Refusal.ALGORITHM,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": Refusal.ALGORITHM,
    "NO_SHARED_SIGNATURE_ALGORITHMS": Refusal.ALGORITHM,
    "WRONG_SIGNATURE_TYPE": Refusal.ALGORITHM,
    "EXCESSIVE_MESSAGE_SIZE": Refusal.TOO_LARGE,
}
_VERIFY_FAILED = "CERTIFICATE_VERIFY_FAILED"


def refusal_of(reasons: Iterable[str], verdict: int | None) -> HandshakeRefused:
    """Read OpenSSL's error queue after a handshake that failed.

    Args:
        reasons: its texts, oldest first, in either spelling.
        verdict: OpenSSL's number for what is wrong with the client's certificate; 0 or ``None`` when nothing is known.
    """
    names = [each.upper().replace(" ", "_") for each in reasons if each]
    detail = names[-1].lower().replace("_", " ") if names else ""
    if _VERIFY_FAILED in names:
        return HandshakeRefused(_BY_VERDICT.get(verdict or 0, Refusal.CERTIFICATE), detail)
    for name in names:
        if name in _BY_REASON:
            return HandshakeRefused(_BY_REASON[name], detail)
        # Such as TLSV1_ALERT_UNKNOWN_CA or SSL/TLS_ALERT_BAD_CERTIFICATE: one that was received, not sent.
        if "_ALERT_" in name:
            return HandshakeRefused(Refusal.CLIENT_ALERT, detail)
    return HandshakeRefused(Refusal.PROTOCOL, detail)
