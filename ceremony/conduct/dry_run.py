"""Dry runs: what an act would do, with everything refused that the act would refuse, and nothing touched.

A dry run asks nobody, opens no token, and leaves no file: not the transcript, not a directory, not a configuration.
It runs the very checks of the act; what the act learns only from its HSM or its custodians it cannot know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ceremony.conduct.dealing import sheets_of
from ceremony.conduct.intermediate import REPLY_STEM, examine, refuse_taken
from ceremony.conduct.root import check_root
from ceremony.conduct.setting import Setting
from ceremony.foresight import AtHand, Foreseen, foresee
from ceremony.hsm import HsmSettings
from ceremony.intermediate import prepare_intermediate
from ceremony.plan import ActKind, Plan, PlannedAct
from ceremony.records import Mode
from ceremony.script import Step, numbered
from ceremony.terminal import DryRunning
from shared import durable
from shared.serials import random_serial

_CONFIGURATION = "softhsm2.conf"


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What an act would do."""

    act: PlannedAct
    mode: Mode
    steps: tuple[tuple[str, Step], ...]
    """With their numbers on the printed script."""
    signs: tuple[Foreseen, ...] = ()
    compares: tuple[tuple[str, bytes], ...] = ()
    """Digests that would be compared aloud, and of what."""
    writes: tuple[Path, ...] = ()
    changes: tuple[str, ...] = ()
    """What would change in the HSM, in words."""


def dry_run_root(setting: Setting, plan: Plan, *, outputs: Sequence[Path] = ()) -> DryRun:
    """Check the root act.

    Args:
        setting: as for the act.
        plan: validated.
        outputs: the file for the words of a rehearsal's shares.

    Raises:
        RequestRejected, PolicyDenied, NotFound, PeerFailed: what the act would refuse before it begins.
    """
    setting = replace(setting, people=DryRunning())
    act, directory = PlannedAct(kind=ActKind.ROOT), setting.directory
    steps = numbered(plan, act)
    with untouched(setting.hsm):
        check_root(setting, plan, outputs)
    papers = [
        directory.sheets / f"{kind}-{sheet.number}.pdf"
        for sheet in sheets_of(plan.shares)
        for kind in ("share", "receipt")
    ]
    return DryRun(
        act=act,
        mode=setting.mode,
        steps=steps,
        signs=tuple(each for each in foresee(plan, AtHand()) if each.act == act),
        writes=(directory.plan, directory.transcript, *outputs, *papers, directory.root),
        changes=(
            f"the one blank token is initialised and gets the label {setting.hsm.token_label!r}",
            f"a key {plan.root.label!r} of the kind {plan.root.key} is generated in it",
        ),
    )


def dry_run_intermediate(
    setting: Setting, request_files: Sequence[Path], out: Path, *, samples: Sequence[str] = ()
) -> DryRun:
    """Check the intermediate act: the request is read, held against the plan, and its certificate linted.

    Args:
        setting: as for the act.
        request_files: as for the act.
        out: as for the act; it is not made.
        samples: as for the act.

    Raises:
        RequestRejected, PolicyDenied: what the act would refuse before it unlocks the HSM; ``lint.*`` too.
    """
    setting = replace(setting, people=DryRunning())
    examined = examine(setting, request_files, samples=samples)
    refuse_taken(out)
    plan, request = examined.plan, examined.request
    act = PlannedAct(kind=ActKind.INTERMEDIATE, name=request.planned.file)
    steps = numbered(plan, act)
    # Serial and date are of no consequence here: what the plan does not fix is drawn on the day.
    now = setting.clock.now()
    prepare_intermediate(request, root=examined.issuer.certificate, serial=random_serial(setting.rng), now=now)
    found = foresee(plan, AtHand(roots={request.planned.issuer: examined.issuer.certificate}, requests=(request,)))
    return DryRun(
        act=act,
        mode=setting.mode,
        steps=steps,
        signs=tuple(each for each in found if each.act == act),
        compares=((f"request of {request.planned.file}", request.bundle_digest),),
        writes=(
            setting.directory.transcript,
            setting.directory.certificate(request.planned.file),
            out / f"{REPLY_STEM}.bundle",
            out / f"{REPLY_STEM}-1.png",
        ),
    )


@contextmanager
def untouched(settings: HsmSettings) -> Iterator[None]:
    """Take back what looking at a SoftHSM leaves behind: directories, and its configuration file."""
    directory = settings.softhsm_directory
    if directory is None:
        yield
        return
    made = [each for each in (directory, *directory.parents) if not each.exists()]
    file = directory / _CONFIGURATION
    before = durable.read_file(file) if file.is_file() else None
    try:
        yield
    finally:
        if before is not None and durable.read_file(file) != before:
            durable.replace(file, before, mode=durable.PRIVATE)
        if before is None:
            file.unlink(missing_ok=True)
        for each in made:
            if each.is_dir() and not any(each.iterdir()):
                each.rmdir()
