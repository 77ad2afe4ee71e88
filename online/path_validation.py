"""Does a certificate lead to a trusted root? Path building and validation (RFC 5280 §6).

``cryptography`` has such a judge, but it takes no issuer with an Ed25519 key and wants of every leaf what a public web
server must have; so this is a judge of our own, which the tests hold against it, ``openssl`` and ``step``. Revocation
is not looked at: in this house it means that a certificate is not renewed any more.

Invariants: a path counts only when every check of every link held; a critical extension that is not understood
refuses; the work is bounded whatever the intermediates are. Time is an argument.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtensionOID

from online.name_constraints import check_names
from shared.clock import rfc3339
from shared.errors import RequestRejected
from shared.keys import certificate_key
from shared.names import format_name, printable

Path = tuple[x509.Certificate, ...]

_LONGEST_PATH = 8
_MOST_SIGNATURES = 64
# What a critical extension may be: all of these are judged here. certificatePolicies restricts nothing unless a
# policyConstraints does, which is not in the list.
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


def validate_path(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], *, now: datetime
) -> Path:
    """Find a path from a certificate to a trusted root that holds in every respect.

    1. Build: each issuer's name is the one that the certificate names, its key signed it; roots are tried first.
    2. Every certificate of the path is valid now.
    3. Every issuer is a CA that may sign certificates, and allows as many CAs below it.
    4. Every critical extension is understood.
    5. Every key and every signature is of an accepted kind.
    6. Every name is within the name constraints of all CAs above it.

    Args:
        leaf: the certificate in question.
        others: what may lie between; order and surplus do not matter.
        roots: what is trusted.
        now: aware UTC.

    Returns:
        The path, leaf first, root last; the certificate alone when it is itself a trusted root.

    Raises:
        RequestRejected: ``path.unknown-issuer``, or ``path.*`` with the fault of the first path that was found.
    """
    first_fault: RequestRejected | None = None
    # 1
    for path in _paths(leaf, others, roots):
        try:
            _check_path(path, now)
        except RequestRejected as fault:
            first_fault = first_fault or fault
        else:
            return path
    raise first_fault or RequestRejected(
        "path.unknown-issuer",
        f"{format_name(leaf.subject)} does not lead to a trusted root",
        hint="are the intermediates in the file, and is it the right root?",
    )


def check_host(leaf: x509.Certificate, host: str) -> None:
    """Insist that a certificate is for a host (RFC 9525): its alternative names decide, the common name never does.

    Args:
        leaf: the certificate.
        host: a DNS name, or an IP address.

    Raises:
        RequestRejected: ``path.host``.
    """
    names = [each for extension in leaf.extensions if isinstance(extension.value, x509.SubjectAlternativeName)
             for each in extension.value]  # fmt: skip
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        wanted = host.lower().removesuffix(".")
        if any(isinstance(each, x509.DNSName) and _covers(each.value.lower(), wanted) for each in names):
            return
    else:
        if any(isinstance(each, x509.IPAddress) and each.value == address for each in names):
            return
    shown = ", ".join(printable(str(each.value)) for each in names[:5]) or "no host at all"
    raise RequestRejected("path.host", f"the certificate is for {shown}, not for {printable(host)}")


def _covers(pattern: str, host: str) -> bool:
    if not pattern.startswith("*."):
        return pattern == host
    # A wildcard stands for exactly one label.
    label, _, rest = host.partition(".")
    return bool(label) and rest == pattern[2:]


def _paths(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> Iterator[Path]:
    budget = [_MOST_SIGNATURES]
    if leaf in roots:
        yield (leaf,)

    def extend(path: Path) -> Iterator[Path]:
        for root in roots:
            if root not in path and _issued(path[-1], root, budget):
                yield (*path, root)
        if len(path) == _LONGEST_PATH:
            return
        for other in others:
            if other not in path and other not in roots and _issued(path[-1], other, budget):
                yield from extend((*path, other))

    yield from extend((leaf,))


def _issued(subject: x509.Certificate, issuer: x509.Certificate, budget: list[int]) -> bool:
    if subject.issuer != issuer.subject or budget[0] == 0:
        return False
    budget[0] -= 1
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_path(path: Path, now: datetime) -> None:
    for depth, certificate in enumerate(path):
        # 2
        _check_time(certificate, now)
        # 3
        if depth:
            _check_authority(certificate, path[1:depth])
        # 4
        _check_extensions(certificate)
        # 5
        certificate_key(certificate)
        if certificate is not path[-1]:
            _check_hash(certificate)
        # 6
        _check_constraints(certificate, path[:depth])


def _check_time(certificate: x509.Certificate, now: datetime) -> None:
    name = format_name(certificate.subject)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        raise RequestRejected("path.not-yet-valid", f"{name} is not valid before {rfc3339(begin)}")
    # RFC 5280 §4.1.2.5: the end is the last moment of validity.
    if now > end:
        raise RequestRejected("path.expired", f"{name} expired at {rfc3339(end)}")


def _check_extensions(certificate: x509.Certificate) -> None:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise RequestRejected(
                "path.critical",
                f"{format_name(certificate.subject)} has the critical extension {extension.oid.dotted_string}, "
                "which is not understood",
            )


def _check_constraints(issuer: x509.Certificate, below: Path) -> None:
    for extension in issuer.extensions:
        if isinstance(extension.value, x509.NameConstraints):
            for each in below:
                # §6.1.4: a CA's new certificate for itself is not held to its own constraints; the leaf always is.
                if each is below[0] or each.subject != each.issuer:
                    check_names(each, extension.value, issuer=format_name(issuer.subject))


def _check_authority(issuer: x509.Certificate, below: Path) -> None:
    name = format_name(issuer.subject)
    values = {extension.oid: extension.value for extension in issuer.extensions}
    basic, usage = values.get(ExtensionOID.BASIC_CONSTRAINTS), values.get(ExtensionOID.KEY_USAGE)
    if not isinstance(basic, x509.BasicConstraints) or not basic.ca:
        raise RequestRejected("path.not-a-ca", f"{name} is not a CA")
    if isinstance(usage, x509.KeyUsage) and not usage.key_cert_sign:
        raise RequestRejected("path.not-a-ca", f"{name} may not sign certificates")
    between = sum(1 for each in below if each.subject != each.issuer)
    if basic.path_length is not None and between > basic.path_length:
        raise RequestRejected("path.too-long", f"{name} allows {basic.path_length} CAs below it, there are {between}")


def _check_hash(certificate: x509.Certificate) -> None:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        algorithm = hashes.SHA1()  # noqa: S303 (stands for any that is not accepted)
    # None is Ed25519, which has its hash built in.
    if algorithm is not None and not isinstance(algorithm, _HASHES):
        raise RequestRejected("path.weak-signature", f"{format_name(certificate.subject)} is signed with a weak hash")
