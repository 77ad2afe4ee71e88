"""A whole day in one run: every act of the plan in force, in its order, from wherever the record stands.

The steps; the numbers return in the code.

1. the plan that was handed in begins the day: the first one by its root act, a later one by its amendment;
2. an act that is open goes on where its record ends, or is given up and run again;
3. each act that the record does not show as done is conducted, after people agreed to begin it. What it needs from
   outside (a request, another root) is asked for when its turn comes.

Whatever stops an act stops the run, which can be run again: it goes on with what is not done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ceremony.conduct import rotation
from ceremony.conduct.amend import amend
from ceremony.conduct.backup import make_backup, try_backup
from ceremony.conduct.crl import sign_lists
from ceremony.conduct.cross import sign_cross
from ceremony.conduct.destroy import destroy
from ceremony.conduct.intermediate import sign_intermediate
from ceremony.conduct.resume import resume
from ceremony.conduct.rollover import roll_over
from ceremony.conduct.root import create_root, words_keeper
from ceremony.conduct.setting import Setting
from ceremony.plan import ActKind, PlannedAct, load_plan, previous_of
from ceremony.plan_history import PlanDay
from ceremony.progress import Progress, State, progress_of
from ceremony.records import Act
from shared.errors import PolicyDenied, RequestRejected

_GOES_ON = frozenset({Act.ROOT, Act.INTERMEDIATE, Act.AMEND})
"""Acts that ``resume`` goes on with; the others are simply run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the acts of a day need from outside."""

    files: Callable[[PlannedAct], Sequence[Path]]
    """Asks for an act's files: a request's bundle or images, or another root's certificate."""
    out: Path | None = None
    """Directory for the replies, one directory in it for each intermediate."""
    words: Callable[[PlannedAct], Path] | None = None
    """For a rehearsal only: where the words of the shares go that an act deals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActDone:
    """One act that this run finished."""

    act: str
    head: bytes
    """The transcript's head digest after it."""


def run_day(setting: Setting, inputs: Inputs, *, plan: bytes | None, tell: Callable[[ActDone], None]) -> None:
    """Conduct what is left of the day.

    Args:
        setting: where, with which HSM and people.
        inputs: what comes from outside.
        plan: the bytes of the plan that begins the day, when it has not begun.
        tell: told each act as soon as it is done.

    Raises:
        RequestRejected, PolicyDenied, PeerFailed, Fatal: as the acts; ``run.no-input``, ``run.other-plan``,
            ``resume.given-up`` when a root act must begin anew.
    """
    # 1.
    if not setting.directory.transcript.exists():
        _begin(setting, inputs, plan, tell)
    # 2.
    _go_on(setting, inputs, tell)
    day = day_of(setting)
    if plan is not None and hashlib.sha256(plan).digest() != day.plan.digest:
        if previous_of(plan) is None:
            raise RequestRejected("run.other-plan", "this ceremony began with another plan")
        # 1.
        tell(ActDone(act=ActKind.AMEND, head=amend(setting, plan).head))
    # 3.
    while (act := next_act(setting)) is not None:
        setting.people.confirm(f"Everybody is ready for the act {act}")
        tell(ActDone(act=str(act), head=_conduct(setting, inputs, act)))


def day_of(setting: Setting) -> PlanDay:
    """Return the plan in force.

    Raises:
        RequestRejected: ``ceremony.missing``, ``transcript.*``, ``plan.*``.
    """
    directory = setting.directory
    return directory.load_plans(directory.load_records()).days[-1]


def next_act(setting: Setting) -> PlannedAct | None:
    """Return the first act of the day that is not done; ``None`` when all are.

    Raises:
        RequestRejected: as ``day_of``.
    """
    return next((each.act for each in _states(setting) if each.state is not State.DONE), None)


def _states(setting: Setting) -> tuple[Progress, ...]:
    return progress_of(day_of(setting), setting.directory.load_records())


def _begin(setting: Setting, inputs: Inputs, plan: bytes | None, tell: Callable[[ActDone], None]) -> None:
    if plan is None:
        setting.directory.check_begun()
        return
    words = inputs.words(PlannedAct(kind=ActKind.ROOT)) if inputs.words is not None else None
    made = create_root(
        setting,
        load_plan(plan),
        plan,
        keep_shares=words_keeper(words) if words is not None else None,
        outputs=[words] if words is not None else [],
    )
    tell(ActDone(act=ActKind.ROOT, head=made.head))


def _go_on(setting: Setting, inputs: Inputs, tell: Callable[[ActDone], None]) -> None:
    for each in _states(setting):
        if each.state is State.OPEN and each.act.kind.value in _GOES_ON:
            done = resume(setting, out=_place(inputs, each.act))
            if each.act.kind is ActKind.ROOT and not done.finished:
                raise PolicyDenied("resume.given-up", done.what)
            if done.finished:
                tell(ActDone(act=str(each.act), head=done.head))


def _conduct(setting: Setting, inputs: Inputs, act: PlannedAct) -> bytes:
    # 3.
    conduct = _ACTS.get(act.kind)
    if conduct is None:
        raise RequestRejected("run.broken-off", f"the act {act} did not come to a good end", hint="begin anew")
    return conduct(setting, inputs, act)


def _intermediate(setting: Setting, inputs: Inputs, act: PlannedAct) -> bytes:
    out = _place(inputs, act)
    if out is None:
        raise RequestRejected("run.no-input", f"{act}: its reply needs a place", hint="add --out DIRECTORY")
    return sign_intermediate(setting, inputs.files(act), out).head


def _rotate(setting: Setting, inputs: Inputs, act: PlannedAct) -> bytes:
    if inputs.words is None:
        return rotation.rotate(setting, act.name).head
    words = inputs.words(act)
    return rotation.rotate(setting, act.name, keep_shares=rotation.words_keeper(words), outputs=(words,)).head


_ACTS: Mapping[ActKind, Callable[[Setting, Inputs, PlannedAct], bytes]] = {
    ActKind.INTERMEDIATE: _intermediate,
    ActKind.CRL: lambda setting, _, act: sign_lists(setting, act.name).head,
    ActKind.CROSS: lambda setting, inputs, act: sign_cross(setting, act.name, inputs.files(act)[0]).head,
    ActKind.ROLLOVER: lambda setting, _, act: roll_over(setting, act.name).head,
    ActKind.ROTATE: _rotate,
    ActKind.BACKUP: lambda setting, *_: make_backup(setting).head,
    ActKind.RESTORE_TEST: lambda setting, *_: try_backup(setting, None).head,
    ActKind.DESTROY: lambda setting, *_: destroy(setting).head,
}


def _place(inputs: Inputs, act: PlannedAct) -> Path | None:
    return inputs.out / act.name if inputs.out is not None else None
