"""Typing a share word by word: what each key does. No terminal here; keys go in, and what to show comes out.

A word is decided by its first four letters; the rest may be typed or left. A letter that no word can have there is
refused at once, with the word's number. Every word stays hidden unless the custodian asks to see it. Instead of words,
the path of an image of the sheet's QR code can be typed.

Invariants: a note names the number of a word, never a word; nothing of a share is in ``repr``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ceremony.share_words import LETTERS_THAT_DECIDE, WORDS_IN_SHARE, begins_a_word, whole_word

HELP = (
    "space: next word   backspace: back   ←→: move   ctrl-t: show or hide   ctrl-u: anew",
    "or type the path of an image of the sheet's QR code: it begins with / or . or ~",
)

_PATH_BEGINS = frozenset("/.~")
_LONGEST_PATH = 4096
_HIDDEN = "*"


class Key(StrEnum):
    """A key that is no character to be typed; ``keyboard`` translates what a terminal sends."""

    BACKSPACE = "\x7f"
    CLEAR = "\x15"
    REVEAL = "\x14"
    LEFT = "<left>"
    RIGHT = "<right>"


_NEXT = frozenset(" \t\r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """All words were typed; whether they are a share is for the caller to find out."""

    words: Sequence[str]

    def __repr__(self) -> str:
        return "Complete(hidden)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A path was typed instead of words."""

    path: str


class WordEntry:
    """One share being typed."""

    def __init__(self, opening: Sequence[str] = ()) -> None:
        """Begin.

        Args:
            opening: the words that every share of the wanted set begins with; public. Another sheet is noticed at its
                first words.
        """
        self._opening = tuple(opening)
        self._words = [""] * WORDS_IN_SHARE
        self._place = 0
        self._typed = ""
        self._path: str | None = None
        self._shown = False
        self.note = ""
        """What to tell the person; one line."""

    def press(self, key: str) -> Complete | Scan | None:
        """Take one key; return something when the person has finished."""
        self.note = ""
        if self._path is not None:
            return self._press_in_path(key)
        if key in _NEXT:
            return self._next()
        if key == Key.BACKSPACE:
            self._back()
        elif key == Key.CLEAR:
            self._words = [""] * WORDS_IN_SHARE
            self._place, self._typed = 0, ""
            self.note = "all words forgotten"
        elif key == Key.REVEAL:
            self._shown = not self._shown
        elif key in {Key.LEFT, Key.RIGHT}:
            self._move(-1 if key == Key.LEFT else 1)
        elif key in _PATH_BEGINS and not self._typed:
            self._path = key
        elif key.isascii() and key.isalpha():
            self._letter(key.lower())
        elif len(key) == 1 and key.isprintable():
            self.note = f"{self._word} is letters only"
        return None

    def look_at(self, number: int) -> None:
        """Go to a word that is probably wrong, so that it can be typed again.

        Args:
            number: the word's, from 1.
        """
        if self._path is None and not self._typed:
            self._place = number - 1

    def line(self, room: int) -> str:
        """Return what to show, in at most ``room`` characters."""
        if self._path is not None:
            return f"image: {self._path}"[-room:] if len(self._path) + 7 > room else f"image: {self._path}"
        if self._place == WORDS_IN_SHARE:
            text = f"all {WORDS_IN_SHARE} words typed; enter: try again"
        else:
            done = sum(1 for word in self._words if word)
            text = f"word {self._place + 1:2} of {WORDS_IN_SHARE} [{done:2} typed]  {self._face()}"
        return (f"{text}  {self.note}" if self.note else text)[:room]

    @property
    def _word(self) -> str:
        return f"word {self._place + 1}"

    def _face(self) -> str:
        if not self._typed:
            word = self._words[self._place] if self._place < WORDS_IN_SHARE else ""
            return "" if not word else word if self._shown else _HIDDEN * LETTERS_THAT_DECIDE
        # Four stars are all there is to see: the length of the word is nobody's business either.
        face = self._typed if self._shown else _HIDDEN * min(len(self._typed), LETTERS_THAT_DECIDE)
        if len(self._typed) < LETTERS_THAT_DECIDE:
            return face
        return f"{whole_word(self._typed) if self._shown else face} ok"

    def _letter(self, letter: str) -> None:
        if self._place == WORDS_IN_SHARE:
            self.note = f"a share has {WORDS_IN_SHARE} words; backspace goes back"
        elif begins_a_word(self._typed + letter):
            self._typed += letter
        else:
            self.note = f"{self._word}: no word has this letter here"

    def _next(self) -> Complete | None:
        if self._place == WORDS_IN_SHARE:
            return self._finished()
        if not self._typed:
            self._move(1)
            return None
        if len(self._typed) < LETTERS_THAT_DECIDE:
            self.note = f"{self._word} needs its first {LETTERS_THAT_DECIDE} letters"
            return None
        word = whole_word(self._typed)
        self._typed = ""
        if self._place < len(self._opening) and word != self._opening[self._place]:
            self.note = f"{self._word} is not of this set of shares"
            return None
        self._words[self._place] = word
        self._place += 1
        return self._finished() if self._place == WORDS_IN_SHARE else None

    def _finished(self) -> Complete | None:
        if all(self._words):
            return Complete(words=tuple(self._words))
        self._place = self._words.index("")
        self.note = f"{self._word} is still missing"
        return None

    def _back(self) -> None:
        if self._typed:
            self._typed = self._typed[:-1]
            return
        if self._place == WORDS_IN_SHARE or not self._words[self._place]:
            if self._place == 0:
                return
            self._place -= 1
        self._words[self._place] = ""
        self.note = f"{self._word} again"

    def _move(self, step: int) -> None:
        if self._typed:
            self.note = f"finish {self._word} first, or erase it"
            return
        place = self._place + step
        # Nobody skips a word by leaning on the space bar.
        if place == WORDS_IN_SHARE:
            allowed = all(self._words)
        else:
            allowed = 0 <= place < WORDS_IN_SHARE and (step < 0 or bool(self._words[self._place]))
        if allowed:
            self._place = place

    def _press_in_path(self, key: str) -> Scan | None:
        assert self._path is not None
        if key in {"\r", "\n"}:
            path, self._path = self._path, None
            return Scan(path=path)
        if key == Key.BACKSPACE:
            self._path = self._path[:-1] or None
        elif key == Key.CLEAR:
            self._path = None
        elif len(key) == 1 and key.isprintable() and len(self._path) < _LONGEST_PATH:
            self._path += key
        return None
