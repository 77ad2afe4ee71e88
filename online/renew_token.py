"""Renewal tokens: a leaf's own key asks for the leaf's renewal, or for another key, where mutual TLS does not work.

step calls the header member ``x5cInsecure``, because the leaf in it may have expired. What comes after the leaf
in that list is not even parsed: no chain is built out of what a stranger sends. The checks, in order (the numbers
return in the code, 2 and 3 are the authority's):

1. the token is well-formed, and brings a certificate;
2. that certificate is a leaf of ours, by the signature of an issuer in force;
3. a provisioner of today vouches for it and lets it be renewed;
4. the leaf's key signed the token;
5. the token was made for this operation, by this leaf's holder, at this CA, a moment ago; one for a rekey is bound to
   the request with the new key, so that whoever gets hold of it cannot put in a key of their own;
6. its single use hangs on header and payload: re-encoding the signature makes no second token.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from online.jose import jws
from online.provisioners.protocol import Operation, Provisioner
from online.store.protocol import TokenUse
from online.strict_json import Json
from online.tokens import (
    CNF_MEMBER,
    RENEW_HEADER,
    RENEW_ISSUER,
    Audiences,
    csr_confirmation,
    require_text,
    require_times,
    use_digest,
)
from shared.errors import RequestRejected, Unauthenticated
from shared.keys import PublicKey
from shared.names import common_name_of
from shared.pem import load_certificate_der

_LARGEST_TOKEN = 48 << 10
_MOST_CERTIFICATES = 8
# Renewal tokens have no jti: their digests live in a name space of their own, apart from one-time tokens'.
_SCOPE = "renew"


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedRenewal:
    """A well-formed renewal token, nothing of it verified."""

    certificate: x509.Certificate
    """Who the sender says it is."""
    token: jws.UnverifiedToken = field(repr=False)

    def verify(
        self,
        public_key: PublicKey,
        *,
        provisioner: Provisioner,
        audiences: Audiences,
        now: datetime,
        csr: x509.CertificateSigningRequest | None = None,
    ) -> TokenUse:
        """Verify the token under its certificate's key.

        Args:
            public_key: of ``certificate``, after it was proved to be ours.
            provisioner: who vouches for the certificate.
            audiences: the names of this CA.
            now: aware UTC.
            csr: the request with the new key, for a rekey.

        Returns:
            The single use to record.

        Raises:
            Unauthenticated: ``renew-token.*``.
        """
        try:
            # 4.
            claims = jws.verify(self.token, public_key)
            # 5. Old clients write the provisioner's name as the issuer; Go leaves an empty subject out.
            if require_text(claims, "iss") not in {RENEW_ISSUER, provisioner.name}:
                raise Unauthenticated("token.issuer", "the token's issuer is not the step client")
            audiences.require(Operation.RENEW if csr is None else Operation.REKEY, claims.get("aud"))
            _check_bound(claims.get("cnf"), csr)
            if claims.get("sub", "") != common_name_of(self.certificate.subject):
                raise Unauthenticated("token.subject", "the token's subject is not the certificate's common name")
            expires = require_times(claims, now=now)
        except RequestRejected as error:
            raise _refused(error) from None
        # 6.
        digest = use_digest(_SCOPE, self.token.content_digest)
        return TokenUse(provisioner_id=provisioner.id, digest=digest, expires=expires)


def open_renew_token(text: str) -> PresentedRenewal:
    """Take a renewal token apart.

    Args:
        text: what stood after ``Bearer``.

    Raises:
        Unauthenticated: ``renew-token.*``.
    """
    # 1.
    try:
        token = jws.split_unverified(text, key_members=frozenset({RENEW_HEADER}), limit=_LARGEST_TOKEN)
        return PresentedRenewal(certificate=_leaf(token), token=token)
    except RequestRejected as error:
        raise _refused(error) from None


def _leaf(token: jws.UnverifiedToken) -> x509.Certificate:
    chain = token.header.get(RENEW_HEADER)
    if not isinstance(chain, list) or not 1 <= len(chain) <= _MOST_CERTIFICATES or not isinstance(chain[0], str):
        raise Unauthenticated("token.header", f"the token brings no list of 1 to {_MOST_CERTIFICATES} certificates")
    try:
        encoded = base64.b64decode(chain[0], validate=True)
    except (binascii.Error, ValueError):
        raise Unauthenticated("token.header", "the token's certificate is not base64") from None
    return load_certificate_der(encoded, what="token's certificate")


def _check_bound(cnf: Json, csr: x509.CertificateSigningRequest | None) -> None:
    wanted = None if csr is None else {CNF_MEMBER: csr_confirmation(csr)}
    if cnf != wanted:
        raise Unauthenticated("token.confirmation", "the token is not bound to this request")


def _refused(error: RequestRejected) -> Unauthenticated:
    """Give a refusal the family and prefix of this room: the wire has one text for all of them."""
    return Unauthenticated(f"renew-token.{error.code.rpartition('.')[2]}", error.message)
