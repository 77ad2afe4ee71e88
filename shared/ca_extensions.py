"""What a CA certificate may carry besides what its profile demands: constraints, policies, and where to look.

Name constraints are critical (RFC 5280 §4.2.1.10); certificate policies (§4.2.1.4), CRL distribution points
(§4.2.1.13) and authority information access (§4.2.2.1) are not.

Invariant: a ``CaExtensions`` in hand holds only constraints that RFC 5280 gives a meaning to, and only http URLs:
fetching a CRL over https would need the very check that it serves (§8).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID

from shared import names
from shared.errors import RequestRejected

ALLOWED_ON_CA = frozenset(
    {
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
    }
)
_MOST_SUBTREES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CaExtensions:
    """The optional extensions of a CA certificate."""

    permitted: tuple[x509.GeneralName, ...] = ()
    excluded: tuple[x509.GeneralName, ...] = ()
    policies: tuple[x509.ObjectIdentifier, ...] = ()
    crl_urls: tuple[str, ...] = ()
    """Where the issuer of this certificate publishes the list that may revoke it."""
    issuer_urls: tuple[str, ...] = ()
    """Where the issuer's own certificate is, in DER."""

    def extensions(self) -> tuple[x509.Extension[x509.ExtensionType], ...]:
        """Return the extensions in the order of RFC 5280's sections, none for what is empty."""
        found: list[tuple[x509.ExtensionType, bool]] = []
        if self.policies:
            policies = [x509.PolicyInformation(policy, None) for policy in self.policies]
            found.append((x509.CertificatePolicies(policies), False))
        if self.permitted or self.excluded:
            found.append((x509.NameConstraints(self.permitted or None, self.excluded or None), True))
        if self.crl_urls:
            points = [
                x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None) for url in self.crl_urls
            ]
            found.append((x509.CRLDistributionPoints(points), False))
        if self.issuer_urls:
            access = [
                x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(url))
                for url in self.issuer_urls
            ]
            found.append((x509.AuthorityInformationAccess(access), False))
        return tuple(x509.Extension(value.oid, critical, value) for value, critical in found)


def parse_subtrees(texts: Iterable[str]) -> tuple[x509.GeneralName, ...]:
    """Read subtrees of name constraints: ``dns:``, ``ip:`` (CIDR), ``email:``, ``uri:`` (a host), one a text.

    ``dns:example.com`` covers the name and everything below; a leading dot covers only what is below, for e-mail
    and URI too. ``email:a@example.com`` is one mailbox, ``email:example.com`` all of that host.

    Raises:
        RequestRejected: ``constraint.*``.
    """
    given = list(texts)
    if len(given) > _MOST_SUBTREES:
        raise RequestRejected("constraint.too-many", f"{len(given)} constraints, {_MOST_SUBTREES} are allowed")
    return tuple(_subtree(text) for text in given)


def describe_subtree(name: x509.GeneralName) -> str:
    """Write a subtree as ``parse_subtrees`` reads it."""
    for kind, prefix in _PREFIXES.items():
        if isinstance(name, kind):
            return f"{prefix}:{name.value}"
    return f"other:{type(name).__name__}"


def parse_oid(text: str) -> x509.ObjectIdentifier:
    """Read a dotted object identifier.

    Raises:
        RequestRejected: ``oid.malformed``.
    """
    try:
        return x509.ObjectIdentifier(text)
    except ValueError:
        raise RequestRejected("oid.malformed", f"{names.printable(text)} is not an object identifier") from None


def parse_http_url(text: str) -> str:
    """Check a URL that relying parties shall fetch: ``http://``, a host, printable ASCII.

    Raises:
        RequestRejected: ``url.not-http`` or ``name.uri``.
    """
    url = names.canonical_uri(text)
    host = url.removeprefix("http://").split("/", 1)[0].rsplit(":", 1)[0] if url.startswith("http://") else ""
    if not host:
        raise RequestRejected(
            "url.not-http",
            f"{names.printable(text)} is not an http:// address",
            hint="revocation lists and issuers are fetched without TLS: what they say is signed anyway",
        )
    names.canonical_dns(host)
    return url


def _subtree(text: str) -> x509.GeneralName:
    kind, colon, value = text.partition(":")
    read = _READERS.get(kind)
    if not colon or read is None:
        raise RequestRejected(
            "constraint.kind",
            f"{names.printable(text)} is not a constraint",
            hint="write dns:example.com, ip:10.0.0.0/8, email:example.com or uri:.example.com",
        )
    return read(value)


def _dns(value: str) -> x509.GeneralName:
    return x509.DNSName(_host(value))


def _ip(value: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_network(value, strict=True))
    except ValueError:
        raise RequestRejected(
            "constraint.ip", f"{names.printable(value)} is not a network", hint="write 10.0.0.0/8 or fd00::/8"
        ) from None


def _email(value: str) -> x509.GeneralName:
    return x509.RFC822Name(names.canonical_email(value) if "@" in value else _host(value))


def _uri(value: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(_host(value))


def _host(value: str) -> str:
    below = value.startswith(".")
    host = names.canonical_dns(value[1:] if below else value)
    if "*" in host:
        raise RequestRejected(
            "constraint.wildcard", f"{names.printable(value)}: a subtree has no wildcard", hint="leave out the *"
        )
    return f".{host}" if below else host


_READERS: dict[str, Callable[[str], x509.GeneralName]] = {"dns": _dns, "ip": _ip, "email": _email, "uri": _uri}
_PREFIXES: dict[type[x509.DNSName | x509.IPAddress | x509.RFC822Name | x509.UniformResourceIdentifier], str] = {
    x509.DNSName: "dns",
    x509.IPAddress: "ip",
    x509.RFC822Name: "email",
    x509.UniformResourceIdentifier: "uri",
}
