"""The header member ``x5c`` (RFC 7515 §4.1.6): the certificate whose key signed a token, and those above it.

Invariant: what is read is a bounded list of well-formed certificates, leaf first, and nothing more: whether they
lead anywhere is asked elsewhere.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from cryptography import x509

from online.strict_json import Json
from shared.errors import RequestRejected, Unauthenticated
from shared.pem import certificate_der, load_certificate_der

MEMBER = "x5c"
MOST_CERTIFICATES = 8


def write_chain(chain: Sequence[x509.Certificate]) -> list[Json]:
    """Return the member's value: standard base64 (not base64url) of each certificate's DER, leaf first."""
    return [base64.b64encode(certificate_der(each)).decode("ascii") for each in chain]


def read_chain(value: Json) -> tuple[x509.Certificate, ...]:
    """Read the member's value.

    Raises:
        Unauthenticated: ``token.header``.
    """
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_CERTIFICATES:
        raise Unauthenticated("token.header", f"the token brings no list of 1 to {MOST_CERTIFICATES} certificates")
    return tuple(_certificate(each) for each in value)


def _certificate(text: Json) -> x509.Certificate:
    try:
        encoded = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
        return load_certificate_der(encoded, what="token's certificate")
    except (binascii.Error, ValueError):
        raise Unauthenticated("token.header", "the token's certificate is not base64") from None
    except RequestRejected as error:
        raise Unauthenticated("token.header", error.message) from None
