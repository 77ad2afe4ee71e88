"""The steps of a ceremony by name: what the paper prints and the program announces comes from here, once.

A step's name is short, lower-case and stable: it stands on the printed script, on the screen and in exceptions, so
that people can find on the paper where the program is.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class StepName(StrEnum):
    """A step, with its heading. The program announces some of them; the others are for the people alone."""

    heading: str

    def __new__(cls, name: str, heading: str) -> Self:
        """Make a member that is its name and knows its heading."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.heading = heading
        return member

    # Before the first act.
    ROOM_PREPARED = "room.prepared", "The room is prepared"
    PEOPLE_PRESENT = "people.present", "The people are identified"
    MATERIALS_PRESENT = "materials.present", "The materials are laid out"
    PLAN_COMPARED = "plan.compared", "The plan is compared"
    BAGS_OPENED = "bags.opened", "Each custodian opens the bag with their sheet"
    MACHINE_STARTED = "machine.started", "The machine is started"

    # In every act.
    HOST_CHECKED = "host.checked", "The host is checked"
    TRANSCRIPT_OPENED = "transcript.opened", "The transcript opens"
    HSM_UNLOCKED = "hsm.unlocked", "A quorum of custodians unlocks the HSM"

    # A later day's plan.
    PLAN_AMENDED = "plan.amended", "The plan of the day takes over"

    # The root.
    HSM_INITIALISED = "hsm.initialised", "The HSM is initialised under throw-away PINs"
    SECRET_MIXED = "secret.mixed", "The ceremony secret is mixed"
    SHARES_SPLIT = "shares.split", "The secret is split, and every quorum is proven"
    SHEETS_WRITTEN = "sheets.written", "Each custodian gets a sheet and reads it back"
    ROOT_KEY = "root.key", "The root key is generated in the HSM"
    ROOT_CERTIFICATE = "root.certificate", "The root certificate is linted, signed and verified"
    SHEETS_READ_BACK = "sheets.read-back", "Every sheet was read back"
    HSM_UNLOCKED_ANEW = "hsm.unlocked-anew", "The HSM is unlocked anew, from a quorum of shares alone"
    TRANSCRIPT_CLOSED = "transcript.closed", "The transcript closes"
    SHEETS_SEALED = "sheets.sealed", "Each custodian seals their sheet"

    # An intermediate.
    REQUEST_READ = "request.read", "The request is read and compared"
    INTERMEDIATE_CERTIFICATE = "intermediate.certificate", "The intermediate is linted, signed and verified"
    REPLY_WRITTEN = "reply.written", "The reply is written"

    # The other acts.
    LIST_SIGNED = "list.signed", "The revocation list is linted, signed and verified"
    OTHER_ROOT_READ = "other-root.read", "The other root's certificate is read and compared"
    CROSS_CERTIFICATE = "cross.certificate", "The cross-certificate is linted, signed and verified"
    NEXT_ROOT_KEY = "next-root.key", "The next root's key is generated in the HSM"
    NEXT_ROOT_CERTIFICATES = "next-root.certificates", "The next root and both link certificates are signed"
    PINS_REPLACED = "pins.replaced", "The HSM's PINs are replaced, and the old ones proven dead"
    OLD_SHEETS_DESTROYED = "old-sheets.destroyed", "The old sheets are destroyed"
    KEY_WRAPPED = "key.wrapped", "The root key is wrapped for the backup"
    BACKUP_SEALED = "backup.sealed", "The backup is sealed"
    BACKUP_RESTORED = "backup.restored", "The backup is restored, tried, and destroyed again"
    KEY_DESTROYED = "key.destroyed", "The root key is destroyed, and its absence proven"
    TOKEN_DESTROYED = "token.destroyed", "The token is erased"

    # After the last act.
    HEAD_COPIED = "head.copied", "The witnesses copy the transcript's head"
    COPIES_TAKEN = "copies.taken", "The record is copied and verified elsewhere"
    MACHINE_STOPPED = "machine.stopped", "The machine is switched off"
    EXCEPTIONS_REVIEWED = "exceptions.reviewed", "The exceptions are reviewed"
