"""The ceremony's side of the gap, without a ceremony: signs a request bundle with a software root."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta

from cryptography import x509

from shared import keys
from shared.crossing.bundle import INTERMEDIATE, REQUEST, ROOT, Bundle, Purpose, decode_bundle
from shared.issue import IssuanceRequest, Issuer, issue, prepare
from shared.pem import certificate_der
from shared.profile import Profile, intermediate_profile
from shared.serials import random_serial


def certify_request(
    request: bytes,
    root: x509.Certificate,
    root_key: keys.PrivateKey,
    *,
    profile: Profile | None = None,
    key: keys.PublicKey | None = None,
    begin: datetime | None = None,
    life: timedelta = timedelta(days=365),
) -> x509.Certificate:
    """Return the intermediate for an encoded request bundle; what a test wants wrong is an argument."""
    csr = x509.load_der_x509_csr(decode_bundle(request).members[REQUEST])
    start = begin or datetime.now(UTC) - timedelta(hours=1)
    wanted = IssuanceRequest(
        subject=csr.subject,
        public_key=key or keys.csr_key(csr),
        serial=random_serial(os.urandom),
        not_before=start,
        not_after=start + life,
    )
    return issue(prepare(profile or intermediate_profile(), wanted, Issuer.from_certificate(root)), root_key)


def reply_bundle(
    request: bytes, root: x509.Certificate, intermediate: x509.Certificate, *, in_reply_to: str | None = None
) -> bytes:
    """Return the encoded reply bundle."""
    return Bundle(
        purpose=Purpose.INTERMEDIATE_REPLY,
        identifier=os.urandom(16).hex(),
        in_reply_to=in_reply_to or hashlib.sha256(request).hexdigest(),
        members={INTERMEDIATE: certificate_der(intermediate), ROOT: certificate_der(root)},
    ).encode()
