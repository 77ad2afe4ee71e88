"""The rotation: new custodians, a new secret, new PINs. The old shares unlock until the new ones are proven to.

The steps; the numbers return in the code. Whenever the machine stops, before 6 the old shares unlock the HSM, after 6
the new ones do, and in 6 both together find out; running the act again finishes it.

1. what can be refused is; the host is fit; sets that an earlier attempt dealt and never used are given up;
2. a quorum of the *old* shares unlocks the HSM, which holds the root's key and nothing that the record does not know;
3. a new secret is mixed, with the HSM's randomness; it is split, and every quorum is proven. Splitting the old secret
   anew would leave the old shares alive;
4. each new custodian gets their sheet and reads it back;
5. a quorum of the *new* sheets is put together, from the paper: from here on the secret is the one on paper;
6. that the PINs will be replaced is recorded; then they are, and the old ones are proven dead;
7. the new PIN opens the HSM, and it holds the root's key; that is recorded, and with it the new set lives;
8. the old set is declared dead; the transcript closes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ceremony import hsm, shares
from ceremony.conduct.continuing import check_continues, later_act
from ceremony.conduct.dealing import Dealt, check_sheets, clear_away, deal, hand_out
from ceremony.conduct.directory import open_ceremony, open_journal
from ceremony.conduct.later import take_inventory
from ceremony.conduct.setting import Setting, check_host
from ceremony.conduct.unlocking import token_serial, unlock
from ceremony.inventory import Moment
from ceremony.plan import ActKind, Plan, PlannedAct, RotationPlan
from ceremony.records import Act, Kind, Mode, Retirement
from ceremony.script import StepName, numbered
from ceremony.secret import SOURCE_BYTES, CeremonySecret, mix_secret
from ceremony.share_history import REPLACE_PINS, DealtSet, ShareHistory
from ceremony.shares import ShareCommitments, ShareSet
from shared import durable
from shared.errors import Fatal, RequestRejected

_COMMAND, _REHEARSAL = "ceremony share rotate", "ceremony rehearse rotate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What the rotation leaves."""

    commitments: ShareCommitments
    """Of the set that unlocks the HSM now."""
    head: bytes
    """The transcript's head digest."""


def rotate(
    setting: Setting,
    name: str | None = None,
    *,
    keep_shares: Callable[[ShareSet], None] | None = None,
    outputs: tuple[Path, ...] = (),
) -> Rotated:
    """Conduct a rotation, or finish one that was interrupted.

    Args:
        setting: where, with which HSM and people.
        name: which of the plan's rotations; may be left out when there is one only, or one to finish.
        keep_shares: for a rehearsal only: told the new shares.
        outputs: files that ``keep_shares`` will write; refused now when they exist.

    Raises:
        RequestRejected: ``ceremony.*``, ``plan.*``, ``share.*``, ``transcript.*``, ``file.*``.
        Unauthenticated: ``hsm.wrong-pin``.
        PolicyDenied: ``host.not-fit`` or ``people.refused``.
        PeerFailed: ``hsm.*``.
        Fatal: when something that was just made does not hold.
    """
    act = _Rotation(setting, name, keep_shares)
    # 1.
    act.check(outputs)
    with later_act(setting, act.journal, act.plan, Act.ROTATE, name=act.rotation.name):
        history = act.journal.shares()
        if history.replacing is not None:
            act.finish(history.replacing)
        elif not history.superseded():
            act.give_up_unborn()
            act.replace()
        # 8.
        act.retire_superseded()
    setting.people.step(StepName.TRANSCRIPT_CLOSED)
    return Rotated(commitments=act.journal.commitments(), head=act.journal.head())


def take_back(setting: Setting) -> Rotated:
    """Undo a rotation that was interrupted while the PINs were being replaced, by the old shares alone.

    For the day on which a quorum of the new sheets cannot be brought together. It is possible as long as the security
    officer's PIN is the old one; after that the new set is the only one that unlocks.

    Raises:
        RequestRejected: ``ceremony.*``, ``share.*``, ``transcript.*``.
        Unauthenticated: ``hsm.wrong-pin``: it is too late, the new shares unlock the HSM.
        PolicyDenied: ``host.not-fit``.
        PeerFailed: ``hsm.*``.
    """
    replacing = open_journal(setting.directory, setting.clock).shares().replacing
    if replacing is None:
        raise RequestRejected("ceremony.nothing-to-take-back", "no rotation was interrupted while PINs were replaced")
    act = _Rotation(setting, None, None)
    act.check(())
    with later_act(setting, act.journal, act.plan, Act.ROTATE, name=act.rotation.name):
        act.take_back(replacing)
    setting.people.step(StepName.TRANSCRIPT_CLOSED)
    return Rotated(commitments=act.journal.commitments(), head=act.journal.head())


def examine_rotation(setting: Setting, name: str | None, outputs: tuple[Path, ...] = ()) -> tuple[Plan, RotationPlan]:
    """Check what the rotation checks before it opens, and touch nothing; return the plan, and which rotation it is.

    Raises:
        RequestRejected, PolicyDenied: what the act would refuse before it unlocks the HSM.
    """
    act = _Rotation(setting, name, None)
    act.check(outputs)
    return act.plan, act.rotation


class _Rotation:
    """One rotation under way: what its steps share."""

    def __init__(self, setting: Setting, name: str | None, keep: Callable[[ShareSet], None] | None) -> None:
        if keep is not None and setting.mode is not Mode.REHEARSAL:
            raise Fatal("ceremony.shares-kept", "the words of shares are kept in a rehearsal only")
        self._setting = setting
        self._keep = keep
        self.journal, plans = open_ceremony(setting.directory, setting.clock, watch=setting.watch)
        self.plan = plans.current
        check_continues(setting, self.journal, plans, command=_COMMAND, rehearsal=_REHEARSAL)
        if self.journal.find(Kind.TOKEN_ERASED):
            raise RequestRejected("ceremony.destroyed", "the root key was destroyed: nothing can follow")
        self.rotation = _choose(self.plan, self.journal.shares(), name)
        self._root = setting.directory.load_root()
        self._serial = token_serial(self.journal)

    @property
    def _planned(self) -> PlannedAct:
        return PlannedAct(kind=ActKind.ROTATE, name=self.rotation.name)

    @property
    def _act(self) -> str:
        return str(self._planned)

    def check(self, outputs: tuple[Path, ...]) -> None:
        """Refuse what can be refused before anything is recorded (step 1)."""
        check_sheets(self.plan, self.rotation.shares)
        history = self.journal.shares()
        begins = history.replacing is None and not history.superseded()
        for path in outputs if begins else ():
            if path.exists() and not self._holds_unborn(path, history):
                raise RequestRejected("file.exists", f"{path} already exists", hint="give a new file")
        self._setting.people.guide(numbered(self.plan, self._planned), typist=self.plan.roles.administrator)
        self.journal.host = check_host(self._setting, self.plan)

    def replace(self) -> None:
        """Go the whole way, from the old quorum to the new set (steps 2 to 7)."""
        people = self._setting.people
        # 2.
        old = unlock(self._setting, self.journal).secret
        with hsm.open_token(self._setting.hsm, self._serial, old.user_pin(), writable=False) as token:
            self._look(token, Moment.BEFORE)
            drawn = token.random(SOURCE_BYTES)
        # 3.
        people.step(StepName.SECRET_MIXED)
        context = self.plan.digest + self._act.encode("ascii")
        secret = mix_secret(self._setting.rng(SOURCE_BYTES), drawn, context=context)
        self.journal.append(Kind.ENTROPY_MIXED, {"sources": ["operating-system", "hsm"], "bytes_each": SOURCE_BYTES})
        dealt = deal(self._setting, self.journal, secret, self.rotation.shares, act=self._act)
        # From here on only the shares know the new secret.
        del secret
        if self._keep is not None:
            self._keep(dealt)
        # 4.
        directory = self._free_directory()
        hand_out(
            self._setting,
            self.journal,
            Dealt(plan=self.plan, shares=self.rotation.shares, set=dealt, directory=directory),
        )
        # 5.
        people.step(StepName.PINS_REPLACED)
        new = self._recombine(dealt.commitments)
        # 6. The intent is on the disk before a PIN changes: after a crash, both secrets are known to be needed.
        live = self.journal.commitments()
        self.journal.append(
            Kind.HSM_INTENT,
            {
                "operation": REPLACE_PINS,
                "token": self._serial,
                "from_set": live.set_id,
                "to_set": dealt.set_id,
            },
        )
        known = hsm.replace_pins(self._setting.hsm, self._serial, old=_pins(old), new=_pins(new))
        self._succeed(new, live, dealt.commitments, old_pins=known)

    def finish(self, replacing: DealtSet) -> None:
        """Finish a replacement of the PINs whose outcome nobody knows: try the new ones, then the old ones."""
        people, live = self._setting.people, self.journal.shares().live
        assert live is not None
        people.step(StepName.PINS_REPLACED)
        people.tell("The last rotation was interrupted here. The new shares are needed, and perhaps the old ones too.")
        new = self._recombine(replacing.commitments)
        found = hsm.try_pins(self._setting.hsm, self._serial, _pins(new))
        old_pins = "not-tried"
        if found.both:
            people.tell("the HSM takes both new PINs: the old shares are not needed any more")
        else:
            people.tell("the HSM does not take both new PINs yet: a quorum of the old shares is needed")
            old = shares.combine(people.quorum(live.commitments), live.commitments)
            old_pins = hsm.finish_replacing(self._setting.hsm, self._serial, old=_pins(old), new=_pins(new), done=found)
        self._succeed(new, live.commitments, replacing.commitments, old_pins=old_pins)

    def take_back(self, replacing: DealtSet) -> None:
        """Make the old PINs hold again, and give the new set up."""
        people, live = self._setting.people, self.journal.shares().live
        assert live is not None
        people.step(StepName.HSM_UNLOCKED)
        old = shares.combine(people.quorum(live.commitments), live.commitments)
        hsm.take_back(self._setting.hsm, self._serial, _pins(old))
        with hsm.open_token(self._setting.hsm, self._serial, old.user_pin(), writable=False) as token:
            self._look(token, Moment.AFTER)
        self._give_up(replacing)

    def give_up_unborn(self) -> None:
        """Declare dead what an earlier attempt dealt and never used (step 1)."""
        for dealt in self.journal.shares().unborn():
            self._give_up(dealt)

    def retire_superseded(self) -> None:
        """Declare the replaced set dead (step 8)."""
        for dealt in self.journal.shares().superseded():
            self.journal.append(Kind.SHARES_RETIRED, {"set_id": dealt.set_id, "reason": Retirement.REPLACED.value})
            self._setting.people.tell(f"the set {dealt.set_id} is dead: its sheets unlock nothing any more")

    def _free_directory(self) -> Path:
        # An earlier attempt's papers stay where they are, and are recorded under their own place.
        sheets, name = self._setting.directory.sheets, self.rotation.name
        places = (sheets / (name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
        return next(place for place in places if not place.exists())

    def _recombine(self, commitments: ShareCommitments) -> CeremonySecret:
        # 5. Checked against the commitment of the new secret; no PIN was tried yet.
        people = self._setting.people
        people.tell(f"A quorum of the new custodians types its sheets: {commitments.shape.describe()}")
        quorum = people.quorum(commitments)
        secret = shares.combine(quorum, commitments)
        used = [commitments.recognise(share).index for share in quorum]
        self.journal.append(Kind.QUORUM_RECOMBINED, {"set_id": commitments.set_id, "indexes": list(used)})
        people.tell(f"{commitments.shape.names(used)} recover the new secret")
        return secret

    def _succeed(
        self, new: CeremonySecret, before: ShareCommitments, after: ShareCommitments, *, old_pins: str
    ) -> None:
        # 7.
        with hsm.open_token(self._setting.hsm, self._serial, new.user_pin(), writable=False) as token:
            self._look(token, Moment.AFTER)
        self.journal.append(
            Kind.PINS_REPLACED,
            {"token": self._serial, "from_set": before.set_id, "to_set": after.set_id, "old_pins": old_pins},
        )
        tried = ", and refuses the old ones" if old_pins == "refused" else ""
        self._setting.people.tell(f"the HSM opens by the new shares{tried}; it holds the root's key")

    def _look(self, token: hsm.Token, moment: Moment) -> None:
        # 2 and 7.
        take_inventory(self._setting, self.journal, token, moment)
        if token.find(label=self.plan.root.label).public_key() != self._root.public_key():
            raise Fatal("ceremony.other-key", "the unlocked HSM holds another key than the one the root certifies")

    def _give_up(self, dealt: DealtSet) -> None:
        written = (each for each in self.journal.find(Kind.SHEET_WRITTEN) if each.body.get("set_id") == dealt.set_id)
        clear_away(self._setting, written)
        self.journal.append(Kind.SHARES_RETIRED, {"set_id": dealt.set_id, "reason": Retirement.ABANDONED.value})
        self._setting.people.tell(
            f"the set {dealt.set_id} of an earlier attempt is given up: its sheets unlock nothing, destroy them"
        )

    def _holds_unborn(self, path: Path, history: ShareHistory) -> bool:
        openings = {each.commitments.opening_words for each in history.unborn()}
        return shares.read_words_file(path)[0].words[:2] in openings


def _choose(plan: Plan, history: ShareHistory, name: str | None) -> RotationPlan:
    # 1.
    unfinished = history.replacing or (history.live if history.superseded() else None)
    if unfinished is not None:
        wanted = unfinished.act.removeprefix(f"{Act.ROTATE}:")
        if name not in {None, wanted}:
            raise RequestRejected(
                "ceremony.rotation-unfinished", f"the rotation {wanted} was interrupted", hint="finish that one first"
            )
        name = wanted
    known = {each.name: each for each in plan.rotations}
    done = {each.act for each in history.dealt if history.was_live(each) and each is not unfinished}
    open_ones = [each for each in plan.rotations if f"{Act.ROTATE}:{each.name}" not in done]
    if name is None and len(open_ones) == 1:
        name = open_ones[0].name
    if name is None or name not in known:
        raise RequestRejected(
            "plan.unplanned-rotation",
            "say which rotation of the plan it is" if name is None else f"the plan has no rotation {name}",
            hint=f"still to be done: {', '.join(each.name for each in open_ones) or 'none'}",
        )
    if PlannedAct(kind=ActKind.ROTATE, name=name) not in plan.acts:
        planned = ", ".join(map(str, plan.acts))
        raise RequestRejected(
            "ceremony.unplanned-act", f"the plan has no act rotate:{name}", hint=f"planned: {planned}"
        )
    if f"{Act.ROTATE}:{name}" in done:
        raise RequestRejected("ceremony.already-rotated", f"the rotation {name} was already done")
    return known[name]


def _pins(secret: CeremonySecret) -> hsm.Pins:
    return hsm.Pins(so=secret.so_pin(), user=secret.user_pin())


def words_keeper(path: Path) -> Callable[[ShareSet], None]:
    """Return what a rehearsal gives as ``keep_shares``: writes the words, in the place of a given-up set's."""

    def keep(dealt: ShareSet) -> None:
        if path.exists():
            durable.erase(path)
        shares.write_words_file(path, dealt.shares)

    return keep
