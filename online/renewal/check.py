"""What a CA may answer to a renewal before a byte on disk changes.

Invariant: an answer that is not plainly the successor of the certificate in use is refused, and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from online.trust import check_chain
from shared.errors import PeerFailed, RequestRejected
from shared.keys import PublicKey, certificate_key, spki
from shared.names import sans_of


def check_issued(
    chain: Sequence[x509.Certificate], key: PublicKey, roots: Sequence[x509.Certificate], *, now: datetime
) -> None:
    """Insist that a freshly issued chain is for our key and leads to a trusted root.

    Args:
        chain: as the CA sent it, leaf first.
        key: the public key that we asked a certificate for.
        roots: what is trusted.
        now: aware UTC.

    Raises:
        PeerFailed: ``issued.other-key`` or ``trust.chain``.
    """
    check_chain(chain, roots, now=now)
    try:
        same = spki(certificate_key(chain[0])) == spki(key)
    except RequestRejected:
        same = False
    if not same:
        raise PeerFailed("issued.other-key", "the CA sent a certificate for another key than ours")


def check_successor(
    chain: Sequence[x509.Certificate],
    *,
    old: x509.Certificate,
    key: PublicKey,
    roots: Sequence[x509.Certificate],
    now: datetime,
) -> None:
    """Insist that a chain succeeds a certificate.

    1. It is for the key that we asked for, and leads to a trusted root.
    2. It names the same subject and the same alternative names.
    3. It is another certificate, and neither begins nor ends earlier than the old one.

    Args:
        chain: as the CA sent it, leaf first.
        old: the certificate in use.
        key: the public key that the new one must have: the old one, or the new one of a rekey.
        roots: what is trusted.
        now: aware UTC.

    Raises:
        PeerFailed: ``issued.other-key``, ``trust.chain``, ``renew.other-names`` or ``renew.not-newer``.
    """
    # 1.
    check_issued(chain, key, roots, now=now)
    new = chain[0]
    # 2.
    try:
        same_names = new.subject == old.subject and sans_of(new.extensions) == sans_of(old.extensions)
    except (RequestRejected, ValueError):
        same_names = False
    if not same_names:
        raise PeerFailed("renew.other-names", "the CA sent a certificate for other names than the old one")
    # 3.
    if (
        new.serial_number == old.serial_number
        or new.not_valid_before_utc < old.not_valid_before_utc
        or new.not_valid_after_utc < old.not_valid_after_utc
    ):
        raise PeerFailed(
            "renew.not-newer",
            "the CA sent a certificate that is not newer than the one in use",
            hint="the CA may give shorter lives now: the old certificate is kept while it lasts longer",
        )
