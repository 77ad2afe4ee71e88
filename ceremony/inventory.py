"""What must be in the token, from the record alone; and what is there instead.

Every act that touches the HSM looks at all objects before and after, and compares them with this. A key that nobody
recorded is one that nobody proved; a key that is missing was taken away by somebody.

Invariant: what is expected follows from the records of keys that were generated and destroyed, never from what was
found before. Where a record tells of an intent and none of its outcome, as after a power cut, both outcomes are
accepted, and only for the object that the intent names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ceremony.hsm.practice import SOFTWARE
from ceremony.records import Kind
from ceremony.transcript import Json, Record
from shared.errors import Fatal
from shared.keystore import Quirks, TokenObject, quirks_named
from shared.keystore.quirks import STANDARD

PAIR = ("PRIVATE_KEY", "PUBLIC_KEY")
PRACTICE = ("SECRET_KEY",)
"""How a software key for practice lies in the token (``ceremony.hsm.practice``)."""
GENERATE_KEY, DESTROY_KEY = "generate-key", "destroy-key"
"""Operations as ``hsm-intent`` names them."""
_GENERATED = frozenset({Kind.KEY_GENERATED, Kind.NEXT_KEY_GENERATED})


class Moment(StrEnum):
    """When an inventory was taken, within its act."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key pair as it was recorded."""

    label: str
    key_id: str
    """CKA_ID in lower-case hex."""
    public_key_sha256: str
    objects: tuple[str, ...] = PAIR
    """The kinds of object that it is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must, and what may, be in the token."""

    keys: tuple[Key, ...]
    """In the order in which they were generated."""
    perhaps_made: frozenset[str] = field(default=frozenset())
    """Labels of keys that an interrupted act may have generated."""
    perhaps_gone: frozenset[str] = field(default=frozenset())
    """CKA_IDs of keys that an interrupted act may have destroyed."""


def expected(records: Iterable[Record]) -> Expected:
    """Work out from the records what must be in the token after the last of them."""
    keys: dict[str, Key] = {}
    made: set[str] = set()
    gone: set[str] = set()
    for record in records:
        body = record.body
        if record.kind == Kind.HSM_INTENT and body.get("operation") == GENERATE_KEY:
            made.add(str(body.get("label")))
        elif record.kind == Kind.HSM_INTENT and body.get("operation") == DESTROY_KEY:
            gone.add(str(body.get("id")))
        elif record.kind in _GENERATED:
            key = Key(
                label=str(body.get("label")),
                key_id=str(body.get("id")),
                public_key_sha256=str(body.get("public_key_sha256")),
                objects=PRACTICE if _for_practice(body.get("attributes")) else PAIR,
            )
            keys[key.key_id] = key
            made.discard(key.label)
        elif record.kind == Kind.KEY_DESTROYED:
            keys.pop(str(body.get("id")), None)
            gone.discard(str(body.get("id")))
    return Expected(keys=tuple(keys.values()), perhaps_made=frozenset(made), perhaps_gone=frozenset(gone))


def recorded_quirks(records: Iterable[Record]) -> Quirks:
    """Return what the token does otherwise than the standard says, as its first record calls it."""
    for record in records:
        if record.kind == Kind.TOKEN_INITIALISED:
            return quirks_named(str(record.body.get("quirks")))
    return STANDARD


def check(wanted: Expected, found: Sequence[TokenObject]) -> None:
    """Insist that a token holds what it must, and nothing else.

    Raises:
        Fatal: ``inventory.missing``, ``inventory.unexpected`` or ``inventory.repeated``.
    """
    places = [(each.kind, each.key_id) for each in found]
    if len(set(places)) != len(places):
        raise Fatal("inventory.repeated", "the token holds two objects of one kind under one id")
    pairs = {(kind, key.key_id): key.label for key in wanted.keys for kind in key.objects}
    for (kind, key_id), label in pairs.items():
        if (kind, key_id) not in places and key_id not in wanted.perhaps_gone:
            raise Fatal(
                "inventory.missing",
                f"the token lacks the {_words(kind)} {label!r} with the id {key_id}",
                hint="do not go on: find out who took it, or whether this is another token; record the exception",
            )
    for each in found:
        if pairs.get((each.kind, each.key_id)) == each.label:
            continue
        if each.kind in {*PAIR, *PRACTICE} and each.label in wanted.perhaps_made:
            continue
        raise Fatal(
            "inventory.unexpected",
            f"the token holds a {_words(each.kind)} {each.label!r} with the id {each.key_id} that no record tells of",
            hint="do not go on: find out where it comes from; record the exception",
        )


def to_json(found: Iterable[TokenObject]) -> list[Mapping[str, Json]]:
    """Return what is recorded of an inventory."""
    return [{"kind": each.kind, "key_type": each.key_type, "label": each.label, "id": each.key_id} for each in found]


def from_json(recorded: object) -> tuple[TokenObject, ...]:
    """Read an inventory back from its record; whatever has another form counts as an object of no kind."""
    rows = recorded if isinstance(recorded, list) else [None]
    return tuple(
        TokenObject(
            kind=str(row.get("kind")),
            key_type=str(row.get("key_type")),
            label=str(row.get("label")),
            key_id=str(row.get("id")),
        )
        if isinstance(row, dict)
        else TokenObject(kind="UNKNOWN", key_type="", label="", key_id="")
        for row in rows
    )


def _for_practice(attributes: object) -> bool:
    return isinstance(attributes, Mapping) and attributes.get(SOFTWARE) is True


def _words(kind: str) -> str:
    return kind.lower().replace("_", " ")
