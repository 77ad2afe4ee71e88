"""The leaves that the authority issues, decided before anything is signed: subject, names, validity, extensions.

Pure: the moment, the serial and the issuer are arguments. What comes out goes through the one signing path.

Invariants:

* a leaf never outlives its issuer and never begins before it: its validity is cut to the issuer's;
* a renewal is held against today's limits, not those of the day of issue;
* a common name that is not one of the alternative names does not enter a certificate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from online.claims import Claims
from online.csr import TokenNames
from online.provisioners.protocol import Provisioner
from online.step_extension import STEP_PROVISIONER_OID, StepExtension
from shared.clock import whole_seconds
from shared.errors import PolicyDenied
from shared.issue import IssuanceRequest, Issuer, clip_to_issuer, lifetime
from shared.keys import PublicKey
from shared.names import SanSet, common_name
from shared.profile import Profile, leaf_profile

_OWN_LIFETIME = timedelta(hours=24)
_TLS_USAGES = frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH})
_LONGEST_COMMON_NAME = 64
_STEP_ONLY = frozenset({STEP_PROVISIONER_OID})


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What to sign, and the profile to hold it against."""

    profile: Profile
    request: IssuanceRequest


def signed_leaf(
    names: TokenNames,
    public_key: PublicKey,
    *,
    validity: tuple[datetime, datetime],
    provisioner: Provisioner,
    backdate: timedelta,
    serial: int,
    issuer: Issuer,
) -> Leaf:
    """Decide on a new leaf.

    Args:
        names: from the token.
        public_key: from the checked request.
        validity: notBefore and notAfter as the claims allow them.
        provisioner: who vouches for it.
        backdate: how much longer than the claims' longest the validity may be.
        serial: fresh.
        issuer: who will sign.

    Raises:
        RequestRejected: ``name.common-name``.
        PolicyDenied: ``validity.outside-issuer``.
    """
    not_before, not_after = within_issuer(*validity, issuer)
    claims = provisioner.claims
    return Leaf(
        profile=leaf_profile(longest=claims.max_tls + backdate, allowed_extensions=_STEP_ONLY),
        request=IssuanceRequest(
            subject=leaf_subject(names.subject, names.sans),
            public_key=public_key,
            serial=serial,
            not_before=not_before,
            not_after=not_after,
            sans=names.sans,
            extra=() if claims.disable_smallstep_extensions else (_step_extension(provisioner),),
        ),
    )


def renewed_leaf(
    old: x509.Certificate,
    public_key: PublicKey,
    *,
    claims: Claims,
    now: datetime,
    backdate: timedelta,
    serial: int,
    issuer: Issuer,
) -> Leaf:
    """Decide on the successor of a leaf: the same subject and extensions, the same length of life or today's longest.

    Args:
        old: a leaf that was proved to be ours.
        public_key: the old one (renew) or a new, checked one (rekey).
        claims: the provisioner's limits of today.
        now: aware UTC.
        backdate: how far notBefore lies in the past.
        serial: fresh.
        issuer: who will sign.

    Raises:
        PolicyDenied: ``renew.extended-key-usage`` when the old leaf was for something else than TLS,
            ``validity.outside-issuer``.
    """
    longest = claims.max_tls + backdate
    start = whole_seconds(now) - backdate
    if issuer.certificate is not None:
        # Under a young issuer the first leaf began no earlier than it, so its life was shorter by that much. Counted
        # from a moment before the issuer, the successor would end before its predecessor.
        start = max(start, issuer.certificate.not_valid_before_utc)
    not_before, not_after = within_issuer(start, start + min(lifetime(old), longest), issuer)
    profile = leaf_profile(
        longest=longest,
        # They were signed by this CA once; whether they may be critical the lint decides anew.
        allowed_extensions=_STEP_ONLY | {extension.oid for extension in old.extensions},
    )
    return Leaf(
        profile=replace(profile, extended_key_usage=_tls_usages(old)),
        request=IssuanceRequest(
            subject=old.subject,
            public_key=public_key,
            serial=serial,
            not_before=not_before,
            not_after=not_after,
            renewed_from=old,
        ),
    )


def own_leaf(
    configured_name: str,
    sans: SanSet,
    public_key: PublicKey,
    *,
    now: datetime,
    backdate: timedelta,
    serial: int,
    issuer: Issuer,
) -> Leaf:
    """Decide on the node's own TLS leaf: 24 hours, for its DNS names.

    Args:
        configured_name: the configuration's common name; where it is not one of the names, the first name that
            fits takes its place.
        sans: the node's names, at least one.
        public_key: of the node's fresh key.
        now: aware UTC.
        backdate: how far notBefore lies in the past.
        serial: fresh.
        issuer: who will sign.

    Raises:
        PolicyDenied: ``validity.outside-issuer``.
    """
    start = whole_seconds(now) - backdate
    not_before, not_after = within_issuer(start, whole_seconds(now) + _OWN_LIFETIME, issuer)
    candidates = (configured_name, *sans.texts())
    fitting = [name for name in candidates if _is_among(name, sans) and len(name) <= _LONGEST_COMMON_NAME]
    return Leaf(
        profile=leaf_profile(longest=_OWN_LIFETIME + backdate),
        request=IssuanceRequest(
            subject=leaf_subject(fitting[0], sans) if fitting else x509.Name([]),
            public_key=public_key,
            serial=serial,
            not_before=not_before,
            not_after=not_after,
            sans=sans,
        ),
    )


def leaf_subject(name: str, sans: SanSet) -> x509.Name:
    """Return a leaf's subject: its common name, or nothing when the name is not among the alternative names.

    ``step ca certificate foobar --san 10.0.0.1`` asks for such a name. Whoever still matches common names would
    take the holder for a host that nobody checked, so it is left out; the alternative names are then critical.

    Raises:
        RequestRejected: ``name.common-name``.
    """
    checked = common_name(name)
    if not _is_among(checked, sans):
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, checked)])


def within_issuer(not_before: datetime, not_after: datetime, issuer: Issuer) -> tuple[datetime, datetime]:
    """Cut a validity to the issuer's own.

    Raises:
        PolicyDenied: ``validity.outside-issuer`` when nothing is left of it.
    """
    begin = not_before
    if issuer.certificate is not None:
        begin = max(begin, issuer.certificate.not_valid_before_utc)
    end = clip_to_issuer(not_after, issuer)
    if end <= begin:
        raise PolicyDenied("validity.outside-issuer", "the intermediate certificate is not valid at the time asked for")
    return begin, end


def _step_extension(provisioner: Provisioner) -> x509.Extension[x509.ExtensionType]:
    return StepExtension(type=provisioner.type.number, name=provisioner.name, credential_id=provisioner.kid).encode()


def _tls_usages(old: x509.Certificate) -> tuple[x509.ObjectIdentifier, ...]:
    try:
        usages = tuple(old.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        usages = ()
    if not usages or not _TLS_USAGES.issuperset(usages):
        raise PolicyDenied("renew.extended-key-usage", "the certificate is for something else than TLS")
    return usages


def _is_among(name: str, sans: SanSet) -> bool:
    return name.lower() in {text.lower() for text in sans.texts()}
