"""What the record shows about copies and the end of the key, for whoever verifies: backups, trials, destruction.

Checked; the numbers return in the code.

1. keys were wrapped only under a plan that allows it, and the record says that the evidence is weaker since;
2. what a restored key signed verifies under the key that was recorded, and the key was none of the token's;
3. each key was destroyed after a quorum unlocked the HSM, its absence was proven, every key came to that, and the
   token refused its PIN afterwards; the certificate of destruction is, byte for byte, the one that the record draws.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from ceremony import backup, destruction, inventory
from ceremony.act_evidence import Finished, Shown, false
from ceremony.records import Kind, Mode, recorded_certificate
from ceremony.transcript import Record
from shared import durable
from shared.keys import CaPublicKey, ca_key, kind_of, public_key_digest, signature_hash
from shared.signing import check_signature


def key_claims(finished: Finished, mode: Mode) -> Iterator[Shown]:
    """Check backups, their trials and the destruction; yield each claim that holds.

    Raises:
        RequestRejected: ``verify.*``, or what cannot be read.
        Fatal: from the checks that were repeated.
    """
    yield from _backups(finished)
    yield from _destruction(finished, mode)


def _backups(finished: Finished) -> Iterator[Shown]:
    wrapped: dict[str, Record] = {}
    for record in finished.of(Kind.KEY_WRAPPED):
        # 1.
        if not finished.plans.first.backup or record.body.get("evidence") != backup.WEAKER:
            raise false(
                "backup.plan", f"record {record.seq} wraps a key against the plan, or does not say what it costs"
            )
        wrapped[str(record.body.get("sha256"))] = record
        yield (
            "backup",
            f"{record.body.get('file')} holds {_count(record)} wrapped keys: from then on, {backup.WEAKER}",
            f"sha256 {record.body.get('sha256')}, record {record.seq}, shares of the set {record.body.get('set_id')}",
        )
    for record in finished.of(Kind.BACKUP_RESTORED):
        # 2.
        source = wrapped.get(str(record.body.get("sha256")))
        if source is None or source.seq > record.seq or record.body.get("id") not in _ids(source):
            raise false("backup.restored", f"record {record.seq} restored a key that was never wrapped")
        _check_restored(finished, record)
        yield (
            "restore-test",
            f"the key {record.body.get('label')!r} came back from {record.body.get('file')}, signed, and was destroyed",
            f"signature in record {record.seq}",
        )


def _check_restored(finished: Finished, record: Record) -> None:
    # 2.
    key_id, digest = str(record.body.get("id")), str(record.body.get("sha256"))
    attributes = record.body.get("attributes")
    if not isinstance(attributes, dict) or attributes.get("TOKEN") is not False:
        raise false("backup.stored", f"the key of record {record.seq} may have stayed in the token")
    public_key = _public_key(finished, str(record.body.get("public_key_sha256")))
    try:
        signature = base64.b64decode(str(record.body.get("signature")), validate=True)
    except (ValueError, binascii.Error):
        signature = b""
    check_signature(
        public_key,
        signature=signature,
        data=backup.restore_text(finished.plans.at(record.seq).digest, digest, key_id),
        algorithm=signature_hash(kind_of(public_key)),
    )


def _public_key(finished: Finished, digest: str) -> CaPublicKey:
    next_roots = [recorded_certificate(record.body) for record in finished.of(Kind.NEXT_ROOT_ISSUED)]
    for certificate in (finished.root, *next_roots):
        key = ca_key(certificate)
        if public_key_digest(key) == digest:
            return key
    raise false("backup.other-key", "a key was restored that no certificate of this ceremony shows")


def _destruction(finished: Finished, mode: Mode) -> Iterator[Shown]:
    # 3.
    proven = {str(record.body.get("id")): record for record in finished.of(Kind.ABSENCE_PROVEN)}
    for record in finished.of(Kind.KEY_DESTROYED):
        absent = proven.get(str(record.body.get("id")))
        if absent is None or absent.seq < record.seq:
            raise false("destroy.absence", f"nothing proves that the key of record {record.seq} is gone")
        unlocked = [each for each in finished.of(Kind.QUORUM_UNLOCKED) if each.seq < record.seq]
        if not unlocked:
            raise false("destroy.quorum", f"the key of record {record.seq} was destroyed without a quorum")
    end = destruction.destruction_of(finished.records)
    if end is None:
        return
    if left := inventory.expected(finished.records).keys:
        raise false("destroy.left", f"the token was erased, and nothing tells of the end of {left[0].label!r}")
    path = finished.directory / destruction.FILE
    if finished.of(Kind.FILES_WRITTEN)[-1].seq > _erased(finished) and durable.read_file(path) != destruction.draw(
        finished.plans.at(_erased(finished)), mode, end
    ):
        raise false("destroy.paper", f"{destruction.FILE} is not the page that the record draws")
    yield (
        "destroyed",
        f"{len(end.keys)} keys were destroyed and proven absent, and the token was erased: {end.refusal}",
        f"{', '.join(key.label for key in end.keys)}; token {end.token}, {destruction.FILE}",
    )


def _erased(finished: Finished) -> int:
    return finished.of(Kind.TOKEN_ERASED)[0].seq


def _ids(record: Record) -> set[str]:
    keys = record.body.get("keys")
    return {str(each.get("id")) for each in keys if isinstance(each, dict)} if isinstance(keys, list) else set()


def _count(record: Record) -> int:
    return len(_ids(record))
