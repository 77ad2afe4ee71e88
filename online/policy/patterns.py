"""What a single rule says: the patterns for the five kinds of names, in step-ca's notation.

* ``dns``: ``www.example.com``, or ``*.example.com`` for exactly one more label. Never the domain itself, never two
  labels.
* ``ip``: an address, or a network in CIDR notation.
* ``email``: ``jane@example.com``, or ``@example.com`` for every address of exactly this domain.
* ``uri``: like ``dns``, held against the host of the URI and nothing else of it.
* ``cn``: the whole common name; case does not matter.

Invariants: a pattern in hand is canonical, so that neither case nor spelling lets a name slip past it. Where the two
sides differ, a pattern that denies reaches further than one that allows: what cannot be told apart is not allowed and
is denied.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from shared.errors import RequestRejected
from shared.names import canonical_dns, canonical_email, common_name, printable

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class NameKind(StrEnum):
    """The kinds of names that rules speak of; the value is step-ca's word for it, in files and in messages."""

    COMMON_NAME = "cn"
    DNS = "dns"
    IP = "ip"
    EMAIL = "email"
    URI = "uri"


class Pattern(Protocol):
    """What a rule matches. Names are canonical, as ``shared.names`` returns them."""

    def allows(self, name: str) -> bool:
        """Tell whether an allow rule with this pattern lets a name pass."""
        ...

    def forbids(self, name: str) -> bool:
        """Tell whether a deny rule with this pattern stops a name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainPattern:
    """A host name, or all host names with exactly one label more."""

    host: str
    subdomains: bool

    def allows(self, name: str) -> bool:
        """Compare; the wildcard name ``*.example.com`` passes by the pattern ``*.example.com``."""
        if not self.subdomains:
            return name == self.host
        return name.partition(".")[2] == self.host

    def forbids(self, name: str) -> bool:
        """Compare; a wildcard name is stopped as well when it would be valid for the forbidden host."""
        covers = name.startswith("*.") and not self.subdomains and self.host.partition(".")[2] == name[2:]
        return covers or self.allows(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPattern:
    """An IP network; a single address is a network of one."""

    network: _Network

    def allows(self, name: str) -> bool:
        """Tell whether the address lies within; IPv4 in its IPv6 notation (RFC 4291 §2.5.5.2) is IPv4."""
        address = ipaddress.ip_address(name)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            return address.ipv4_mapped in self.network
        return address in self.network

    def forbids(self, name: str) -> bool:
        """The same."""
        return self.allows(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxPattern:
    """An e-mail address, or all addresses of a domain when ``local`` is ``None``."""

    local: str | None
    domain: str

    def allows(self, name: str) -> bool:
        """Compare; the part before the @ as it is written (RFC 5280 §7.5)."""
        local, _, domain = name.rpartition("@")
        return domain == self.domain and self.local in {None, local}

    def forbids(self, name: str) -> bool:
        """Compare without regard to case, because hardly any mail server has regard to it."""
        local, _, domain = name.rpartition("@")
        return domain == self.domain and (self.local is None or self.local.lower() == local.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class UriHostPattern:
    """The host of a URI."""

    domain: DomainPattern

    def allows(self, name: str) -> bool:
        """Compare the host; a URI without a host name passes by no pattern."""
        host = uri_host(name)
        return host is not None and self.domain.allows(host)

    def forbids(self, name: str) -> bool:
        """Compare the host; a URI without a host name is stopped by every pattern, for none can clear it."""
        host = uri_host(name)
        return host is None or self.domain.forbids(host)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonNamePattern:
    """A whole common name."""

    folded: str

    def allows(self, name: str) -> bool:
        """Compare without regard to case."""
        return name.casefold() == self.folded

    def forbids(self, name: str) -> bool:
        """The same."""
        return self.allows(name)


def uri_host(uri: str) -> str | None:
    """Return the host of a canonical URI in lower case; ``None`` when it has none that is a plain host name.

    An IP address, a wildcard, an escaped or a missing host gives ``None`` (RFC 5280 §4.2.1.10 wants such URIs
    rejected where names are constrained).
    """
    rest = uri.partition(":")[2]
    if not rest.startswith("//"):
        return None
    authority = rest[2:]
    for delimiter in "/?#":
        authority = authority.partition(delimiter)[0]
    # What stands before the last @ is a user, however much it looks like a host.
    host, colon, port = authority.rpartition("@")[2].partition(":")
    if colon and port and not (port.isascii() and port.isdigit()):
        return None
    try:
        name = canonical_dns(host)
    except RequestRejected:
        return None
    return None if name.startswith("*") else name


def parse_pattern(kind: NameKind, text: str) -> Pattern:
    """Read the text of a rule.

    Args:
        kind: of the names that it is for.
        text: as it stands in the file.

    Raises:
        RequestRejected: ``name.*`` or ``policy.rule``: an empty label, a ``*`` that is not a whole first label, a
            trailing dot, a label of over 63 characters, a name that is not ASCII, a network with host bits.
    """
    return _PARSERS[kind](text)


def _domain(text: str) -> DomainPattern:
    subdomains = text.startswith("*.")
    host = text.removeprefix("*.")
    if not host.isascii():
        raise RequestRejected(
            "policy.rule", f"{printable(text)} is not ASCII", hint="write the internationalised name as xn-- labels"
        )
    if "*" in host:
        raise RequestRejected(
            "policy.rule",
            f"{printable(text)} has a * that is not its whole first label",
            hint="*.example.com stands for exactly one label before example.com",
        )
    if host.endswith("."):
        raise RequestRejected("policy.rule", f"{printable(text)} ends with a dot", hint="leave the dot out")
    return DomainPattern(host=canonical_dns(host), subdomains=subdomains)


def _network(text: str) -> NetworkPattern:
    length = text.partition("/")[2]
    try:
        # Netmasks and host masks are two more notations, and easily taken for each other.
        network = ipaddress.ip_network(text if not length or length.isdigit() else "")
    except ValueError:
        raise RequestRejected(
            "policy.rule", f"{printable(text)} is neither an IP address nor a network", hint=_meant(text)
        ) from None
    if isinstance(network, ipaddress.IPv6Network):
        if network.network_address.scope_id is not None:
            raise RequestRejected("policy.rule", f"{printable(text)} has a zone, which means nothing to others")
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.subnet_of(_MAPPED):
            network = ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED.prefixlen))
    return NetworkPattern(network=network)


def _meant(text: str) -> str:
    try:
        return f"the network is {ipaddress.ip_network(text, strict=False)}"
    except ValueError:
        return "write 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32"


def _mailbox(text: str) -> MailboxPattern:
    local, at, domain = text.rpartition("@")
    if "*" in text:
        raise RequestRejected(
            "policy.rule", f"{printable(text)} has a wildcard", hint="@example.com stands for the whole domain"
        )
    if local:
        canonical = canonical_email(text)
        return MailboxPattern(local=local, domain=canonical.rpartition("@")[2])
    return MailboxPattern(local=None, domain=_domain(domain if at else text).host)


def _uri(text: str) -> UriHostPattern:
    if ":" in text or "/" in text:
        raise RequestRejected(
            "policy.rule",
            f"{printable(text)} is more than a host",
            hint="rules for URIs look at the host only: write the host name without scheme, port and path",
        )
    return UriHostPattern(domain=_domain(text))


def _common_name(text: str) -> CommonNamePattern:
    if text == "*":
        raise RequestRejected(
            "policy.rule", "there are no wildcards for common names", hint="write out each common name"
        )
    return CommonNamePattern(folded=common_name(text).casefold())


_PARSERS: Mapping[NameKind, Callable[[str], Pattern]] = MappingProxyType(
    {
        NameKind.COMMON_NAME: _common_name,
        NameKind.DNS: _domain,
        NameKind.IP: _network,
        NameKind.EMAIL: _mailbox,
        NameKind.URI: _uri,
    }
)
