"""The dry run of an amendment: its very checks, and nothing touched."""

from __future__ import annotations

from dataclasses import replace

from ceremony.conduct.amend import examine_amendment
from ceremony.conduct.dry_run import DryRun
from ceremony.conduct.setting import Scene
from ceremony.plan import AMENDMENT
from ceremony.script import numbered
from ceremony.terminal import DryRunning


def dry_run_amendment(scene: Scene, data: bytes) -> DryRun:
    """Check the plan of a later day.

    Args:
        scene: as for the act.
        data: as for the act.

    Raises:
        RequestRejected, PolicyDenied: what the act would refuse before words are compared.
    """
    examined = examine_amendment(replace(scene, people=DryRunning()), data)
    directory = scene.directory
    return DryRun(
        act=AMENDMENT,
        mode=scene.mode,
        steps=numbered(examined.plan, AMENDMENT),
        compares=(("plan", examined.plan.digest),),
        writes=(directory.transcript, directory.path / examined.file),
    )
