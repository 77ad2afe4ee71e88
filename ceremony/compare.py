"""Rehearsal and real run side by side: the real one must repeat what was practised, except for declared variables.

What may differ is declared here, kind by kind: times, serials, keys and what follows from them, which token, which
custodians came, what the machine is called. Everything else, the order of records too, must be equal. A kind of
record, or a fact, that nobody declared to vary is compared as it is: forgetting to declare something stops a run,
it never lets a difference pass.

Certificates are compared without what must differ: extensions, their order and their criticality must be the same.
"""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509

from ceremony.inventory import PAIR
from ceremony.records import BETWEEN_ACTS, Act, Kind, Mode, recorded_certificate
from ceremony.transcript import Json, Record
from shared.errors import PolicyDenied, RequestRejected

Facts = Mapping[str, Json]

_VARIES = "varies"
_LONGEST_SHOWN = 200

_OF_CERTIFICATES = frozenset({"serial", "not_before", "not_after", "public_key_sha256", "tbs_sha256", "sha256", "der"})
# Members of a record's body that may differ, by its kind.
_VARIABLES: Mapping[str, frozenset[str]] = {
    # People may rehearse from a checkout; versions must be equal all the same.
    Kind.GENESIS: frozenset({"mode", "signing_key", "wheelhouse"}),
    Kind.ACT_OPENED: frozenset({"mode", "signing_key", "wheelhouse"}),
    Kind.TOKEN_INITIALISED: frozenset(
        {"label", "serial", "manufacturer", "model", "firmware", "quirks", "pin_symbols"}
    ),
    # What the attributes must be is insisted on elsewhere; devices report others beside them.
    Kind.KEY_GENERATED: frozenset({"id", "public_key_sha256", "attributes"}),
    Kind.NEXT_KEY_GENERATED: frozenset({"id", "public_key_sha256", "attributes"}),
    Kind.CERTIFICATE_PREPARED: frozenset({"tbs_sha256"}),
    Kind.CERTIFICATE_ISSUED: _OF_CERTIFICATES,
    Kind.CROSS_ISSUED: _OF_CERTIFICATES,
    Kind.NEXT_ROOT_ISSUED: _OF_CERTIFICATES,
    Kind.LIST_PREPARED: frozenset({"tbs_sha256"}),
    Kind.LIST_ISSUED: frozenset({"tbs_sha256", "sha256", "der"}),
    Kind.SHARES_DEALT: frozenset({"set_id", "identifier", "shares", "secret"}),
    Kind.SHEET_WRITTEN: frozenset({"set_id", "sha256", "receipt_sha256"}),
    Kind.SHEET_READ_BACK: frozenset({"set_id"}),
    Kind.SHARES_READ_BACK: frozenset({"set_id"}),
    Kind.QUORUM_UNLOCKED: frozenset({"set_id", "indexes", "token"}),
    Kind.QUORUM_RECOMBINED: frozenset({"set_id", "indexes"}),
    Kind.PINS_REPLACED: frozenset({"token", "from_set", "to_set"}),
    Kind.HSM_INTENT: frozenset({"token", "from_set", "to_set", "id", "serial"}),
    Kind.SHARES_RETIRED: frozenset({"set_id"}),
    Kind.REQUEST_ACCEPTED: frozenset({"bundle_sha256", "public_key_sha256"}),
    # Who read them aloud, and whether anybody did: a rehearsal runs by itself. What was compared must be the same.
    Kind.DIGEST_CONFIRMED: frozenset({"sha256", "how", "read_by"}),
    Kind.REPLY_WRITTEN: frozenset({"sha256", "frames"}),
    Kind.KEY_WRAPPED: frozenset({"sha256", "set_id", "token"}),
    Kind.BACKUP_RESTORED: frozenset({"sha256", "id", "public_key_sha256", "attributes", "signature"}),
    Kind.KEY_DESTROYED: frozenset({"id", "public_key_sha256"}),
    Kind.ABSENCE_PROVEN: frozenset({"id"}),
    Kind.TOKEN_ERASED: frozenset({"serial", "refusal"}),
}
# Records that one of the two may have and the other not: exceptions are read one by one, and only a real ceremony
# has bags, and removes its sheets. A signature follows every act that its program ended;
# an act that was killed and resumed says so between its records.
_ASIDE = BETWEEN_ACTS | {Kind.SHEET_REMOVED, Kind.ACT_SIGNED, Kind.ACT_RESUMED, Kind.OUTCOME_FOUND}
_BROKEN = frozenset({Kind.ACT_FAILED, Kind.ACT_ABANDONED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as in the rehearsal."""

    where: str
    """Record and fact, such as ``record 12 certificate-issued: key``."""
    rehearsal: str
    real: str

    def __str__(self) -> str:
        return f"{self.where}: rehearsed {self.rehearsal}, now {self.real}"


def compare(rehearsal: Sequence[Record], real: Sequence[Record]) -> tuple[Difference, ...]:
    """Return every difference between two transcripts that was not declared.

    Acts that broke off in the rehearsal are left out of it; one that broke off in the real run is a difference.

    Args:
        rehearsal: the records of the rehearsal, verified.
        real: the records of the real run, verified.

    Raises:
        RequestRejected: ``compare.no-rehearsal`` when the first is none; ``certificate.malformed``.
    """
    _check_rehearsal(rehearsal)
    days = itertools.zip_longest(_days(_repeated(rehearsal)), _days(real), fillvalue=())
    return tuple(found for before, after in days for found in _compare_day(_compared(before), _compared(after)))


def _compare_day(before: Sequence[Record], after: Sequence[Record]) -> list[Difference]:
    found: list[Difference] = []
    matcher = difflib.SequenceMatcher(None, _kinds(before), _kinds(after), autojunk=False)
    for tag, first, last, begin, end in matcher.get_opcodes():
        if tag == "equal":
            for old, new in zip(before[first:last], after[begin:end], strict=True):
                found += _differences(new.seq, new.kind, old.body, new.body)
            continue
        for old in before[first:last]:
            where = f"record {old.seq} of the rehearsal"
            found.append(Difference(where=where, rehearsal=old.kind, real="nothing of the kind"))
        for new in after[begin:end]:
            found.append(Difference(where=f"record {new.seq}", rehearsal="nothing of the kind", real=new.kind))
    return found


class Watch:
    """A rehearsal that a run is held against, record by record, as it happens."""

    def __init__(self, rehearsal: Sequence[Record]) -> None:
        """Begin.

        Raises:
            RequestRejected: ``compare.no-rehearsal``.
        """
        _check_rehearsal(rehearsal)
        self._expected = [_compared(day) for day in _days(_repeated(rehearsal))]

    def check(self, so_far: Sequence[Record], kind: str, body: Facts) -> None:
        """Compare a record that is about to be written. How an act failed is always recorded.

        Args:
            so_far: the records that are written already.
            kind: of the next one.
            body: of the next one.

        Raises:
            PolicyDenied: ``compare.differs`` with the first difference.
        """
        if kind in _ASIDE or kind in _BROKEN:
            return
        days = _days(_repeated(so_far))
        if _begins_a_day(kind, body):
            days.append([])
        place = len(_compared(days[-1]))
        rehearsed = self._expected[len(days) - 1] if len(days) <= len(self._expected) else []
        if place >= len(rehearsed):
            raise _differs(f"record {len(so_far)}: the rehearsal ended before it; now comes {kind}")
        expected = rehearsed[place]
        if expected.kind != kind:
            raise _differs(f"record {len(so_far)}: rehearsed {expected.kind}, now {kind}")
        for difference in _differences(len(so_far), kind, expected.body, body):
            raise _differs(str(difference))


def _check_rehearsal(records: Sequence[Record]) -> None:
    if not records or records[0].body.get("mode") != Mode.REHEARSAL:
        raise RequestRejected(
            "compare.no-rehearsal", "the first of the two is not a rehearsal", hint="name the rehearsal's directory"
        )


def _compared(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.kind not in _ASIDE]


def _repeated(records: Sequence[Record]) -> list[Record]:
    """Leave out the acts that broke off: what counts is how they went when they were repeated."""
    found: list[Record] = []
    begin = 0
    for record in records:
        if record.kind == Kind.ACT_OPENED:
            begin = len(found)
        found.append(record)
        if record.kind in _BROKEN:
            # The root act cannot be repeated in its directory: when it broke off, there is nothing else.
            del found[begin or len(found) :]
    return found


def _days(records: Sequence[Record]) -> list[list[Record]]:
    """Return the records day by day. Each is compared for itself: years lie between them, with looks and bags."""
    found: list[list[Record]] = [[]]
    for record in records:
        # An amendment that broke off, and was tried again, is one day's.
        begun = len(found) == 1 or any(each.kind == Kind.PLAN_AMENDED for each in found[-1])
        if begun and _begins_a_day(record.kind, record.body):
            found.append([])
        found[-1].append(record)
    return found


def _begins_a_day(kind: str, body: Facts) -> bool:
    return kind == Kind.ACT_OPENED and body.get("act") == Act.AMEND


def _kinds(records: Sequence[Record]) -> list[str]:
    return [record.kind for record in records]


def _differences(seq: int, kind: str, before: Facts, after: Facts) -> list[Difference]:
    old, new = _comparable(kind, before), _comparable(kind, after)
    return [
        Difference(where=f"record {seq} {kind}: {name}", rehearsal=_shown(old.get(name)), real=_shown(new.get(name)))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _comparable(kind: str, body: Facts) -> dict[str, Json]:
    """Return the facts with the declared variables taken out; that a variable is there at all is kept."""
    found: dict[str, Json] = {
        name: _VARIES if name in _VARIABLES.get(kind, frozenset()) else value for name, value in body.items()
    }
    reduce = _REDUCED.get(kind)
    return found | reduce(body) if reduce is not None else found


def _host(body: Facts) -> dict[str, Json]:
    """Which checks were made; what they found is the machine's own."""
    findings = body.get("findings")
    names = [each.get("check") for each in findings if isinstance(each, Mapping)] if isinstance(findings, list) else []
    return {"findings": names}


def _intent(body: Facts) -> dict[str, Json]:
    """The token's label stands in hsm.toml, which differs; a key's label stands in the plan."""
    return {"label": _VARIES} if body.get("operation") == "initialise-token" else {}


def _certificate(body: Facts) -> dict[str, Json]:
    """The certificate's shape, and whether a second implementation was asked."""
    certificate = recorded_certificate(body)
    extensions: list[Json] = []
    for extension in certificate.extensions:
        identifier = isinstance(extension.value, x509.SubjectKeyIdentifier | x509.AuthorityKeyIdentifier)
        value = _VARIES if identifier else extension.value.public_bytes().hex()
        extensions.append(f"{extension.oid.dotted_string}{' critical' if extension.critical else ''} {value}")
    return {
        **_opinions(body),
        "extensions": extensions,
        "signature_algorithm": certificate.signature_algorithm_oid.dotted_string,
    }


def _opinions(body: Facts) -> dict[str, Json]:
    """Which other programs were asked; their versions are the machine's own."""
    return {name: body[name] != "not asked" for name in ("second_opinion", "pkilint") if name in body}


def _list(body: Facts) -> dict[str, Json]:
    """What a list revokes, without the serials, which are drawn."""
    return {"revoked": _parts(body.get("revoked"), "date", "reason"), **_opinions(body)}


def _objects(body: Facts) -> dict[str, Json]:
    """What the token holds, without the identifiers, which are drawn.

    A software key for practice is one object; it stands for the pair that the real token makes.
    """
    objects: list[Json] = []
    for row in _parts(body.get("objects"), "kind", "key_type", "label"):
        if isinstance(row, list) and row[:2] == ["SECRET_KEY", "GENERIC_SECRET"]:
            objects += [[kind, "ML_DSA", row[2]] for kind in PAIR]
        else:
            objects.append(row)
    return {"objects": sorted(objects, key=str)}


def _parts(rows: Json, *names: str) -> list[Json]:
    """Return some members of each row."""
    if not isinstance(rows, list):
        return []
    return [[row.get(name) for name in names] if isinstance(row, Mapping) else row for row in rows]


_REDUCED: Mapping[str, Callable[[Facts], dict[str, Json]]] = {
    Kind.HOST_CHECKED: _host,
    Kind.HSM_INTENT: _intent,
    Kind.CERTIFICATE_ISSUED: _certificate,
    Kind.CROSS_ISSUED: _certificate,
    Kind.NEXT_ROOT_ISSUED: _certificate,
    Kind.LIST_ISSUED: _list,
    Kind.INVENTORY_TAKEN: _objects,
    Kind.KEY_DESTROYED: _objects,
    Kind.FILES_WRITTEN: lambda body: {"files": _parts(body.get("files"), "file")},
    Kind.KEY_WRAPPED: lambda body: {"keys": _parts(body.get("keys"), "label")},
}


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, default=list)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _differs(what: str) -> PolicyDenied:
    return PolicyDenied(
        "compare.differs",
        f"this run is not what was rehearsed: {what}",
        hint="stop, find out why, and rehearse again; or run without --rehearsed and record an exception",
    )
