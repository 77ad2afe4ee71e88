"""The act of a rollover, pure: the next root, and the two certificates that lead from old to new and back.

``new-with-old`` lets whoever trusts only the old root accept what the new one issues; ``old-with-new`` lets whoever
trusts only the new one accept what the old one issued (RFC 4210 §4.4). Both begin with the next root and end with
the root that ends first.

Invariants: each link has the very subject, key and key identifier of the root that it certifies, and its path
length: neither root can do more through a link than it could before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from ceremony.crosscert import check_same_subject, extension_of, key_identifier_of, path_length_of
from ceremony.plan import Plan, RolloverPlan
from ceremony.root import prepare_root
from shared.ca_extensions import ALLOWED_ON_CA
from shared.errors import PolicyDenied
from shared.issue import IssuanceRequest, Issuer, Prepared, lifetime, prepare
from shared.keys import CA_KINDS, CaPublicKey, ca_key
from shared.profile import Profile, Role

FOLDER = "rollover"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloverFiles:
    """Where the three certificates lie, relative to the ceremony's directory."""

    root: str
    old_with_new: str
    new_with_old: str


def rollover_files(name: str) -> RolloverFiles:
    """Return where the certificates of a rollover lie."""
    return RolloverFiles(
        root=f"{FOLDER}/{name}/root.crt",
        old_with_new=f"{FOLDER}/{name}/old-with-new.crt",
        new_with_old=f"{FOLDER}/{name}/new-with-old.crt",
    )


def prepare_next_root(
    plan: Plan, rollover: RolloverPlan, *, public_key: CaPublicKey, serial: int, now: datetime
) -> Prepared:
    """Build and lint the next root, just as a first one.

    Args:
        plan: of the ceremony.
        rollover: which successor.
        public_key: of the key that was generated in the HSM for it.
        serial: drawn in the HSM; used unless the plan fixes one.
        now: aware UTC, the first second of the validity unless the plan fixes one.

    Raises:
        PolicyDenied: ``lint.*``.
    """
    return prepare_root(replace(plan, root=rollover.root), public_key=public_key, serial=serial, now=now)


def prepare_link(certified: x509.Certificate, issuer: x509.Certificate, *, begin: datetime, serial: int) -> Prepared:
    """Build and lint one root's certificate by the other.

    Args:
        certified: the root whose key is certified.
        issuer: the root that certifies it.
        begin: aware UTC, when the next root begins.
        serial: drawn in the HSM.

    Raises:
        PolicyDenied: ``rollover.too-late`` or ``lint.*``.
        Fatal: ``cross.changed``.
    """
    end = min(certified.not_valid_after_utc, issuer.not_valid_after_utc)
    if end <= begin:
        raise PolicyDenied("rollover.too-late", "the old root ends before the next one begins: nothing leads over")
    policies = extension_of(certified, x509.CertificatePolicies)
    request = IssuanceRequest(
        subject=certified.subject,
        public_key=ca_key(certified),
        serial=serial,
        not_before=begin,
        not_after=end,
        subject_key_identifier=key_identifier_of(certified),
        extra=(x509.Extension(policies.oid, False, policies),) if policies is not None else (),
    )
    prepared = prepare(link_profile(certified), request, Issuer.from_certificate(issuer))
    check_same_subject(prepared.tbs, certified)
    return prepared


def link_profile(certified: x509.Certificate) -> Profile:
    """Return the profile of a link: a CA with the certified root's own path length, for no longer than that root."""
    return Profile(
        name="rollover-link",
        role=Role.INTERMEDIATE,
        longest=lifetime(certified),
        path_length=path_length_of(certified) or 0,
        key_kinds=CA_KINDS,
        allowed_extensions=ALLOWED_ON_CA,
    )
