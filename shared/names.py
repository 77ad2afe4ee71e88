"""Subject names and subject alternative names: parsed, canonical, safe to show (RFC 5280 §4.1.2.6, §4.2.1.6).

Invariants:

* a ``SanSet`` holds canonical names only: DNS lower-case LDH labels (RFC 1034 §3.5) with at most one leading
  ``*.``, IP addresses as objects, e-mail addresses with a lower-case domain, absolute URIs;
* a name that another reader could take for something else (an IP written as DNS, a control character, a
  direction override) is refused, never repaired.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from shared.errors import RequestRejected

MOST_NAMES = 100
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}", re.ASCII)
_URI = re.compile(r"[a-z][a-z0-9+.-]{0,31}:[!-~]{1,2000}", re.ASCII | re.IGNORECASE)
# The last label of a host name that inet_aton() of some C libraries would read as a number (127.1, 0x7f.1).
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_LONGEST_DNS = 253
# RFC 5280 appendix A.1, ub-common-name and its neighbours.
_LONGEST_ATTRIBUTE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SanSet:
    """The alternative names of a subject, canonical and without duplicates, in the order given."""

    dns: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    ips: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...] = ()
    uris: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.dns or self.emails or self.ips or self.uris)

    def general_names(self) -> tuple[x509.GeneralName, ...]:
        """Return the names in step-ca's order: DNS, e-mail, IP, URI."""
        return (
            *map(x509.DNSName, self.dns),
            *map(x509.RFC822Name, self.emails),
            *map(x509.IPAddress, self.ips),
            *map(x509.UniformResourceIdentifier, self.uris),
        )

    def values(self) -> tuple[str | ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
        """Return all names in the same order.

        None of them could be of two kinds: hosts have neither @ nor colon, e-mail addresses an @ and no colon, URIs a
        colon, and IP addresses are no text.
        """
        return (*self.dns, *self.emails, *self.ips, *self.uris)

    def texts(self) -> tuple[str, ...]:
        """Return all names as text, in the same order."""
        return (*self.dns, *self.emails, *map(str, self.ips), *self.uris)


def parse_sans(texts: Iterable[str]) -> SanSet:
    """Sort texts into the four kinds as step does: an IP if it parses as one, else a URI, an e-mail, a DNS name.

    Raises:
        RequestRejected: ``name.*``; nothing is repaired but the case of a host name.
    """
    given = list(texts)
    if len(given) > MOST_NAMES:
        raise RequestRejected("name.too-many", f"{len(given)} names are asked for, {MOST_NAMES} are allowed")
    dns: dict[str, None] = {}
    emails: dict[str, None] = {}
    ips: dict[ipaddress.IPv4Address | ipaddress.IPv6Address, None] = {}
    uris: dict[str, None] = {}
    for text in given:
        address = _address(text)
        if address is not None:
            ips[address] = None
        elif ":" in text:
            uris[canonical_uri(text)] = None
        elif "@" in text:
            emails[canonical_email(text)] = None
        else:
            dns[canonical_dns(text)] = None
    return SanSet(dns=tuple(dns), emails=tuple(emails), ips=tuple(ips), uris=tuple(uris))


def sans_of(extensions: x509.Extensions) -> SanSet:
    """Read the alternative names out of a request's or certificate's extensions.

    Raises:
        RequestRejected: ``name.unsupported-kind`` for otherName, directoryName or registeredID, ``name.*`` for
            a malformed one.
    """
    try:
        extension = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return SanSet()
    return canonical_sans(extension.value)


def canonical_sans(general_names: Iterable[x509.GeneralName]) -> SanSet:
    """Sort names as the library parsed them into the four kinds, and bring them into their canonical form.

    Raises:
        RequestRejected: as ``sans_of``.
    """
    names = list(general_names)
    if len(names) > MOST_NAMES:
        raise RequestRejected("name.too-many", f"{len(names)} names are asked for, {MOST_NAMES} are allowed")
    dns: dict[str, None] = {}
    emails: dict[str, None] = {}
    ips: dict[ipaddress.IPv4Address | ipaddress.IPv6Address, None] = {}
    uris: dict[str, None] = {}
    for name in names:
        if isinstance(name, x509.DNSName):
            dns[canonical_dns(name.value)] = None
        elif isinstance(name, x509.RFC822Name):
            emails[canonical_email(name.value)] = None
        elif isinstance(name, x509.UniformResourceIdentifier):
            uris[canonical_uri(name.value)] = None
        elif isinstance(name, x509.IPAddress) and isinstance(name.value, ipaddress.IPv4Address | ipaddress.IPv6Address):
            ips[name.value] = None
        else:
            raise RequestRejected(
                "name.unsupported-kind",
                f"alternative names of the kind {type(name).__name__} are not accepted",
            )
    return SanSet(dns=tuple(dns), emails=tuple(emails), ips=tuple(ips), uris=tuple(uris))


def canonical_dns(text: str) -> str:
    """Check a DNS name and return it in lower case; internationalised names come as ``xn--`` labels.

    Raises:
        RequestRejected: ``name.dns``.
    """
    name = text.lower()
    host = name.removeprefix("*.")
    labels = host.split(".")
    if len(name) > _LONGEST_DNS or not all(map(_LABEL.fullmatch, labels)):
        raise RequestRejected("name.dns", f"{printable(text)} is not a DNS name")
    if _NUMERIC.fullmatch(labels[-1]):
        raise RequestRejected("name.dns", f"{printable(text)} could be read as an IP address, so it is no DNS name")
    if name != host and len(labels) < 2:  # noqa: PLR2004 (*.com at the least, never *.)
        raise RequestRejected("name.dns", f"the wildcard {printable(text)} covers a whole top level")
    return name


def canonical_email(text: str) -> str:
    """Check an e-mail address (RFC 5321 dot-string) and return it with its domain in lower case.

    Raises:
        RequestRejected: ``name.email``.
    """
    local, at, domain = text.rpartition("@")
    if not at or not _LOCAL_PART.fullmatch(local) or ".." in local or local[0] == "." or local[-1] == ".":
        raise RequestRejected("name.email", f"{printable(text)} is not an e-mail address")
    try:
        host = canonical_dns(domain)
    except RequestRejected:
        host = "*"
    if "*" in host:
        raise RequestRejected("name.email", f"{printable(text)} is not an e-mail address")
    return f"{local}@{host}"


def canonical_uri(text: str) -> str:
    """Check an absolute URI in printable ASCII (RFC 3986) and return it with its scheme in lower case.

    One with an authority (``//``) must name a host: RFC 5280 §4.2.1.6 wants one, and name constraints judge it.

    Raises:
        RequestRejected: ``name.uri``.
    """
    if not _URI.fullmatch(text) or any(character in text for character in '<>"{}|\\^`'):
        raise RequestRejected("name.uri", f"{printable(text)} is not an absolute URI")
    scheme, _, rest = text.partition(":")
    if rest.startswith("//") and not _authority_host(rest[2:]):
        raise RequestRejected("name.uri", f"{printable(text)} names no host after its //")
    return f"{scheme.lower()}:{rest}"


def canonical_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Check an IP address in its usual notation and return it.

    Raises:
        RequestRejected: ``name.ip``.
    """
    address = _address(text)
    if address is None:
        raise RequestRejected("name.ip", f"{printable(text)} is not an IP address")
    return address


def common_name(text: str) -> str:
    """Check a common name: 1 to 64 visible characters without controls, overrides or edge spaces.

    Raises:
        RequestRejected: ``name.common-name``.
    """
    return _attribute(text, "name.common-name", "common name")


def subject(*, common: str, organization: str | None = None) -> x509.Name:
    """Build the subject of a CA certificate: O (when given), then CN.

    Raises:
        RequestRejected: ``name.*``.
    """
    attributes = []
    if organization is not None:
        attributes.append(
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _attribute(organization, "name.organization", "organization"))
        )
    attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name(common)))
    return x509.Name(attributes)


def common_name_of(name: x509.Name) -> str:
    """Return the only common name of a subject; the empty string when it has none.

    Raises:
        RequestRejected: ``name.common-name`` when there are several or one is not text.
    """
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not found:
        return ""
    if len(found) > 1 or not isinstance(found[0].value, str):
        raise RequestRejected("name.common-name", "the subject has several common names, or an odd one")
    return found[0].value


def format_name(name: x509.Name) -> str:
    """Write a distinguished name for people (RFC 4514), safe for a terminal and a log line."""
    return printable(name.rfc4514_string(), limit=400) if list(name) else "(empty)"


def printable(text: str, *, limit: int = 100) -> str:
    """Escape what a terminal or log could misread: controls, line breaks, direction overrides, surrogates."""
    if text.isascii() and text.isprintable() and len(text) <= limit:
        return text
    shown = "".join(
        character
        if character == " " or unicodedata.category(character)[0] not in "CZ"
        else character.encode("unicode_escape").decode("ascii")
        for character in text[:limit]
    )
    return shown + ("…" if len(text) > limit else "")


def _authority_host(rest: str) -> str:
    """Return the host of what follows ``//`` (RFC 3986 §3.2): without user, port and path; maybe empty."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    return authority if authority.startswith("[") else authority.partition(":")[0]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    # Most names are host names: they end with no digit, as IPv4 addresses do, and have no colon, as all others do.
    if ":" not in text and not text[-1:].isdigit():
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise RequestRejected("name.ip", f"{printable(text)} has a zone, which means nothing to others")
    return address


def _attribute(text: str, code: str, what: str) -> str:
    if not 1 <= len(text) <= _LONGEST_ATTRIBUTE or text != text.strip() or printable(text) != text:
        raise RequestRejected(
            code,
            f"{printable(text)!r} is not a {what}: 1 to {_LONGEST_ATTRIBUTE} visible characters are wanted",
        )
    return text
