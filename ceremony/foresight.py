"""What will be signed, before the day: the digest of every TBSCertificate that the plan and the known keys fix.

A TBSCertificate follows from subject, serial, dates, extensions, the key that is certified, and the issuer's name
and key. Who fixes serial and beginning in the plan and knows the keys can compute its SHA-256, and compare it with
what the ceremony's screen shows before it signs.

Invariant: the digests come from ``prepare_root`` and ``prepare_intermediate`` themselves, the functions that the
acts use. What they do not yield is never guessed: it is named as missing, with what would help.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from ceremony.intermediate import SigningRequest, prepare_intermediate
from ceremony.plan import ActKind, Fixed, Plan, PlannedAct
from ceremony.root import prepare_root
from ceremony.script import Known
from shared import der
from shared.errors import RequestRejected
from shared.issue import Prepared
from shared.keys import KeyKind, PublicKey, certificate_key, kind_of
from shared.pem import load_certificate_der
from shared.signing import algorithm_identifier

NO_SERIAL = "serial is not fixed in the plan"
NO_BEGINNING = "not_before is not fixed in the plan"
NO_ROOT_KEY = "the root's key is not known: give --dir with root.crt, or --public-key"
NO_ROOT = "the root is not known: give --dir with root.crt, or fix its serial and not_before and give --public-key"
NO_REQUEST = "the request is not known: give its bundle with --request"
NOT_ONE = "this act signs nothing, or nothing that can be computed before the day"


@dataclass(frozen=True, slots=True, kw_only=True)
class AtHand:
    """What is known besides the plan."""

    root: x509.Certificate | None = None
    """The root's certificate, when it exists already."""
    root_key: PublicKey | None = None
    """The root's public key, when it was generated before the day."""
    requests: tuple[SigningRequest, ...] = ()
    """Requests for intermediates, from ``read_request``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """What is known of one act's signature."""

    act: PlannedAct
    file: str
    """Where its certificate will lie; empty for an act without one."""
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
    stand_in = at_hand.root or (_unsigned(root, plan.root.key) if root is not None else None)
    found = []
    for act in plan.acts:
        if act.kind is ActKind.ROOT:
            found.append(Foreseen(act=act, file="root.crt", tbs=_tbs(root, at_hand.root), missing=root_missing))
        elif act.kind is ActKind.INTERMEDIATE:
            found.append(_intermediate(plan, act, at_hand.requests, stand_in))
        else:
            found.append(Foreseen(act=act, file="", missing=(NOT_ONE,)))
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
        if key is not None and key != certificate_key(root):
            raise RequestRejected("foresight.other-key", "the given public key is not the one in root.crt")
        key = certificate_key(root)
    if key is not None and kind_of(key) is not plan.root.key:
        raise RequestRejected("foresight.other-key", f"the root's key is not of the planned kind {plan.root.key}")
    return AtHand(root=root, root_key=key, requests=at_hand.requests)


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
    plan: Plan, act: PlannedAct, requests: Sequence[SigningRequest], root: x509.Certificate | None
) -> Foreseen:
    planned = next(each for each in plan.intermediates if each.file == act.name)
    request = next((each for each in requests if each.planned.file == planned.file), None)
    file = f"{planned.file}.crt"
    missing = _unfixed(planned.fixed)
    missing += () if root is not None else (NO_ROOT,)
    missing += () if request is not None else (NO_REQUEST,)
    serial, begin = planned.fixed.serial, planned.fixed.not_before
    if root is None or request is None or serial is None or begin is None:
        return Foreseen(act=act, file=file, missing=missing)
    prepared = prepare_intermediate(request, root=root, serial=serial, now=begin)
    return Foreseen(act=act, file=file, tbs=prepared.tbs)


def _unfixed(fixed: Fixed) -> tuple[str, ...]:
    missing = () if fixed.serial is not None else (NO_SERIAL,)
    return missing if fixed.not_before is not None else (*missing, NO_BEGINNING)


def _tbs(prepared: Prepared | None, certificate: x509.Certificate | None) -> bytes | None:
    if prepared is not None:
        return prepared.tbs
    return certificate.tbs_certificate_bytes if certificate is not None else None


def _unsigned(root: Prepared, kind: KeyKind) -> x509.Certificate:
    """Return a certificate with the root's content and an empty signature: an issuer's name, key and dates to use.

    Nobody can mistake it for the root: no program accepts its signature.
    """
    unsigned = der.tlv(der.BIT_STRING, b"\x00")
    return load_certificate_der(der.tlv(der.SEQUENCE, root.tbs, algorithm_identifier(kind), unsigned))
