"""The X5C provisioner: whoever holds a certificate under its roots mints tokens with the certificate's key.

That is how an established identity (a host's certificate of another CA, a device's, one of this CA) becomes new
certificates without a password. What is issued on its word ends no later than the certificate that vouched for it.

Invariants: the roots are CA certificates; a token passes only with a path of certificates to one of them that holds in
every respect, through CAs that may vouch for TLS clients, and with a signature of the leaf's key by the one algorithm
that belongs to that key.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from online.claims import Claims
from online.jose import jws
from online.jose.x5c import MEMBER, read_chain
from online.path_validation import validate_path
from online.provisioners.common import Common, at_fault, open_entry, with_claims
from online.provisioners.protocol import Operation, ProvisionerType
from online.strict_json import Json, JsonObject
from online.tokens import Audiences, VerifiedToken, verified_token
from shared.errors import RequestRejected, Unauthenticated
from shared.keys import PublicKey, certificate_key
from shared.names import format_name
from shared.pem import certificate_pem, load_certificates

PREFIX = "x5c/"
"""What stands before the provisioner's name in the fragment of an audience, and in its ID."""
_KEYS = frozenset({"roots"})
_FOR_CLIENTS = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class X5cProvisioner(Common):
    """A provisioner that is a set of roots; see ``online.provisioners.protocol.Provisioner``."""

    roots: tuple[x509.Certificate, ...]

    @property
    def type(self) -> ProvisionerType:
        """The kind."""
        return ProvisionerType.X5C

    @property
    def id(self) -> str:
        """Its name: roots may come and go, as a CA's roots do."""
        return f"{PREFIX}{self.name}"

    @property
    def kid(self) -> str:
        """None: each token brings a key of its own."""
        return ""

    @property
    def encrypted_key(self) -> None:
        """None."""
        return

    def public_json(self) -> JsonObject:
        """Return the entry of ``GET /provisioners`` and, but for policy and template, of a ca.json."""
        roots = base64.b64encode(certificate_pem(*self.roots)).decode("ascii")
        return with_claims({"type": self.type.wire_name, "name": self.name, "roots": roots}, self.stated)


def parse_x5c_provisioner(value: Json, *, path: str, above: Claims, home: Path) -> X5cProvisioner:
    """Read an X5C provisioner of a ca.json.

    Args:
        value: its object.
        path: the dotted path of the object.
        above: the authority's limits.
        home: what the path of a template file hangs on.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-key`` or ``config.unsupported-template``.
    """
    found, common = open_entry(value, path=path, keys=_KEYS, above=above, home=home)
    with at_fault(path):
        roots = _roots(found.text("roots"), found.at("roots"))
    return X5cProvisioner(roots=roots, **common)


def check_root(certificate: x509.Certificate, *, what: str) -> None:
    """Insist that a certificate could be at the top of a path.

    Args:
        certificate: the root, or an intermediate that is trusted as one.
        what: how to call it in an error.

    Raises:
        RequestRejected: ``config.malformed`` or ``key.*``.
    """
    values = [each.value for each in certificate.extensions]
    if not any(isinstance(each, x509.BasicConstraints) and each.ca for each in values) or any(
        isinstance(each, x509.KeyUsage) and not each.key_cert_sign for each in values
    ):
        raise RequestRejected(
            "config.malformed", f"{what}: {format_name(certificate.subject)} is not the certificate of a CA"
        )
    certificate_key(certificate)


def authorize_by_chain(
    provisioner: X5cProvisioner,
    operation: Operation,
    token: jws.UnverifiedToken,
    *,
    audiences: Audiences,
    now: datetime,
) -> VerifiedToken:
    """Verify a one-time token that a certificate's key signed, for signing or for revoking.

    1. The audience names this provisioner.
    2. The certificates of the header lead to one of its roots, now.
    3. The leaf may sign, and it and every CA above it may vouch for TLS clients; a CA's own key mints no tokens.
    4. The signature holds, by the leaf's key and the algorithm that belongs to it.
    5. The claims hold.

    Args:
        provisioner: chosen by what the unverified token says.
        operation: what the caller asks for.
        token: well-formed, unverified.
        audiences: the names of this CA.
        now: aware UTC.

    Raises:
        Unauthenticated: ``token.*``.
    """
    # 1
    address, name = split_audience(token.claims.get("aud"))
    if name != provisioner.name:
        raise Unauthenticated("token.audience", "the token is not meant for its provisioner")
    # 2, 3
    leaf, key = _authorised_leaf(provisioner, read_chain(token.header.get(MEMBER)), now)
    # 4
    claims = jws.verify(token, key)
    # 5
    return verified_token(
        {**claims, "aud": address},
        provisioner=provisioner,
        operation=operation,
        audiences=audiences,
        now=now,
        credential=leaf,
    )


def split_audience(claim: Json) -> tuple[str, str]:
    """Take the audience of an X5C token apart: ``https://ca/1.0/sign#x5c/NAME``.

    Returns:
        The audience without its fragment, and the provisioner's name; two empty texts when it has another form.
    """
    if isinstance(claim, list) and len(claim) == 1:
        claim = claim[0]
    if not isinstance(claim, str):
        return "", ""
    # step puts the name behind the fragment as it is; other programs may write it as RFC 3986 asks.
    address, _, fragment = claim.partition("#")
    text = unquote(fragment, errors="replace") if "%" in fragment else fragment
    return (address, text.removeprefix(PREFIX)) if text.startswith(PREFIX) else ("", "")


def _authorised_leaf(
    provisioner: X5cProvisioner, chain: tuple[x509.Certificate, ...], now: datetime
) -> tuple[x509.Certificate, PublicKey]:
    try:
        path = validate_path(chain[0], chain[1:], provisioner.roots, now=now)
        key = certificate_key(path[0])
    except RequestRejected as error:
        raise Unauthenticated("token.chain", error.message) from None
    values = [extension.value for extension in path[0].extensions]
    if any(isinstance(each, x509.BasicConstraints) and each.ca for each in values):
        raise Unauthenticated("token.chain", "the certificate that signed the token is a CA's")
    if not any(isinstance(each, x509.KeyUsage) and each.digital_signature for each in values):
        raise Unauthenticated("token.chain", "the certificate that signed the token may not sign")
    # As everywhere, what a CA may vouch for is narrowed by the extended key usages of the CAs above; not by a root's.
    if not all(_for_clients(each) for each in (path[:-1] if len(path) > 1 else path)):
        raise Unauthenticated("token.chain", "the certificate that signed the token is not for TLS clients")
    return path[0], key


def _for_clients(certificate: x509.Certificate) -> bool:
    usages = [each.value for each in certificate.extensions if isinstance(each.value, x509.ExtendedKeyUsage)]
    return not usages or not _FOR_CLIENTS.isdisjoint(usages[0])


def _roots(text: str, where: str) -> tuple[x509.Certificate, ...]:
    try:
        bundle = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RequestRejected(
            "config.malformed",
            f"{where} is not base64 of certificates in PEM",
            hint="let online provisioner add NAME --type X5C --x5c-roots FILE write it",
        ) from None
    roots = load_certificates(bundle, what=where)
    for root in roots:
        check_root(root, what=where)
    return roots
