"""The intermediate act, pure: from a request that crossed the gap to a prepared certificate, and the reply.

Invariants: the key's owner proved possession; the plan decides the subject and the profile every extension;
of the request only the public key is used, after it was checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from ceremony.plan import IntermediatePlan, Plan, end_of_validity
from shared.clock import whole_seconds
from shared.crossing.bundle import Bundle, Purpose, digest
from shared.errors import RequestRejected
from shared.issue import IssuanceRequest, Issuer, Prepared, clip_to_issuer, prepare
from shared.keys import CaPublicKey, csr_ca_key
from shared.pem import certificate_der, load_csr

REQUEST_MEMBER = "request.csr"
REPLY_MEMBER = "intermediate.crt"
ROOT_MEMBER = "root.crt"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningRequest:
    """A request for an intermediate whose possession was proven and whose subject is planned."""

    planned: IntermediatePlan
    public_key: CaPublicKey
    ignored_extensions: tuple[str, ...]
    """Dotted identifiers of the extensions that the request asks for; they decide nothing."""
    bundle_digest: bytes
    """SHA-256 of the request bundle."""


def read_request(plan: Plan, bundle: Bundle, encoded: bytes) -> SigningRequest:
    """Check a request bundle against the plan.

    Args:
        plan: the plan of this ceremony.
        bundle: the decoded bundle, of the purpose ``intermediate-request``.
        encoded: the bundle's bytes.

    Raises:
        RequestRejected: ``bundle.wrong-purpose``, ``csr.*``, ``key.*`` or ``plan.unplanned-intermediate``.
    """
    if bundle.purpose is not Purpose.INTERMEDIATE_REQUEST:
        raise RequestRejected("bundle.wrong-purpose", f"the bundle is a {bundle.purpose}, not a request")
    csr = load_csr(bundle.members[REQUEST_MEMBER], what="request in the bundle")
    public_key = csr_ca_key(csr)
    return SigningRequest(
        planned=plan.intermediate_for(csr.subject),
        public_key=public_key,
        ignored_extensions=_requested_extensions(csr),
        bundle_digest=digest(encoded),
    )


def prepare_intermediate(request: SigningRequest, *, root: x509.Certificate, serial: int, now: datetime) -> Prepared:
    """Build and lint the intermediate that the plan describes, for the request's key.

    Args:
        request: from ``read_request``.
        root: the issuer's certificate.
        serial: drawn in the HSM; used unless the plan fixes one.
        now: aware UTC, the first second of the validity unless the plan fixes one; its end is never behind the root's.

    Raises:
        PolicyDenied: ``lint.*``.
    """
    issuer = Issuer.from_certificate(root)
    planned = request.planned
    begin = planned.fixed.not_before or whole_seconds(now)
    wanted = IssuanceRequest(
        subject=planned.subject,
        public_key=request.public_key,
        serial=planned.fixed.serial or serial,
        not_before=begin,
        not_after=clip_to_issuer(end_of_validity(begin, planned.years), issuer),
        extra=planned.extensions.extensions(),
    )
    return prepare(planned.profile(), wanted, issuer)


def reply_bundle(request: SigningRequest, *, certificate: x509.Certificate, root: x509.Certificate) -> bytes:
    """Encode the answer: the intermediate and its root, bound to the request that it answers.

    The identifier is the first half of the intermediate's digest, so that the same answer is the same bytes.
    """
    der = certificate_der(certificate)
    return Bundle(
        purpose=Purpose.INTERMEDIATE_REPLY,
        identifier=digest(der).hex()[:32],
        in_reply_to=request.bundle_digest.hex(),
        members={REPLY_MEMBER: der, ROOT_MEMBER: certificate_der(root)},
    ).encode()


def _requested_extensions(csr: x509.CertificateSigningRequest) -> tuple[str, ...]:
    try:
        return tuple(extension.oid.dotted_string for extension in csr.extensions)
    except (ValueError, x509.DuplicateExtension):
        raise RequestRejected("csr.malformed", "the request's extensions cannot be parsed, or repeat") from None
