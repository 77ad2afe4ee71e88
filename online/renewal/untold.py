"""Who uses a certificate and has not been told of its renewal: a note on the disk that outlives whoever was to tell.

Between the new certificate's arrival and the server's reload an agent can be killed and a machine can lose power. The
next run sees a certificate that is not due and would say nothing, and the server would keep the old one until it ends.

1. Before a certificate is replaced a note is written beside it, which holds the one that is in use.
2. When all were told it goes.
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
from shared.keys import certificate_key
from shared.pem import certificate_pem


def promise(pair: Pair, old: x509.Certificate) -> None:
    """Note, if there is anybody to tell, that this certificate is about to be replaced (1).

    Raises:
        StoreFailed: ``file.write-failed``; nothing should be replaced then.
    """
    if pair.hooks:
        durable.replace(_note(pair), certificate_pem(old), mode=durable.PRIVATE)


def fulfilled(pair: Pair) -> None:
    """Take the note away (2). One that stays only has somebody told twice."""
    with contextlib.suppress(OSError):
        _note(pair).unlink(missing_ok=True)


def owed(pair: Pair) -> Renewed | None:
    """Return what an earlier run did not tell, if there is such a thing (3).

    Raises:
        RequestRejected: ``file.*``, ``pem.*`` or ``certificate.malformed`` when the pair's own certificate cannot be
            read.
    """
    note = _note(pair)
    if not pair.hooks or not note.is_file():
        return None
    new = renewing.load_chain(pair.certificate)[0]
    try:
        old = renewing.load_chain(note)[0]
    except RequestRejected:
        # It appears whole or not at all, so somebody else wrote into it. To tell once too often does no harm.
        old = new
    else:
        if old == new:
            fulfilled(pair)
            return None
    return Renewed(
        certificate=pair.certificate.absolute(),
        key=str(pair.key_file.absolute()) if pair.key_file is not None else pair.key,
        old=old,
        new=new,
        rekeyed=certificate_key(old) != certificate_key(new),
    )


def _note(pair: Pair) -> Path:
    certificate = pair.certificate
    if is_versioned(certificate):
        # In a version it would be part of the pair, and come along into the next.
        link = certificate.parent
        return link.with_name(f".{link.name}.{certificate.name}.untold")
    return certificate.with_name(f".{certificate.name}.untold")
