"""Dry runs of the acts after the root's and the intermediates': the very checks of the act, and nothing touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ceremony import inventory
from ceremony.conduct.backup import examine_backup, examine_restore
from ceremony.conduct.crl import examine_lists
from ceremony.conduct.cross import examine_cross
from ceremony.conduct.destroy import examine_destruction
from ceremony.conduct.dry_run import DryRun
from ceremony.conduct.later import Continued
from ceremony.conduct.rollover import examine_rollover
from ceremony.conduct.setting import Setting
from ceremony.crosscert import cross_file
from ceremony.destruction import FILE
from ceremony.foresight import NO_BEGINNING, NO_SERIAL, Foreseen
from ceremony.plan import ActKind, Fixed, PlannedAct
from ceremony.script import numbered
from ceremony.terminal import DryRunning


def dry_run_lists(setting: Setting, name: str) -> DryRun:
    """Check a calendar of lists. What will be signed is known to the last byte: the plan fixes all of it.

    Raises:
        RequestRejected, PolicyDenied: what the act would refuse before it unlocks the HSM.
    """
    examined = examine_lists(_nobody(setting), name)
    act = PlannedAct(kind=ActKind.CRL, name=name)
    signs = [Foreseen(act=act, file=each.planned.file, tbs=each.prepared.tbs) for each in examined.ready]
    return _dry_run(examined.continued, act, [each.file for each in examined.lists], signs=signs)


def dry_run_cross(setting: Setting, name: str, other_file: Path) -> DryRun:
    """Check a cross-certificate: the other root is read and held against the plan.

    Raises:
        RequestRejected, PolicyDenied: what the act would refuse before it unlocks the HSM.
    """
    examined = examine_cross(_nobody(setting), name, other_file)
    act = PlannedAct(kind=ActKind.CROSS, name=name)
    signs = [Foreseen(act=act, file=cross_file(name), missing=_unfixed(examined.planned.fixed))]
    compares = (("other root's certificate", bytes.fromhex(examined.planned.fingerprint)),)
    return _dry_run(examined.continued, act, [cross_file(name)], signs=signs, compares=compares)


def dry_run_rollover(setting: Setting, name: str) -> DryRun:
    """Check a rollover.

    Raises:
        RequestRejected, PolicyDenied: what the act would refuse before it unlocks the HSM.
    """
    examined = examine_rollover(_nobody(setting), name)
    act, planned = PlannedAct(kind=ActKind.ROLLOVER, name=name), examined.planned.root
    missing = "its key is generated in the act"
    signs = [Foreseen(act=act, file=file, missing=(missing,)) for file in examined.files]
    change = f"a key {planned.label!r} of the kind {planned.key} is generated in the HSM"
    return _dry_run(examined.continued, act, examined.files, signs=signs, changes=(change,))


def dry_run_backup(setting: Setting) -> DryRun:
    """Check a backup.

    Raises:
        RequestRejected, PolicyDenied: what the act would refuse before it unlocks the HSM.
    """
    continued, file = examine_backup(_nobody(setting))
    return _dry_run(continued, PlannedAct(kind=ActKind.BACKUP), [file])


def dry_run_restore(setting: Setting, file: Path | None) -> DryRun:
    """Check the trial of a backup.

    Raises:
        RequestRejected, PolicyDenied: what the act would refuse before it unlocks the HSM.
    """
    continued, _, _ = examine_restore(_nobody(setting), file)
    change = "each key of the backup is in the HSM's session for a moment, and signs one text"
    return _dry_run(continued, PlannedAct(kind=ActKind.RESTORE_TEST), [], changes=(change,))


def dry_run_destroy(setting: Setting) -> DryRun:
    """Check the end of the root key.

    Raises:
        RequestRejected, PolicyDenied: what the act would refuse before it unlocks the HSM.
    """
    continued = examine_destruction(_nobody(setting))
    keys = inventory.expected(continued.journal.records).keys
    changes = [f"the key {key.label!r} with the id {key.key_id} is destroyed for ever" for key in keys]
    return _dry_run(continued, PlannedAct(kind=ActKind.DESTROY), [FILE], changes=(*changes, "the token is erased"))


def _nobody(setting: Setting) -> Setting:
    return replace(setting, people=DryRunning())


def _dry_run(
    continued: Continued,
    act: PlannedAct,
    files: Sequence[str],
    *,
    signs: Sequence[Foreseen] = (),
    compares: tuple[tuple[str, bytes], ...] = (),
    changes: tuple[str, ...] = (),
) -> DryRun:
    directory = continued.setting.directory
    return DryRun(
        act=act,
        mode=continued.setting.mode,
        steps=numbered(continued.plan, act),
        signs=tuple(signs),
        compares=compares,
        writes=(directory.transcript, *(continued.path / file for file in files)),
        changes=changes,
    )


def _unfixed(fixed: Fixed) -> tuple[str, ...]:
    missing = () if fixed.serial is not None else (NO_SERIAL,)
    return missing if fixed.not_before is not None else (*missing, NO_BEGINNING)
