"""Who uses a certificate and has not been told of its renewal: a note on the disk that outlives whoever was to tell.

Between the new certificate's arrival and the server's reload an agent can be killed and a machine can lose power. The
next run sees a certificate that is not due and would say nothing, and the server would keep the old one until it ends.

1. Before a certificate is replaced a note is written beside it, which holds the one that is in use. A note of which
   nobody was told yet stays as it is: the server still has the certificate that it holds.
2. When all were told of the one that lies there now, it goes. Who has nobody to tell, or wrote elsewhere, leaves it.
3. Who finds it beside another certificate than the one that it holds has to tell; beside the same one, nothing
   had happened yet.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from cryptography import x509

from online.renewal import renew as renewing
from online.renewal.hooks import Renewed
from online.renewal.pair import Pair
from online.renewal.versions import is_versioned
from shared import durable
from shared.errors import RequestRejected
from shared.pem import certificate_pem


def promise(pair: Pair, old: x509.Certificate) -> None:
    """Note, if there is anybody to tell, that this certificate is about to be replaced (1).

    Raises:
        StoreFailed: ``file.write-failed``; nothing should be replaced then.
    """
    if pair.hooks and _noted(pair) in {None, old}:
        durable.replace(_note(pair), certificate_pem(old), mode=durable.PRIVATE)


def fulfilled(pair: Pair, renewed: Renewed) -> None:
    """Take the note away (2). One that stays only has somebody told twice.

    Args:
        pair: whose users were told.
        renewed: what they were told.
    """
    if not pair.hooks or renewed.certificate != pair.certificate.absolute():
        return
    with contextlib.suppress(RequestRejected):
        # Another process may have renewed it meanwhile: of that one its users know nothing yet.
        if renewing.load_chain(pair.certificate)[0] == renewed.new:
            _drop(pair)


def owed(pair: Pair) -> Renewed | None:
    """Return what an earlier run did not tell, if there is such a thing (3).

    Raises:
        RequestRejected: ``file.*``, ``pem.*`` or ``certificate.malformed`` when the pair's own certificate cannot be
            read.
    """
    if not pair.hooks or not _note(pair).is_file():
        return None
    new = renewing.load_chain(pair.certificate)[0]
    # It appears whole or not at all, so somebody else wrote in one that cannot be read. To tell too often does no harm.
    noted = _noted(pair)
    if noted == new:
        _drop(pair)
        return None
    return pair.renewed(noted or new, new)


def _noted(pair: Pair) -> x509.Certificate | None:
    try:
        return renewing.load_chain(_note(pair))[0]
    except RequestRejected:
        return None


def _drop(pair: Pair) -> None:
    with contextlib.suppress(OSError):
        _note(pair).unlink(missing_ok=True)


def _note(pair: Pair) -> Path:
    certificate = pair.certificate
    if is_versioned(certificate):
        # In a version it would be part of the pair, and come along into the next.
        link = certificate.parent
        return link.with_name(f".{link.name}.{certificate.name}.untold")
    return certificate.with_name(f".{certificate.name}.untold")
