"""The certificates above the leaves: the issuing intermediate with its key, what leads to a root, and the roots.

Invariant: in a ``Hierarchy`` in hand the key belongs to the issuing certificate, each certificate is a CA signed
by the one above it within its path length, and the last one is signed by a trusted root. Time is not part of it:
that is asked anew with every certificate that is issued.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509

from online.issued import is_signed_by
from shared import durable
from shared.clock import rfc3339
from shared.errors import Fatal, RequestRejected
from shared.issue import Issuer
from shared.keys import PrivateKey
from shared.names import format_name
from shared.pem import chain_pem, load_certificates

_NOT_IMPORTED = "it comes with the ceremony's reply: carry the request there, and bring the reply home by online import"

Chain = tuple[x509.Certificate, ...]
"""A leaf and the intermediates above it, or the intermediates alone; never a root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """What the node issues under."""

    key: PrivateKey = field(repr=False)
    """The private key of ``chain[0]``, in software or in an HSM."""
    chain: Chain
    """The issuing intermediate, then the intermediates above it."""
    roots: tuple[x509.Certificate, ...]
    federated_roots: tuple[x509.Certificate, ...] = ()
    """Roots of other CAs that clients of this one shall trust too; nothing is accepted on their word here."""
    former_issuers: tuple[x509.Certificate, ...] = ()
    """Earlier intermediates under the same roots, whose leaves may still be renewed, by the current one; some may have
    ended."""
    issuer: Issuer = field(init=False)
    """Who signs."""
    accepted: tuple[Issuer, ...] = field(init=False)
    """Whose leaves are ours: the issuer, then the former ones, whether they ended or not."""
    chain_pem: tuple[str, ...] = field(init=False, repr=False)
    """``chain`` in PEM, as it goes out with every leaf."""

    def __post_init__(self) -> None:
        """Check that the hierarchy holds together.

        Raises:
            RequestRejected: ``authority.chain``, ``authority.wrong-key`` or ``key.*``.
        """
        if not self.chain or not self.roots:
            raise RequestRejected("authority.chain", "an intermediate and a root certificate are needed")
        issuers = tuple(map(Issuer.from_certificate, (self.chain[0], *self.former_issuers)))
        object.__setattr__(self, "issuer", issuers[0])
        object.__setattr__(self, "accepted", issuers)
        object.__setattr__(self, "chain_pem", tuple(chain_pem(self.chain)))
        if self.key.public_key() != issuers[0].public_key:
            raise RequestRejected(
                "authority.wrong-key",
                "the intermediate key does not belong to the intermediate certificate",
                hint="check crt and key in ca.json, and that the ceremony's reply was imported",
            )
        for depth, certificate in enumerate(self.chain):
            above = self.chain[depth + 1 : depth + 2] or self.roots
            if not _may_issue(certificate, depth) or not any(
                is_signed_by(certificate, Issuer.from_certificate(each)) and _may_issue(each, depth + 1)
                for each in above
            ):
                raise RequestRejected(
                    "authority.chain",
                    f"{format_name(certificate.subject)} is not a CA certificate under the one above it",
                    hint="check root and crt in ca.json",
                )
        above = (*self.chain[1:], *self.roots)
        for former in self.former_issuers:
            if not _may_issue(former, 0) or not any(
                is_signed_by(former, Issuer.from_certificate(each)) for each in above
            ):
                raise RequestRejected(
                    "authority.former",
                    f"{format_name(former.subject)}, a former intermediate, is not a CA certificate under our roots",
                    hint="check coldroot.formerIntermediates in ca.json",
                )

    def anchors(self, now: datetime) -> Chain:
        """Return the intermediates whose leaves may renew, rekey and revoke themselves, the issuer first.

        A former one that ended is left out: RFC 5280 §6.1.3 lets no path lead through it.

        Args:
            now: aware UTC.
        """
        return (self.chain[0], *(each for each in self.former_issuers if now <= each.not_valid_after_utc))

    def accepted_at(self, now: datetime) -> tuple[Issuer, ...]:
        """Return the issuers that ``anchors`` are."""
        return tuple(
            issuer
            for issuer, each in zip(self.accepted, (self.chain[0], *self.former_issuers), strict=True)
            if issuer is self.issuer or now <= each.not_valid_after_utc
        )

    def check_in_validity(self, now: datetime) -> None:
        """Insist that the intermediates are in their time.

        Args:
            now: aware UTC.

        Raises:
            Fatal: ``authority.outside-validity``.
        """
        for certificate in self.chain:
            if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
                raise Fatal(
                    "authority.outside-validity",
                    f"{format_name(certificate.subject)} is not valid at {rfc3339(now)}",
                    hint="check the clock; if it is right, have the ceremony sign a new intermediate",
                )


def load_hierarchy(
    key: PrivateKey,
    *,
    crt: Path,
    roots: Sequence[Path],
    federated_roots: Sequence[Path] = (),
    former: Sequence[Path] = (),
) -> Hierarchy:
    """Read the certificates that a configuration names.

    Args:
        key: the issuing key, opened before.
        crt: the issuing intermediate in PEM, followed by the ones above it, if there are any.
        roots: files with trusted roots.
        federated_roots: files with roots of other CAs.
        former: files with intermediates that ``crt`` took the place of; what stands behind the first is passed over.

    Raises:
        RequestRejected: ``file.*``, ``pem.*``, ``certificate.malformed``, ``authority.*`` or ``key.*``.
    """
    return Hierarchy(
        key=key,
        chain=read_chain(crt),
        roots=_read(roots),
        federated_roots=_read(federated_roots),
        former_issuers=read_former(former),
    )


def read_chain(crt: Path) -> tuple[x509.Certificate, ...]:
    """Read the issuing intermediate, followed by the ones above it, if there are any.

    Raises:
        RequestRejected: ``file.*``, ``pem.*`` or ``certificate.malformed``.
    """
    return load_certificates(durable.read_file(crt, if_missing=_NOT_IMPORTED), what=f"file {crt}")


def read_former(paths: Sequence[Path]) -> tuple[x509.Certificate, ...]:
    """Read former intermediates, one a file, as ``crt`` had them.

    Raises:
        RequestRejected: ``file.*``, ``pem.*`` or ``certificate.malformed``.
    """
    return tuple(load_certificates(durable.read_file(each), what=f"file {each}")[0] for each in paths)


def _read(paths: Sequence[Path]) -> tuple[x509.Certificate, ...]:
    return tuple(
        certificate for path in paths for certificate in load_certificates(durable.read_file(path), what=f"file {path}")
    )


def _may_issue(certificate: x509.Certificate, below: int) -> bool:
    """Tell whether a certificate may sign certificates, with so many CAs between it and a leaf (RFC 5280 §4.2.1.9)."""
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    return basic.ca and usage.key_cert_sign and (basic.path_length is None or basic.path_length >= below)
