"""The leaves that the authority issues, decided before anything is signed: subject, names, validity, extensions.

Pure: the moment, the serial and the issuer are arguments. What comes out goes through the one signing path.

Invariants:

* a leaf never outlives its issuer and never begins before it: its validity is cut to the issuer's;
* a renewal is held against today's limits and policies, not those of the day of issue;
* a common name that is not one of the alternative names does not enter a certificate.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID

from online.csr import TokenNames
from online.policy import KeyFacts, Policy, Wanted, enforce
from online.provisioners.protocol import Provisioner
from online.step_extension import STEP_PROVISIONER_OID, StepExtension
from online.templates import SubjectDefaults, fill
from shared.clock import whole_seconds
from shared.errors import PolicyDenied
from shared.issue import IssuanceRequest, Issuer, clip_to_issuer, lifetime
from shared.keys import PublicKey, kind_of
from shared.names import SanSet, common_name, common_name_of, sans_of
from shared.profile import TLS_USAGES, Profile, leaf_profile

_OWN_LIFETIME = timedelta(hours=24)
_FOR_TLS = frozenset(TLS_USAGES)
_LONGEST_COMMON_NAME = 64
_STEP_ONLY = frozenset({STEP_PROVISIONER_OID})


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What to sign, and the profile to hold it against."""

    profile: Profile
    request: IssuanceRequest
    sans: SanSet
    """The alternative names that it will have, canonical: the ones that the policies judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseRules:
    """What the authority says about leaves, whoever vouches for them."""

    backdate: timedelta
    """How far notBefore lies in the past, and so how much longer than the claims' longest a validity may be."""
    policy: Policy
    subject_defaults: SubjectDefaults
    crl_url: str = ""
    """Where the list of revoked leaves is to be had; named in each leaf whose template does not name another place."""


def signed_leaf(
    names: TokenNames,
    public_key: PublicKey,
    *,
    validity: tuple[datetime, datetime],
    provisioner: Provisioner,
    house: HouseRules,
    serial: int,
    issuer: Issuer,
) -> Leaf:
    """Decide on a new leaf: the provisioner's template shapes it, then both policies judge what came out.

    Args:
        names: from the token.
        public_key: from the checked request.
        validity: notBefore and notAfter as the claims allow them.
        provisioner: who vouches for it.
        house: the authority's rules.
        serial: fresh.
        issuer: who will sign.

    Raises:
        RequestRejected: ``name.*``.
        PolicyDenied: ``policy.not-allowed`` or ``validity.outside-issuer``.
    """
    filled = fill(
        provisioner.rules.template,
        subject=names.subject,
        sans=names.sans,
        kind=kind_of(public_key),
        defaults=house.subject_defaults,
    )
    wanted = Wanted(common_name=filled.common_name, sans=filled.sans, key=KeyFacts.of(public_key))
    enforce((house.policy, provisioner.rules.policy), wanted)
    not_before, not_after = within_issuer(*validity, issuer)
    claims = provisioner.claims
    extensions = (*filled.extensions, *_distribution_point(house.crl_url, filled.extensions))
    if not claims.disable_smallstep_extensions:
        extensions += (_step_extension(provisioner.type.number, provisioner.name, provisioner.kid),)
    return Leaf(
        profile=leaf_profile(
            longest=claims.max_tls + house.backdate,
            allowed_extensions=_STEP_ONLY | {extension.oid for extension in extensions},
            purposes=filled.purposes,
            extended_key_usage=filled.extended_key_usage,
        ),
        sans=filled.sans,
        request=IssuanceRequest(
            subject=filled.subject,
            public_key=public_key,
            serial=serial,
            not_before=not_before,
            not_after=not_after,
            sans=filled.sans,
            extra=extensions,
        ),
    )


def renewed_leaf(
    old: x509.Certificate,
    public_key: PublicKey,
    *,
    provisioner: Provisioner,
    house: HouseRules,
    now: datetime,
    serial: int,
    issuer: Issuer,
) -> Leaf:
    """Decide on the successor of a leaf: the same subject and extensions, the same length of life or today's longest.

    Where its list is to be had is said as for a new leaf of today: an address that does not hold any more would be
    handed on for ever.

    Args:
        old: a leaf that was proved to be ours.
        public_key: the old one (renew) or a new, checked one (rekey).
        provisioner: who vouches for it, as configured today.
        house: the authority's rules of today.
        now: aware UTC.
        serial: fresh.
        issuer: who will sign.

    Raises:
        RequestRejected: ``name.*`` when the old leaf has names that are not accepted any more.
        PolicyDenied: ``policy.not-allowed``, ``renew.extended-key-usage`` when the old leaf was for something that is
            neither TLS nor in the provisioner's template, ``validity.outside-issuer``.
    """
    rules = provisioner.rules
    sans = sans_of(old.extensions)
    wanted = Wanted(common_name=common_name_of(old.subject), sans=sans, key=KeyFacts.of(public_key))
    enforce((house.policy, rules.policy), wanted)
    longest = provisioner.claims.max_tls + house.backdate
    start = whole_seconds(now) - house.backdate
    if issuer.certificate is not None:
        # Under a young issuer the first leaf began no earlier than it, so its life was shorter by that much. Counted
        # from a moment before the issuer, the successor would end before its predecessor.
        start = max(start, issuer.certificate.not_valid_before_utc)
    not_before, not_after = within_issuer(start, start + min(lifetime(old), longest), issuer)
    shape = rules.template.shape(kind_of(public_key))
    extra = _distribution_point(house.crl_url, shape.extensions)
    return Leaf(
        profile=leaf_profile(
            longest=longest,
            # They were signed by this CA once; whether they may be critical the lint decides anew.
            allowed_extensions=_STEP_ONLY | {extension.oid for extension in (*old.extensions, *extra)},
            purposes=shape.purposes,
            extended_key_usage=_usages(old, _FOR_TLS | rules.template.extended_key_usages()),
        ),
        sans=sans,
        request=IssuanceRequest(
            subject=old.subject,
            public_key=public_key,
            serial=serial,
            not_before=not_before,
            not_after=not_after,
            extra=extra,
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
    crl_url: str = "",
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
        crl_url: where the list of revoked leaves is to be had, if anywhere.

    Raises:
        PolicyDenied: ``validity.outside-issuer``.
    """
    start = whole_seconds(now) - backdate
    not_before, not_after = within_issuer(start, whole_seconds(now) + _OWN_LIFETIME, issuer)
    candidates = (configured_name, *sans.texts())
    fitting = [name for name in candidates if _is_among(name, sans) and len(name) <= _LONGEST_COMMON_NAME]
    extra = _distribution_point(crl_url, ())
    return Leaf(
        profile=leaf_profile(
            longest=_OWN_LIFETIME + backdate, allowed_extensions=frozenset(extension.oid for extension in extra)
        ),
        sans=sans,
        request=IssuanceRequest(
            subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name(fitting[0]))] if fitting else []),
            public_key=public_key,
            serial=serial,
            not_before=not_before,
            not_after=not_after,
            sans=sans,
            extra=extra,
        ),
    )


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


def _distribution_point(
    url: str, others: tuple[x509.Extension[x509.ExtensionType], ...]
) -> tuple[x509.Extension[x509.ExtensionType], ...]:
    """Return the extension that names the list (RFC 5280 §4.2.1.13); none when it is named already, or nowhere."""
    if not url or any(each.oid == x509.CRLDistributionPoints.oid for each in others):
        return ()
    return _named_list(url)


@functools.lru_cache(maxsize=16)
def _named_list(url: str) -> tuple[x509.Extension[x509.ExtensionType]]:
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
    value: x509.ExtensionType = x509.CRLDistributionPoints([point])
    return (x509.Extension(value.oid, False, value),)


@functools.lru_cache(maxsize=1024)
def _step_extension(number: int, name: str, credential_id: str) -> x509.Extension[x509.ExtensionType]:
    """Encoded once a provisioner, not once a leaf."""
    return StepExtension(type=number, name=name, credential_id=credential_id).encode()


def _usages(old: x509.Certificate, accepted: frozenset[x509.ObjectIdentifier]) -> tuple[x509.ObjectIdentifier, ...]:
    try:
        usages = tuple(old.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        usages = ()
    if not usages or not accepted.issuperset(usages):
        raise PolicyDenied(
            "renew.extended-key-usage", "the certificate is for something that its provisioner does not certify today"
        )
    return usages


def _is_among(name: str, sans: SanSet) -> bool:
    return name.lower() in {text.lower() for text in sans.texts()}
