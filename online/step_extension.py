"""The provisioner extension that step-ca puts into its leaves (1.3.6.1.4.1.37476.9000.64.1), both ways.

It names the provisioner that vouched for a certificate, and so who may allow its renewal where the store has no
row of it. It is trusted only inside a certificate whose signature was verified: this module just reads.

Invariants: what is written is byte for byte step-ca's DER; what is read is strict DER without a byte left over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat import asn1

from shared.errors import RequestRejected
from shared.oids import STEP_PROVISIONER

STEP_PROVISIONER_OID = STEP_PROVISIONER
_LARGEST_BYTES = 4096


# What Go's encoding/asn1 writes as PrintableString; anything else becomes a UTF8String.
_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]*", re.ASCII)


@asn1.sequence
class _Encoded:
    type: int
    name: bytes
    credential_id: bytes
    pairs: list[str | asn1.PrintableString | asn1.IA5String] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepExtension:
    """Who vouched for a certificate."""

    type: int
    """step-ca's number of the provisioner's type; 1 is JWK."""
    name: str
    credential_id: str
    """The key identifier for JWK; may be empty."""
    pairs: tuple[str, ...] = ()
    """Alternating keys and values; an empty list is left out of the encoding."""

    def encode(self) -> x509.Extension[x509.ExtensionType]:
        """Return the extension, non-critical, as step-ca encodes it."""
        encoded = _Encoded(
            type=self.type,
            name=self.name.encode(),
            credential_id=self.credential_id.encode(),
            pairs=[_text(each) for each in self.pairs] or None,
        )
        value = x509.UnrecognizedExtension(STEP_PROVISIONER_OID, asn1.encode_der(encoded))
        return x509.Extension(STEP_PROVISIONER_OID, False, value)


def read_step_extension(certificate: x509.Certificate) -> StepExtension | None:
    """Read the extension out of a certificate; ``None`` when it carries none.

    Raises:
        RequestRejected: ``step-extension.malformed``.
    """
    try:
        value = certificate.extensions.get_extension_for_oid(STEP_PROVISIONER_OID).value
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension):
        raise _malformed() from None
    if not isinstance(value, x509.UnrecognizedExtension) or len(value.value) > _LARGEST_BYTES:
        raise _malformed()
    return parse_step_extension(value.value)


def parse_step_extension(encoded: bytes) -> StepExtension:
    """Read the extension's DER.

    Raises:
        RequestRejected: ``step-extension.malformed``.
    """
    try:
        found = asn1.decode_der(_Encoded, encoded)
        return StepExtension(
            type=found.type,
            name=found.name.decode("utf-8"),
            credential_id=found.credential_id.decode("utf-8"),
            pairs=tuple(each if isinstance(each, str) else each.as_str() for each in found.pairs or ()),
        )
    except (ValueError, OverflowError):
        raise _malformed() from None


def _text(text: str) -> str | asn1.PrintableString:
    return asn1.PrintableString(text) if _PRINTABLE.fullmatch(text) else text


def _malformed() -> RequestRejected:
    return RequestRejected("step-extension.malformed", "the certificate's provisioner extension is malformed")
