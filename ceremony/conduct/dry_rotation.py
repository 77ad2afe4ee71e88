"""The dry run of a rotation: its very checks, and nothing touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ceremony.conduct.dealing import sheets_of
from ceremony.conduct.dry_run import DryRun
from ceremony.conduct.rotation import examine_rotation
from ceremony.conduct.setting import Setting
from ceremony.plan import ActKind, PlannedAct
from ceremony.script import numbered
from ceremony.terminal import DryRunning


def dry_run_rotation(setting: Setting, name: str | None, *, outputs: tuple[Path, ...] = ()) -> DryRun:
    """Check a rotation.

    Args:
        setting: as for the act.
        name: as for the act.
        outputs: the file for the words of a rehearsal's new shares.

    Raises:
        RequestRejected, PolicyDenied: what the act would refuse before it unlocks the HSM.
    """
    plan, rotation = examine_rotation(replace(setting, people=DryRunning()), name, outputs)
    act = PlannedAct(kind=ActKind.ROTATE, name=rotation.name)
    papers = [
        setting.directory.sheets / rotation.name / f"{kind}-{sheet.number}.pdf"
        for sheet in sheets_of(rotation.shares)
        for kind in ("share", "receipt")
    ]
    return DryRun(
        act=act,
        mode=setting.mode,
        steps=numbered(plan, act),
        writes=(setting.directory.transcript, *outputs, *papers),
        changes=(
            "the HSM's user PIN and security officer's PIN are replaced; the old shares unlock nothing after that",
        ),
    )
