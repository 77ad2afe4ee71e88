"""The root act, pure: from a plan and a public key to a prepared self-signed certificate (RFC 5280 §3.2)."""

from __future__ import annotations

from datetime import datetime

from ceremony.plan import Plan, end_of_validity
from shared.clock import whole_seconds
from shared.issue import IssuanceRequest, Issuer, Prepared, prepare
from shared.keys import CaPublicKey


def prepare_root(plan: Plan, *, public_key: CaPublicKey, serial: int, now: datetime) -> Prepared:
    """Build and lint the root that the plan describes.

    Args:
        plan: subject, key kind and validity.
        public_key: of the key that was generated in the HSM.
        serial: drawn in the HSM; used unless the plan fixes one.
        now: aware UTC, the first second of the validity unless the plan fixes one.

    Raises:
        PolicyDenied: ``lint.*``.
    """
    root = plan.root
    begin = root.fixed.not_before or whole_seconds(now)
    request = IssuanceRequest(
        subject=root.subject,
        public_key=public_key,
        serial=root.fixed.serial or serial,
        not_before=begin,
        not_after=end_of_validity(begin, root.years),
        extra=root.extensions.extensions(),
    )
    return prepare(root.profile(), request, Issuer.new_root(root.subject, public_key))
