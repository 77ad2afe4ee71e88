"""The people of a ceremony at a terminal: told what happens, asked for shares and for what they compared.

``People`` is what an act needs of them. ``AtTerminal`` asks real people; ``Rehearsing`` takes the shares from the
words file that only a rehearsal writes and confirms by itself, saying so. No other room of the ceremony
prints or prompts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ceremony.script import StepName
from ceremony.shares import EnteredShare, ShareCommitments, parse_share, read_words_file
from shared import terminal
from shared.crossing.words import digest_words
from shared.errors import PolicyDenied, RequestRejected

# How many of a digest's words are typed: the first and the last two, which a person who did not look cannot guess.
_TYPED_WORDS = 4
_MOST_ATTEMPTS = 5
_WORDS_A_LINE = 8


class People(Protocol):
    """What an act needs of the people in the room."""

    def step(self, title: str) -> None:
        """Announce the next step, by its name."""
        ...

    def tell(self, text: str) -> None:
        """Tell one fact of the present step."""
        ...

    def compare(self, what: str, digest: bytes) -> None:
        """Have a digest compared with what was read aloud from elsewhere.

        Raises:
            PolicyDenied: ``digest.not-confirmed``.
        """
        ...

    def quorum(self, commitments: ShareCommitments) -> Sequence[EnteredShare]:
        """Collect enough shares, each recognised as one of the set.

        Raises:
            RequestRejected: ``share.*``.
        """
        ...

    def read_back(self, commitments: ShareCommitments, custodians: Sequence[str]) -> tuple[int, ...]:
        """Have each custodian read their sheet back; return the indexes of the shares that were.

        Raises:
            RequestRejected: ``share.*``.
        """
        ...


class _Narrator:
    """Numbered steps with the time that the last one took."""

    def __init__(self) -> None:
        self._number = 0
        self._begun = time.monotonic()

    def step(self, title: str) -> None:
        """Announce the next step."""
        # The name of a step is also on the printed script: people find there where the program is.
        self._number += 1
        heading = f"[{title}] {title.heading}" if isinstance(title, StepName) else f"[{self._number}] {title}"
        terminal.say(terminal.paint(heading, "cyan", bold=True))

    def tell(self, text: str) -> None:
        """Tell one fact of the present step."""
        terminal.say(f"    {text}")

    def show_digest(self, what: str, digest: bytes) -> None:
        """Show a digest in hex and in words, numbered so that a lost word is noticed."""
        self.tell(f"SHA-256 of the {what}: {digest.hex()}")
        words = digest_words(digest)
        for start in range(0, len(words), _WORDS_A_LINE):
            line = "  ".join(f"{number + 1:2}·{words[number]}" for number in range(start, start + _WORDS_A_LINE))
            self.tell(line)


class AtTerminal(_Narrator):
    """Real people, one terminal."""

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

    def quorum(self, commitments: ShareCommitments) -> Sequence[EnteredShare]:
        """Ask for one share after another, unseen; a wrong one is named and asked for again."""
        shape = commitments.shape
        found: dict[int, EnteredShare] = {}
        while missing := shape.missing(found):
            share = self._ask(commitments, f"{missing} needed: type the words of a share")
            recognised = commitments.recognise(share)
            if recognised.index in found:
                self.tell(f"{recognised.name} was already entered")
                continue
            found[recognised.index] = share
            self.tell(f"{recognised.name} is one of this set")
        return tuple(found[index] for index in shape.quorum(list(found)))

    def read_back(self, commitments: ShareCommitments, custodians: Sequence[str]) -> tuple[int, ...]:
        """Ask each custodian in turn to type their own sheet, so that no sheet is lost on the first day."""
        read: list[int] = []
        for (index, _), custodian in zip(commitments.shape.sheets(), custodians, strict=True):
            name = commitments.shape.name(index)
            found = commitments.recognise(self._ask(commitments, f"{custodian}, read your sheet back ({name})"))
            if found.index != index:
                raise RequestRejected("share.other-sheet", f"{custodian} holds {found.name}, not {name}")
            self.tell(f"{name} is right")
            read.append(index)
        return tuple(read)

    def _ask(self, commitments: ShareCommitments, prompt: str) -> EnteredShare:
        for _ in range(_MOST_ATTEMPTS):
            try:
                share = parse_share(terminal.ask_secret(prompt).decode("utf-8", "replace"))
                commitments.recognise(share)
            except RequestRejected as refusal:
                if refusal.code == "terminal.missing":
                    raise
                self.tell(refusal.message)
            else:
                return share
        raise RequestRejected("share.too-many-attempts", f"no right share in {_MOST_ATTEMPTS} attempts")


class Rehearsing(_Narrator):
    """A rehearsal that runs by itself, on the shares of a words file."""

    def __init__(self, words_file: Path) -> None:
        super().__init__()
        self._words_file = words_file

    def compare(self, what: str, digest: bytes) -> None:
        """Show the digest; a rehearsal has nobody who compares."""
        self.show_digest(what, digest)
        self.tell("(rehearsal: in a real ceremony these words are compared aloud)")

    def quorum(self, commitments: ShareCommitments) -> Sequence[EnteredShare]:
        """Take the last shares of the file: whoever rehearses with a file of few or foreign shares is told."""
        shares = read_words_file(self._words_file)
        by_index = {
            commitments.recognise(share, what=f"{share.name} in {self._words_file}").index: share for share in shares
        }
        quorum = commitments.shape.quorum(sorted(by_index, reverse=True))
        # Too few, or one twice: whoever combines them says so better.
        return [by_index[index] for index in quorum] if quorum and len(by_index) == len(shares) else shares

    def read_back(self, commitments: ShareCommitments, custodians: Sequence[str]) -> tuple[int, ...]:
        """Read every share back from the file."""
        del custodians
        here = {commitments.recognise(share).index for share in read_words_file(self._words_file)}
        return tuple(index for index, _ in commitments.shape.sheets() if index in here)
