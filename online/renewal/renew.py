"""Renewing and rekeying one certificate: from the pair on disk to an answer that was checked.

Invariant: nothing on disk changes here, but for the completion of a rekey that was interrupted; what is returned
may be installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from online.client import Chain
from online.https import Identity
from online.provisioners.protocol import Operation
from online.renewal import install
from online.renewal.check import check_successor
from online.tokens import audience, csr_confirmation, mint_renew_token
from online.trust import Trust
from shared import durable
from shared.errors import RequestRejected
from shared.keys import PrivateKey, certificate_key, kind_of, signature_hash
from shared.keystore import FileUri, is_pkcs11, parse_key_uri
from shared.pem import load_certificates

Rng = Callable[[int], bytes]


def load_chain(path: Path) -> Chain:
    """Read the certificate file of a pair: the leaf, then its intermediates.

    Raises:
        RequestRejected: ``file.*``, ``pem.*`` or ``certificate.malformed``.
    """
    return load_certificates(durable.read_file(path), what=f"file {path}")


def renew(trust: Trust, identity: Identity, *, mtls: bool, now: datetime, rng: Rng = os.urandom) -> Chain:
    """Renew a certificate with its own key.

    Args:
        trust: the CA.
        identity: the certificate in use, with its intermediates, and its key.
        mtls: prove it by TLS; else, and always when it has expired or is not for clients, by a token that its key
            signs.
        now: aware UTC.
        rng: returns the asked number of random bytes.

    Raises:
        Unauthenticated: the CA does not renew it.
        PeerFailed: ``ca.*``, or the answer is not its successor (``online.renewal.check``).
    """
    old = identity.chain[0]
    client = trust.client()
    if mtls and may_use_tls(old, now=now):
        chain = client.renew(identity=identity)
    else:
        where = audience(str(trust.url), Operation.RENEW)
        chain = client.renew(token=mint_renew_token(identity.chain, identity.key, audience=where, now=now, rng=rng))
    check_successor(chain, old=old, key=certificate_key(old), roots=trust.roots, now=now)
    return chain


def rekey(
    trust: Trust,
    identity: Identity,
    new_key: PrivateKey,
    *,
    now: datetime,
    mtls: bool = True,
    rng: Rng = os.urandom,
) -> Chain:
    """Renew a certificate for another key.

    Args:
        trust: the CA.
        identity: the certificate in use, with its intermediates, and its key.
        new_key: what the new certificate shall be for.
        now: aware UTC.
        mtls: as for ``renew``. The token is bound to the request with the new key; a step-ca takes none for a rekey.
        rng: returns the asked number of random bytes.

    Raises:
        Unauthenticated: the CA does not renew it.
        PeerFailed: ``ca.*``, or the answer is not its successor for the new key.
    """
    old = identity.chain[0]
    builder = x509.CertificateSigningRequestBuilder(old.subject)
    for extension in old.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            builder = builder.add_extension(extension.value, extension.critical)
    csr, client = builder.sign(new_key, signature_hash(kind_of(new_key))), trust.client()
    if mtls and may_use_tls(old, now=now):
        chain = client.rekey(csr, identity=identity)
    else:
        where, cnf = audience(str(trust.url), Operation.REKEY), csr_confirmation(csr)
        token = mint_renew_token(identity.chain, identity.key, audience=where, now=now, rng=rng, cnf=cnf)
        chain = client.rekey(csr, token=token)
    check_successor(chain, old=old, key=new_key.public_key(), roots=trust.roots, now=now)
    return chain


def may_use_tls(certificate: x509.Certificate, *, now: datetime) -> bool:
    """Tell whether a TLS server could let a certificate in: it lives, and it is for clients.

    One that has ended, or that is for servers only, may still be renewed by a token, where the CA allows that.
    """
    if now >= certificate.not_valid_after_utc:
        return False
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return True
    return not {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}.isdisjoint(usages)


def finish_interrupted(certificate: Path, key: str) -> bool:
    """Complete a rekey of this pair that was interrupted.

    Args:
        certificate: file of the certificate.
        key: path of the key, or a ``pkcs11:`` URI, which cannot be half-way.

    Returns:
        Whether there was one.
    """
    if is_pkcs11(key):
        return False
    place = parse_key_uri(key)
    return isinstance(place, FileUri) and install.finish(certificate, place.path)


def check_pair(chain: Chain, key: PrivateKey) -> Identity:
    """Insist that a certificate and a key belong together.

    Raises:
        RequestRejected: ``client.pair``.
    """
    if certificate_key(chain[0]) != key.public_key():
        raise RequestRejected("client.pair", "the certificate and the key do not belong together")
    return Identity(chain=chain, key=key)
