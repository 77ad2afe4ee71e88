"""Is this certificate one of ours, and who vouches for it?

step-ca renews whatever chains to its root, also the leaves of a sister CA, and lets a certificate that names no
provisioner renew itself for ever. Here a certificate counts as ours only under the signature of an issuer in
force, and without a provisioner that still exists nobody may renew it.

Invariants: no chain is built from what a caller sends; nothing in a certificate is believed before its signature
was verified.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from online.provisioners.protocol import Provisioner
from online.provisioners.registry import Registry
from online.step_extension import read_step_extension
from shared.errors import Fatal, RequestRejected, Unauthenticated
from shared.issue import Issuer, verify_signature
from shared.keys import PublicKey, certificate_key


def check_ours(certificate: x509.Certificate, issuers: Sequence[Issuer], *, servers_too: bool = False) -> PublicKey:
    """Insist that a leaf was signed by one of our issuers in force and may identify a TLS client.

    Args:
        certificate: what the caller showed, with proof of possession of its key elsewhere.
        issuers: the intermediates whose leaves may still act, the current one first.
        servers_too: whether one that is for servers only will do: where its key was used otherwise than as a client's.

    Returns:
        The leaf's public key, of an accepted kind and strength.

    Raises:
        Unauthenticated: ``certificate.foreign``, ``certificate.not-a-client`` or ``certificate.weak-key``.
    """
    if not any(is_signed_by(certificate, issuer) for issuer in issuers):
        raise Unauthenticated("certificate.foreign", "the certificate was not issued by this CA")
    try:
        values = {each.oid: each.value for each in certificate.extensions}
    except (ValueError, x509.DuplicateExtension):
        raise Unauthenticated("certificate.not-a-client", "the certificate's extensions are malformed") from None
    basic, usage, extended = map(values.get, (x509.BasicConstraints.oid, x509.KeyUsage.oid, x509.ExtendedKeyUsage.oid))
    is_ca = isinstance(basic, x509.BasicConstraints) and basic.ca
    signs = isinstance(usage, x509.KeyUsage) and usage.digital_signature
    usages = {ExtendedKeyUsageOID.CLIENT_AUTH} | ({ExtendedKeyUsageOID.SERVER_AUTH} if servers_too else set())
    fits = isinstance(extended, x509.ExtendedKeyUsage) and not usages.isdisjoint(extended)
    if is_ca or not signs or not fits:
        raise Unauthenticated("certificate.not-a-client", "the certificate does not identify a TLS client")
    try:
        return certificate_key(certificate)
    except RequestRejected as refusal:
        raise Unauthenticated("certificate.weak-key", refusal.message) from None


def is_signed_by(certificate: x509.Certificate, issuer: Issuer) -> bool:
    """Tell whether an issuer's name and key stand behind a certificate. Nothing else about it is judged.

    The name is compared first: a stranger's certificate costs no signature check.
    """
    if certificate.issuer != issuer.name:
        return False
    try:
        verify_signature(certificate, issuer.public_key)
    except Fatal:
        return False
    return True


def find_provisioner(certificate: x509.Certificate, recorded: str | None, registry: Registry) -> Provisioner:
    """Tell who vouches for a certificate: its row in the store says so, else its provisioner extension.

    A row's provisioner is found by its identifier, an extension's by type, name and key together: a provisioner
    whose key was replaced no longer vouches for what the old key allowed.

    Args:
        certificate: ours, its signature verified.
        recorded: the provisioner's identifier in its row, if the store has one.
        registry: the provisioners of today.

    Raises:
        Unauthenticated: ``certificate.no-provisioner``.
    """
    try:
        if recorded is not None:
            return registry.by_id(recorded)
        named = read_step_extension(certificate)
        if named is not None:
            return registry.by_credential(named.type, named.name, named.credential_id)
    except RequestRejected:
        pass
    raise Unauthenticated("certificate.no-provisioner", "no provisioner of today vouches for the certificate")
