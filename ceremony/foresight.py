"""What will be signed, before the day: the digest of every certificate and list that plan and known keys fix.

A TBSCertificate follows from subject, serial, dates, extensions, the key that is certified, and the issuer's name
and key; a list from its number, its dates and the serials that it revokes. Who fixes serials and beginnings in the
plan and knows the keys can compute its SHA-256, and compare it with what the ceremony's screen shows before it signs.

Invariant: the digests come from the acts' own pure functions. What they do not yield is never guessed: it is named
as missing, with what would help.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cryptography import x509

from ceremony.crl import planned_lists, prepare_list
from ceremony.crosscert import cross_file, prepare_cross
from ceremony.intermediate import SigningRequest, prepare_intermediate
from ceremony.plan import FIRST_ROOT, ActKind, Fixed, Plan, PlannedAct
from ceremony.root import prepare_root
from ceremony.script import Known
from shared import signing
from shared.errors import RequestRejected
from shared.issue import Prepared
from shared.keys import CaKind, CaPublicKey, ca_key, fingerprint, kind_of
from shared.pem import load_certificate_der

NO_SERIAL = "serial is not fixed in the plan"
NO_BEGINNING = "not_before is not fixed in the plan"
NO_ROOT_KEY = "the root's key is not known: give --dir with root.crt, or --public-key"
NO_ROOT = "the root is not known: give --dir with root.crt, or fix its serial and not_before and give --public-key"
NO_NEXT_ROOT = "the next root that signs it is not known: its key is generated in the rollover"
NO_REQUEST = "the request is not known: give its bundle with --request"
NO_OTHER_ROOT = "the other root's certificate is not known: give it with --other-root"
NO_REVOKED = "the serial of {file}, which is revoked, is not known: sign it first, or fix it in the plan"
NEXT_KEY = "the next root's key is generated on the day"
NOTHING = "this act signs no certificate and no list"


@dataclass(frozen=True, slots=True, kw_only=True)
class AtHand:
    """What is known besides the plan."""

    roots: Mapping[str, x509.Certificate] = field(default_factory=dict)
    """The roots that exist already: the first one as ``FIRST_ROOT``, others by the rollover that made them."""
    root_key: CaPublicKey | None = None
    """The root's public key, when it was generated before the day."""
    requests: tuple[SigningRequest, ...] = ()
    """Requests for intermediates, from ``read_request``."""
    issued: Mapping[str, x509.Certificate] = field(default_factory=dict)
    """Certificates of CAs that were signed already, by where they lie without ``.crt``."""
    other_roots: tuple[x509.Certificate, ...] = ()
    """Other CAs' roots, from ``read_other_root``."""

    @property
    def root(self) -> x509.Certificate | None:
        """The first root's certificate, when it exists already."""
        return self.roots.get(FIRST_ROOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """What is known of one signature of an act."""

    act: PlannedAct
    file: str
    """Where the certificate or list will lie; empty for an act that has none."""
    tbs: bytes | None = None
    """What will be signed, in DER."""
    missing: tuple[str, ...] = ()
    """Why it is not known, when it is not."""

    @property
    def digest(self) -> bytes | None:
        """SHA-256 of what will be signed."""
        return hashlib.sha256(self.tbs).digest() if self.tbs is not None else None


def foresee(plan: Plan, at_hand: AtHand) -> tuple[Foreseen, ...]:
    """Compute what each act of a plan will sign.

    Args:
        plan: validated.
        at_hand: certificates, keys and requests that are known.

    Raises:
        RequestRejected: ``foresight.other-root`` when the root at hand is not the plan's; ``foresight.other-key`` when
            the given key is not the certificate's, or of another kind than planned.
        PolicyDenied: ``lint.*``: what the act would refuse to sign is refused here.
    """
    at_hand = _checked(plan, at_hand)
    root, root_missing = _root(plan, at_hand)
    roots = dict(at_hand.roots)
    if at_hand.root is None and root is not None:
        roots[FIRST_ROOT] = unsigned(root.tbs, plan.root.key)
    found: list[Foreseen] = []
    issued = dict(at_hand.issued)
    for act in plan.acts:
        if act.kind is ActKind.ROOT:
            found.append(Foreseen(act=act, file="root.crt", tbs=_tbs(root, at_hand.root), missing=root_missing))
        elif act.kind is ActKind.INTERMEDIATE:
            foreseen = _intermediate(plan, act, at_hand.requests, roots, issued.get(act.name))
            found.append(foreseen)
            if foreseen.tbs is not None and act.name not in issued:
                issuer = next(each.issuer for each in plan.intermediates if each.file == act.name)
                issued[act.name] = unsigned(foreseen.tbs, plan.roots[issuer].key)
        elif act.kind is ActKind.CRL:
            found += _lists(plan, act, roots, issued)
        elif act.kind is ActKind.CROSS:
            found.append(_cross(plan, act, at_hand.other_roots, roots))
        else:
            missing = NEXT_KEY if act.kind is ActKind.ROLLOVER else NOTHING
            found.append(Foreseen(act=act, file="", missing=(missing,)))
    return tuple(found)


def known_beforehand(plan: Plan, at_hand: AtHand) -> Known:
    """Return what the printed script shows as expected, instead of leaving it blank.

    Raises:
        RequestRejected, PolicyDenied: as ``foresee``.
    """
    tbs = {each.file: each.digest for each in foresee(plan, at_hand) if each.digest is not None}
    return Known(tbs=tbs, requests={each.planned.file: each.bundle_digest for each in at_hand.requests})


def _checked(plan: Plan, at_hand: AtHand) -> AtHand:
    """Insist that what is at hand belongs to the plan; take the root's key from its certificate."""
    key, root = at_hand.root_key, at_hand.root
    if root is not None:
        if root.subject != plan.root.subject:
            raise RequestRejected("foresight.other-root", "root.crt has another subject than the plan's root")
        if key is not None and key != ca_key(root):
            raise RequestRejected("foresight.other-key", "the given public key is not the one in root.crt")
        key = ca_key(root)
    if key is not None and kind_of(key) is not plan.root.key:
        raise RequestRejected("foresight.other-key", f"the root's key is not of the planned kind {plan.root.key}")
    return replace(at_hand, root_key=key)


def _root(plan: Plan, at_hand: AtHand) -> tuple[Prepared | None, tuple[str, ...]]:
    """Prepare the root, or say what is missing. One that exists already is what it is: nothing is missing."""
    missing = _unfixed(plan.root.fixed)
    if at_hand.root_key is None:
        missing = (*missing, NO_ROOT_KEY)
    if missing:
        return None, () if at_hand.root is not None else missing
    assert at_hand.root_key is not None
    serial, begin = plan.root.fixed.serial, plan.root.fixed.not_before
    assert serial is not None
    assert begin is not None
    prepared = prepare_root(plan, public_key=at_hand.root_key, serial=serial, now=begin)
    if at_hand.root is not None and at_hand.root.tbs_certificate_bytes != prepared.tbs:
        raise RequestRejected(
            "foresight.other-root", "root.crt is not what the plan fixes: it was made by another plan"
        )
    return prepared, ()


def _intermediate(
    plan: Plan,
    act: PlannedAct,
    requests: Sequence[SigningRequest],
    roots: Mapping[str, x509.Certificate],
    signed: x509.Certificate | None,
) -> Foreseen:
    planned = next(each for each in plan.intermediates if each.file == act.name)
    request = next((each for each in requests if each.planned.file == planned.file), None)
    root, file = roots.get(planned.issuer), f"{planned.file}.crt"
    if signed is not None:
        return Foreseen(act=act, file=file, tbs=signed.tbs_certificate_bytes)
    missing = _unfixed(planned.fixed)
    missing += _unknown_root(root, planned.issuer)
    missing += () if request is not None else (NO_REQUEST,)
    serial, begin = planned.fixed.serial, planned.fixed.not_before
    if root is None or request is None or serial is None or begin is None:
        return Foreseen(act=act, file=file, missing=missing)
    prepared = prepare_intermediate(request, root=root, serial=serial, now=begin)
    return Foreseen(act=act, file=file, tbs=prepared.tbs)


def _lists(
    plan: Plan, act: PlannedAct, roots: Mapping[str, x509.Certificate], issued: Mapping[str, x509.Certificate]
) -> Iterator[Foreseen]:
    planned = next(each for each in plan.crls if each.name == act.name)
    root = roots.get(planned.issuer)
    missing = _unknown_root(root, planned.issuer)
    missing += tuple(NO_REVOKED.format(file=each.file) for each in planned.revoked if each.file not in issued)
    previous = None
    for each in planned_lists(planned):
        if root is None or missing:
            yield Foreseen(act=act, file=each.file, missing=missing)
            continue
        prepared = prepare_list(planned, each, root=root, issued=issued, previous_number=previous)
        previous = each.number
        yield Foreseen(act=act, file=each.file, tbs=prepared.tbs)


def _cross(
    plan: Plan, act: PlannedAct, others: Sequence[x509.Certificate], roots: Mapping[str, x509.Certificate]
) -> Foreseen:
    planned = next(each for each in plan.crosses if each.name == act.name)
    root = roots.get(planned.issuer)
    other = next((each for each in others if fingerprint(each) == planned.fingerprint), None)
    missing = _unfixed(planned.fixed)
    missing += _unknown_root(root, planned.issuer)
    missing += () if other is not None else (NO_OTHER_ROOT,)
    serial, begin = planned.fixed.serial, planned.fixed.not_before
    if root is None or other is None or serial is None or begin is None:
        return Foreseen(act=act, file=cross_file(planned.name), missing=missing)
    prepared = prepare_cross(planned, other, root=root, serial=serial, now=begin)
    return Foreseen(act=act, file=cross_file(planned.name), tbs=prepared.tbs)


def _unknown_root(root: x509.Certificate | None, issuer: str) -> tuple[str, ...]:
    if root is not None:
        return ()
    return (NO_ROOT,) if issuer == FIRST_ROOT else (NO_NEXT_ROOT,)


def _unfixed(fixed: Fixed) -> tuple[str, ...]:
    missing = () if fixed.serial is not None else (NO_SERIAL,)
    return missing if fixed.not_before is not None else (*missing, NO_BEGINNING)


def _tbs(prepared: Prepared | None, certificate: x509.Certificate | None) -> bytes | None:
    if prepared is not None:
        return prepared.tbs
    return certificate.tbs_certificate_bytes if certificate is not None else None


def unsigned(tbs: bytes, issuer_kind: CaKind) -> x509.Certificate:
    """Return a certificate with this content and an empty signature: names, keys, serial and dates to compute with.

    Nobody can mistake it for a real one: no program accepts its signature.

    Args:
        tbs: TBSCertificate in DER.
        issuer_kind: the kind of the issuer's key, which the signature's algorithm follows from.
    """
    return load_certificate_der(signing.unsigned(tbs, issuer_kind))
