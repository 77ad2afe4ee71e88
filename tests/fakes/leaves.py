"""Leaves that the authority would never issue, signed by a real intermediate: what a sloppier CA left behind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from fakes.clock import NOON
from fakes.hierarchy import Pki

from online.step_extension import StepExtension
from shared.keys import KeyKind, PrivateKey, PublicKey, generate, kind_of, signature_hash, subject_key_identifier
from shared.serials import random_serial

TLS = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def sloppy_leaf(
    pki: Pki,
    *,
    public_key: PublicKey | None = None,
    signer: PrivateKey | None = None,
    common: str = "a.example.com",
    san: str = "a.example.com",
    not_before: datetime = NOON - timedelta(minutes=1),
    not_after: datetime = NOON + timedelta(hours=24),
    usages: Sequence[x509.ObjectIdentifier] = TLS,
    digital_signature: bool = True,
    is_ca: bool = False,
    step: StepExtension | None = None,
    more: Sequence[x509.Extension[x509.ExtensionType]] = (),
    serial: int | None = None,
) -> x509.Certificate:
    """Sign whatever is asked for.

    Args:
        pki: whose intermediate issues it.
        public_key: of the leaf; a fresh one when not given.
        signer: another key that signs it under the intermediate's name.
        common: its common name; empty for an empty subject.
        san: its only DNS name.
        not_before: aware UTC.
        not_after: aware UTC.
        usages: extended key usage; none at all when empty.
        digital_signature: whether its key usage says so.
        is_ca: whether it claims to be a CA.
        step: the provisioner extension.
        more: further extensions, at the end.
        serial: drawn when not given.
    """
    key = public_key or generate(KeyKind.EC_P256).public_key()
    issuer_key = signer or pki.intermediate_key
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else []
    usage = x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=not digital_signature,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = [(usage, True)]
    if usages:
        extensions.append((x509.ExtendedKeyUsage(usages), False))
    if is_ca:
        extensions.append((x509.BasicConstraints(ca=True, path_length=0), True))
    issuer_identifier = subject_key_identifier(pki.intermediate_key.public_key())
    extensions += [
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
        (x509.AuthorityKeyIdentifier(issuer_identifier, None, None), False),
        (x509.SubjectAlternativeName([x509.DNSName(san)]), not attributes),
    ]
    extensions += [(each.value, each.critical) for each in (*more, *((step.encode(),) if step else ()))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(attributes))
        .issuer_name(pki.intermediate.subject)
        .public_key(key)
        .serial_number(serial or random_serial(os.urandom))
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(issuer_key, signature_hash(kind_of(issuer_key)))
