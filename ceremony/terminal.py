"""The people of a ceremony at a terminal: told what happens, asked for shares and for what they compared.

``People`` is what an act needs of them. ``AtTerminal`` asks real people; ``Rehearsing`` takes the shares from the
words file that only a rehearsal writes and confirms by itself, saying so. No other room of the ceremony
prints or prompts.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import click

from ceremony.confirmations import Confirmations, Listener
from ceremony.keyboard import unseen_keys
from ceremony.printing import Printer
from ceremony.records import DigestCheck, Kind
from ceremony.script import Step, StepName
from ceremony.share_checksum import suspects
from ceremony.share_entry import HELP, Complete, Scan, WordEntry
from ceremony.share_scan import scan_share
from ceremony.shares import EnteredShare, Progress, Share, ShareCommitments, parse_share, read_words_file
from shared import names, terminal
from shared.crossing.words import digest_words
from shared.errors import Fatal, PolicyDenied, RequestRejected

# How many of a digest's words are typed: the first and the last two, which a person who did not look cannot guess.
_TYPED_WORDS = 4
_MOST_ATTEMPTS = 5
_WORDS_A_LINE = 8

Keyboard = Callable[[], AbstractContextManager[Iterator[str]]]
"""Opens the keyboard for unseen keys; see ``keyboard.unseen_keys``."""


class People(Protocol):
    """What an act needs of the people in the room."""

    def guide(self, steps: Sequence[tuple[str, Step]], *, typist: str = "") -> None:
        """Learn which steps come now, with their numbers on the printed script, and who types."""
        ...

    def listen(self, listener: Listener) -> None:
        """Tell what was confirmed so far, and from now on everything at once."""
        ...

    def step(self, name: StepName) -> None:
        """Announce the next step.

        Raises:
            PolicyDenied: ``people.stopped``.
        """
        ...

    def tell(self, text: str) -> None:
        """Tell one fact of the present step."""
        ...

    def show_digest(self, what: str, digest: bytes) -> None:
        """Show a digest in hex and in words: people compare it with their paper, or write it down there."""
        ...

    def compare(self, what: str, digest: bytes) -> None:
        """Have a digest compared with what was read aloud from elsewhere.

        Raises:
            PolicyDenied: ``digest.not-confirmed``.
        """
        ...

    def confirm(self, what: str) -> None:
        """Have it confirmed that something is so.

        Raises:
            PolicyDenied: ``people.refused``.
        """
        ...

    def progress(self, label: str, steps: int) -> AbstractContextManager[Progress]:
        """Show how far long work has come."""
        ...

    def print_sheet(self, custodian: str, path: Path) -> None:
        """Have a sheet printed and taken by its custodian.

        Raises:
            PolicyDenied: ``people.refused``.
            PeerFailed: ``printer.failed``.
        """
        ...

    def quorum(self, commitments: ShareCommitments) -> Sequence[EnteredShare]:
        """Collect enough shares, each recognised as one of the set.

        Raises:
            RequestRejected: ``share.*``.
        """
        ...

    def read_back(self, commitments: ShareCommitments, custodian: str, index: int) -> None:
        """Have a custodian read their sheet back, from the paper.

        Raises:
            RequestRejected: ``share.other-sheet``, ``share.too-many-attempts`` or ``terminal.missing``.
        """
        ...


class _Narrator:
    """Tells each step by the number and the name that the printed script has for it: people find it there."""

    def __init__(self) -> None:
        self._guide: dict[StepName, tuple[str, Step]] = {}
        self._typist = ""
        self._confirmations = Confirmations()

    def guide(self, steps: Sequence[tuple[str, Step]], *, typist: str = "") -> None:
        """Learn which steps come now, and who types. What is confirmed from now on belongs to another act."""
        self._guide = {step.name: (number, step) for number, step in steps}
        self._typist = typist
        self._confirmations = Confirmations()

    def listen(self, listener: Listener) -> None:
        """Tell what was confirmed so far, and from now on everything at once."""
        self._confirmations.listen(listener)

    def _confirmed_digest(self, what: str, digest: bytes, *, how: DigestCheck, read_by: str = "") -> None:
        facts = {"what": what, "sha256": digest.hex(), "how": how.value, "read_by": read_by, "typed_by": self._typist}
        self._confirmations.add(Kind.DIGEST_CONFIRMED, facts)

    def step(self, name: StepName) -> None:
        """Announce the next step: who acts, and what is read aloud."""
        number, step = self._guide.get(name, ("", None))
        terminal.say(terminal.paint(f"{number} [{name}] {name.heading}".lstrip(), "cyan", bold=True))
        if step is not None:
            self.tell(f"who: {step.who}")
            if step.says:
                self.tell(f"read aloud: “{step.says}”")

    def tell(self, text: str) -> None:
        """Tell one fact of the present step."""
        terminal.say(f"    {text}")

    @contextmanager
    def progress(self, label: str, steps: int) -> Iterator[Progress]:
        """Show a bar, on a terminal only."""
        if not sys.stderr.isatty():
            yield lambda *_: None
            return
        with click.progressbar(length=steps, label=f"    {label}", file=sys.stderr) as bar:
            yield lambda done, _: bar.update(done - bar.pos)

    def show_digest(self, what: str, digest: bytes) -> None:
        """Show a digest in hex and in words, numbered so that a lost word is noticed."""
        self.tell(f"SHA-256 of the {what}: {digest.hex()}")
        words = digest_words(digest)
        for start in range(0, len(words), _WORDS_A_LINE):
            line = "  ".join(f"{number + 1:2}·{words[number]}" for number in range(start, start + _WORDS_A_LINE))
            self.tell(line)


class AtTerminal(_Narrator):
    """Real people, one terminal."""

    def __init__(
        self,
        *,
        scans: Sequence[Path] = (),
        printer: Printer | None = None,
        keyboard: Keyboard = unseen_keys,
        guided: bool = False,
    ) -> None:
        """Begin.

        Args:
            scans: images of sheets' QR codes, used for a quorum before anybody is asked to type.
            printer: prints the sheets; without one, people are told which file to print.
            keyboard: where the words are typed.
            guided: wait between steps until the boxes on the paper are ticked.
        """
        super().__init__()
        self._guided = guided
        self._ticked: tuple[str, StepName] | None = None
        self._scans = list(scans)
        self._printer = printer
        self._keyboard = keyboard

    def step(self, name: StepName) -> None:
        """Announce the next step, once the one before is done on the paper too.

        Before something that lasts begins, people are asked whether they want it: up to there, to stop is free.
        """
        if self._guided and self._ticked is not None:
            before, ticked = self._ticked
            self._go_on(f"Step {before}: every box is ticked, or an exception sheet is filled in", before, ticked)
        super().step(name)
        number, step = self._guide.get(name, ("", None))
        self._ticked = (number, name) if number else None
        if self._guided and step is not None and step.commits:
            self._go_on("From here on, to stop is not free: everybody agrees to go on", number, name)

    def _go_on(self, what: str, number: str, name: StepName) -> None:
        while (answer := terminal.ask_line(f"    {what}. [yes/stop]").strip().lower()) != "yes":
            if answer == "stop":
                raise PolicyDenied(
                    "people.stopped", "the people stopped the act", hint="record why: ceremony exception"
                )
        facts = {"number": number, "step": name.value, "what": what, "typed_by": self._typist}
        self._confirmations.add(Kind.STEP_CONFIRMED, facts)

    def compare(self, what: str, digest: bytes) -> None:
        """Have words typed that only the other side's paper shows; Enter alone confirms nothing."""
        words = digest_words(digest)
        wanted = (*words[: _TYPED_WORDS // 2], *words[-_TYPED_WORDS // 2 :])
        self.tell(f"Compare the {what} with the words that came with it. This machine shows them only afterwards.")
        typed = terminal.ask_line(
            f"Type the first {_TYPED_WORDS // 2} and the last {_TYPED_WORDS // 2} digest words that were read aloud"
        ).split()
        self.show_digest(what, digest)
        if tuple(word.lower() for word in typed) != tuple(word.lower() for word in wanted):
            raise PolicyDenied(
                "digest.not-confirmed",
                f"the words that were read aloud are not those of the {what}",
                hint="stop here: this is another file than the one that was agreed on",
            )
        reader = self._name("Who read the words aloud? Name")
        self._confirmed_digest(what, digest, how=DigestCheck.TYPED, read_by=reader)

    def _name(self, question: str) -> str:
        while True:
            name = terminal.ask_line(f"    {question}").strip()
            if name and names.printable(name) == name:
                return name

    def confirm(self, what: str) -> None:
        """Ask until somebody types yes or no: Enter alone confirms nothing."""
        while (answer := terminal.ask_line(f"    {what}. Is it so? [yes/no]").strip().lower()) != "yes":
            if answer == "no":
                raise PolicyDenied("people.refused", f"the people did not confirm: {what}")
        self._confirmations.add(Kind.FACT_CONFIRMED, {"what": what, "typed_by": self._typist})

    def print_sheet(self, custodian: str, path: Path) -> None:
        """Print it, or tell which file to print; the custodian takes the paper and looks at it."""
        if self._printer is not None:
            self._printer(path)
        else:
            self.tell(f"print {path} now, in another window, and let no copy stay in the printer")
        self.confirm(f"{custodian} holds the printed sheet, and its words can be read")

    def quorum(self, commitments: ShareCommitments) -> Sequence[EnteredShare]:
        """Ask for one share after another, unseen; a wrong one is named and asked for again."""
        shape = commitments.shape
        found: dict[int, EnteredShare] = {}
        for path in self._scans:
            share = scan_share(path)
            if share.words[:2] != commitments.opening_words:
                self.tell(f"{path}: a share of another set, left aside")
                continue
            recognised = commitments.recognise(share, what=str(path))
            found[recognised.index] = share
            self.tell(f"{path}: {recognised.name} is one of this set")
        while missing := shape.missing(found):
            share, recognised = self.enter(commitments, f"Needed: {missing}. A custodian types their share")
            if recognised.index in found:
                self.tell(f"{recognised.name} was already entered")
                continue
            found[recognised.index] = share
            self.tell(f"{recognised.name} is one of this set")
        return tuple(found[index] for index in shape.quorum(list(found)))

    def read_back(self, commitments: ShareCommitments, custodian: str, index: int) -> None:
        """Ask the custodian to type their own sheet, so that no sheet is lost on the first day."""
        name = commitments.shape.name(index)
        _, found = self.enter(commitments, f"{custodian}, read your sheet back ({name})")
        if found.index != index:
            raise RequestRejected("share.other-sheet", f"{custodian} holds {found.name}, not {name}")
        self.tell(f"{name} is right")

    def enter(self, commitments: ShareCommitments, prompt: str) -> tuple[EnteredShare, Share]:
        """Have one share typed, word by word and unseen, or scanned.

        Args:
            commitments: of the set that it must be of.
            prompt: who shall type what.

        Raises:
            RequestRejected: ``share.too-many-attempts`` or ``terminal.missing``.
        """
        self.tell(f"{prompt}; nobody else looks.")
        for line in HELP:
            self.tell(line)
        entry = WordEntry(commitments.opening_words)
        attempts = 0
        with self._keyboard() as keys, _one_line() as draw:
            draw(entry.line)
            for key in keys:
                outcome = entry.press(key)
                if outcome is not None:
                    try:
                        share = _read_entry(outcome)
                        return share, commitments.recognise(share)
                    except RequestRejected as refusal:
                        attempts += 1
                        # On a line of its own: it may be longer than what is left beside the word.
                        draw(lambda _: "")
                        click.echo(f"\r    {refusal.message}", err=True)
                        if isinstance(outcome, Complete) and (numbers := suspects(outcome.words)):
                            entry.look_at(numbers[0])
                    if attempts == _MOST_ATTEMPTS:
                        break
                draw(entry.line)
        raise RequestRejected("share.too-many-attempts", f"no right share in {_MOST_ATTEMPTS} attempts")


def _read_entry(outcome: Complete | Scan) -> EnteredShare:
    if isinstance(outcome, Scan):
        return scan_share(Path(outcome.path).expanduser())
    return parse_share(" ".join(outcome.words))


@contextmanager
def _one_line() -> Iterator[Callable[[Callable[[int], str]], None]]:
    """Give a line of the terminal that is drawn again and again in its place; it is left empty."""

    def draw(line: Callable[[int], str]) -> None:
        # A line that is as wide as the terminal would wrap, and then could not be drawn over.
        room = max(20, shutil.get_terminal_size().columns - 6)
        click.echo(f"\r\x1b[K    {line(room)}", nl=False, err=True)

    try:
        yield draw
    finally:
        click.echo("\r\x1b[K", nl=False, err=True)


class DryRunning(_Narrator):
    """Nobody: a dry run tells what would be confirmed, and never comes to what needs a custodian."""

    def confirm(self, what: str) -> None:
        """Tell what would be confirmed."""
        self.tell(f"(dry run: people would confirm: {what})")

    def compare(self, what: str, digest: bytes) -> None:
        """Show the digest that would be compared."""
        self.show_digest(what, digest)

    def print_sheet(self, custodian: str, path: Path) -> None:
        """Refuse: there is no sheet."""
        raise self._asked(f"{custodian} to take {path.name}")

    def quorum(self, commitments: ShareCommitments) -> Sequence[EnteredShare]:
        """Refuse: no share is entered."""
        raise self._asked(f"shares of the set {commitments.set_id}")

    def read_back(self, commitments: ShareCommitments, custodian: str, index: int) -> None:
        """Refuse: no sheet is read back."""
        raise self._asked(f"{custodian} to read back {commitments.shape.name(index)}")

    def _asked(self, what: str) -> Fatal:
        return Fatal("dry-run.asked", f"a dry run came so far as to ask for {what}")


class Rehearsing(_Narrator):
    """A rehearsal that runs by itself, on the shares of a words file."""

    def __init__(self, *words_files: Path) -> None:
        """Begin.

        Args:
            words_files: one for each set of shares; the first is the one to complain about.
        """
        super().__init__()
        self._words_files = words_files

    def compare(self, what: str, digest: bytes) -> None:
        """Show the digest; a rehearsal has nobody who compares."""
        self.show_digest(what, digest)
        self.tell("(rehearsal: in a real ceremony these words are compared aloud)")
        self._confirmed_digest(what, digest, how=DigestCheck.REHEARSED)

    def confirm(self, what: str) -> None:
        """Confirm by itself, and say so."""
        self.tell(f"(rehearsal: confirmed by itself: {what})")

    def print_sheet(self, custodian: str, path: Path) -> None:
        """Print nothing."""
        self.tell(f"(rehearsal: {path} is not printed, and stays here; {custodian} would take the paper)")

    def quorum(self, commitments: ShareCommitments) -> Sequence[EnteredShare]:
        """Take the last shares of the file: whoever rehearses with a file of few or foreign shares is told."""
        path, shares = self._shares_of(commitments)
        by_index = {commitments.recognise(share, what=f"{share.name} in {path}").index: share for share in shares}
        quorum = commitments.shape.quorum(sorted(by_index, reverse=True))
        # Too few, or one twice: whoever combines them says so better.
        return [by_index[index] for index in quorum] if quorum and len(by_index) == len(shares) else shares

    def read_back(self, commitments: ShareCommitments, custodian: str, index: int) -> None:
        """Read the share back from the file."""
        path, shares = self._shares_of(commitments)
        if all(commitments.recognise(share).index != index for share in shares):
            name = commitments.shape.name(index)
            raise RequestRejected("share.other-sheet", f"{path} does not hold {name} of {custodian}")

    def _shares_of(self, commitments: ShareCommitments) -> tuple[Path, Sequence[EnteredShare]]:
        for path in self._words_files[1:]:
            if path.exists():
                shares = read_words_file(path)
                if shares[0].words[:2] == commitments.opening_words:
                    return path, shares
        return self._words_files[0], read_words_file(self._words_files[0])
