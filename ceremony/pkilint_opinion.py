"""A third opinion before anything is signed: pkilint, where the extra ``lint`` is installed.

pkilint knows RFC 5280 far beyond our own rules, and shares no code with them. It is no part of the base installation:
ten packages more are ten packages to trust on the air-gapped machine. Where it is missing, the transcript says so.

Invariant: it judges what *will* be signed, the very bytes with an empty signature, so that no key is used for it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from importlib import metadata
from typing import Any

from shared.errors import PolicyDenied
from shared.keys import CaKind
from shared.pem import load_certificate_der
from shared.signing import unsigned

NOT_ASKED = "not asked"
_PACKAGE = "pkilint"
# A root needs no authority key identifier (RFC 5280 §4.2.1.1). pkilint knows a root by its signature, which is not
# there yet.
_EXCUSED_ROOT = frozenset({"pkix.authority_key_identifier_extension_absent"})


def accept_certificate(tbs: bytes, signer: CaKind) -> str:
    """Have pkilint judge a certificate that will be signed.

    Args:
        tbs: the TBSCertificate in DER.
        signer: the kind of key that will sign it.

    Returns:
        The version that was asked, or ``not asked``.

    Raises:
        PolicyDenied: ``pkilint.<code>`` with the first finding that is an error.
    """
    certificate = load_certificate_der(unsigned(tbs, signer))
    own = certificate.subject == certificate.issuer
    return _accept(_certificate_findings, tbs, signer, excused=_EXCUSED_ROOT if own else frozenset())


def accept_list(tbs: bytes, signer: CaKind) -> str:
    """Have pkilint judge a revocation list of CA certificates that will be signed.

    Args:
        tbs: the TBSCertList in DER.
        signer: the kind of key that will sign it.

    Returns:
        The version that was asked, or ``not asked``.

    Raises:
        PolicyDenied: ``pkilint.<code>`` with the first finding that is an error.
    """
    return _accept(_list_findings, tbs, signer)


def _accept(judge: Callable[[bytes], Any], tbs: bytes, signer: CaKind, *, excused: frozenset[str] = frozenset()) -> str:
    try:
        version = metadata.version(_PACKAGE)
    except metadata.PackageNotFoundError:
        return NOT_ASKED
    # It logs what it cannot judge; the finding says the same.
    logging.getLogger(_PACKAGE).setLevel(logging.CRITICAL)
    for result in judge(unsigned(tbs, signer)):
        for description in result.finding_descriptions:
            if description.finding.severity <= _least_severity() and description.finding.code not in excused:
                raise PolicyDenied(
                    f"pkilint.{description.finding.code}",
                    f"pkilint refuses what would be signed: {description.finding.code}",
                    hint="change the plan; nothing was signed",
                )
    return f"{_PACKAGE} {version}"


@functools.cache
def _least_severity() -> int:
    from pkilint.validation import ValidationFindingSeverity  # noqa: PLC0415 (optional)

    return int(ValidationFindingSeverity.ERROR)


def _certificate_findings(encoded: bytes) -> Any:
    from pkilint import loader  # noqa: PLC0415 (optional)
    from pkilint.pkix import certificate, extension, name  # noqa: PLC0415 (optional)

    validator = certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )
    return validator.validate(loader.RFC5280CertificateDocumentLoader().load_der_document(encoded).root)


def _list_findings(encoded: bytes) -> Any:
    from pkilint import loader, pkix  # noqa: PLC0415 (optional)
    from pkilint.cabf import cabf_crl  # noqa: PLC0415 (optional)
    from pkilint.pkix import crl, extension, name  # noqa: PLC0415 (optional)

    kind = crl.CertificateRevocationListType.ARL
    validator = crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([cabf_crl.create_validity_period_validator(kind)]),
            crl.create_extensions_validator_container([]),
            cabf_crl.CabfCrlReasonCodeAllowlistValidator(kind),
        ],
    )
    return validator.validate(loader.RFC5280CertificateListDocumentLoader().load_der_document(encoded).root)
