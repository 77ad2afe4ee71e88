"""Name constraints (RFC 5280 §4.2.1.10): the names that a CA may vouch for.

Invariant: in doubt the answer is no. A name that cannot be judged (a kind without rules here, a URI without a host)
is outside of what is permitted and inside of what is excluded, as soon as its kind is constrained at all.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from shared.errors import RequestRejected
from shared.names import printable

_NETWORK = ipaddress.IPv4Network | ipaddress.IPv6Network


def check_names(certificate: x509.Certificate, constraints: x509.NameConstraints, *, issuer: str) -> None:
    """Insist that every name of a certificate is one that a CA above it may vouch for.

    Args:
        certificate: below the CA.
        constraints: of the CA.
        issuer: how to call the CA in an error.

    Raises:
        RequestRejected: ``path.name-constraints``.
    """
    permitted, excluded = list(constraints.permitted_subtrees or ()), list(constraints.excluded_subtrees or ())
    for name in _names(certificate):
        allowed = [each for each in permitted if type(each) is type(name)]
        forbidden = [each for each in excluded if type(each) is type(name)]
        if allowed and not any(_within(name, each, doubtful=False) for each in allowed):
            raise _refused(name, issuer)
        if any(_within(name, each, doubtful=True) for each in forbidden):
            raise _refused(name, issuer)


def _names(certificate: x509.Certificate) -> Iterator[x509.GeneralName]:
    if list(certificate.subject):
        yield x509.DirectoryName(certificate.subject)
    alternative: Iterable[x509.GeneralName] = ()
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            alternative = list(extension.value)
    yield from alternative
    if not any(isinstance(each, x509.RFC822Name) for each in alternative):
        # §4.2.1.10: without an address among the alternative names, those in the subject count.
        for attribute in certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
            if isinstance(attribute.value, str) and attribute.value.isascii():
                yield x509.RFC822Name(attribute.value)


def _within(name: x509.GeneralName, constraint: x509.GeneralName, *, doubtful: bool) -> bool:
    """Tell whether a name lies in a subtree of its kind.

    Args:
        name: of a certificate.
        constraint: of the same kind.
        doubtful: the answer when it cannot be told, and for a wildcard that covers a part of the subtree.
    """
    match name, constraint:
        case x509.DNSName(), x509.DNSName():
            inside = _dns_within(name.value.lower(), constraint.value.lower(), doubtful=doubtful)
        case x509.RFC822Name(), x509.RFC822Name():
            inside = _email_within(name.value, constraint.value)
        case x509.UniformResourceIdentifier(), x509.UniformResourceIdentifier():
            inside = _uri_within(name.value, constraint.value.lower(), doubtful=doubtful)
        case x509.IPAddress(), x509.IPAddress() if isinstance(constraint.value, _NETWORK):
            inside = name.value in constraint.value
        case x509.DirectoryName(), x509.DirectoryName():
            above = constraint.value.rdns
            inside = name.value.rdns[: len(above)] == above
        case _:
            inside = doubtful
    return inside


def _dns_within(name: str, subtree: str, *, doubtful: bool) -> bool:
    if subtree.startswith("."):
        inside = name.endswith(subtree)
    else:
        inside = not subtree or name == subtree or name.endswith("." + subtree)
    if not inside and name.startswith("*.") and doubtful:
        # *.a.example covers a part of the subtree b.a.example.
        return subtree.lstrip(".").endswith(name[1:])
    return inside


def _email_within(address: str, subtree: str) -> bool:
    local, _, host = address.rpartition("@")
    if "@" in subtree:
        wanted_local, _, wanted_host = subtree.rpartition("@")
        return local == wanted_local and host.lower() == wanted_host.lower()
    return _host_within(host.lower(), subtree.lower())


def _uri_within(uri: str, subtree: str, *, doubtful: bool) -> bool:
    host = _host_of(uri)
    # §4.2.1.10: a constraint on URIs is about names, and says nothing of a host that is an address.
    return _host_within(host, subtree) if host and not _is_address(host) else doubtful


def _host_of(uri: str) -> str:
    try:
        return (urlsplit(uri).hostname or "").lower()
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host_within(host: str, subtree: str) -> bool:
    # For e-mail and URI, unlike DNS, a name without a dot in front means this one host.
    return host.endswith(subtree) if subtree.startswith(".") else host == subtree or not subtree


def _refused(name: x509.GeneralName, issuer: str) -> RequestRejected:
    value = name.value.rfc4514_string() if isinstance(name.value, x509.Name) else str(name.value)
    return RequestRejected("path.name-constraints", f"{issuer} may not vouch for the name {printable(value)}")
