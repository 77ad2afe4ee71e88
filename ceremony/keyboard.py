"""Keys one by one from the terminal, unseen: nothing is echoed, and nothing typed is left for the next program.

Invariant: the terminal is as it was before when the ``with`` block ends, whatever ended it.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from ceremony.share_entry import Key
from shared.errors import RequestRejected

_INTERRUPT = "\x03"
_END = "\x04"
_ESCAPE = "\x1b"
_SAME_KEY = {"\x08": Key.BACKSPACE, "\x7f": Key.BACKSPACE, "\x15": Key.CLEAR, "\x14": Key.REVEAL}
# ECMA-48 §5.4: a control sequence; and what a terminal in application mode sends for its arrows (SS3).
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*(?P<csi>[@-~])|O(?P<ss3>[@-~]))")
_ARROWS = {"D": Key.LEFT, "A": Key.LEFT, "C": Key.RIGHT, "B": Key.RIGHT}
_LONGEST_SEQUENCE = 32
_READ_BYTES = 256
_LOCAL_MODES, _INPUT_MODES, _CONTROL_CHARACTERS = 3, 0, 6


@contextmanager
def unseen_keys() -> Iterator[Iterator[str]]:
    """Yield the keys that are pressed, one at a time: a character, or the value of a ``Key``.

    Raises:
        RequestRejected: ``terminal.missing`` when nobody is at a terminal, or the terminal was closed.
        KeyboardInterrupt: on Ctrl-C.
    """
    if not sys.stdin.isatty():
        raise RequestRejected(
            "terminal.missing",
            "nobody is at a terminal to type the words of a share",
            hint="give images of the sheets' QR codes with --scan instead",
        )
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    unseen = termios.tcgetattr(descriptor)
    unseen[_LOCAL_MODES] &= ~(termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN)
    unseen[_INPUT_MODES] &= ~termios.IXON
    unseen[_CONTROL_CHARACTERS][termios.VMIN] = 1
    unseen[_CONTROL_CHARACTERS][termios.VTIME] = 0
    try:
        # What was typed before the question is no answer to it.
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, unseen)
        yield _keys(descriptor)
    finally:
        # TCSAFLUSH throws away what was typed and not read: words must not end up in a shell.
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


def _keys(descriptor: int) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pending = ""
    while True:
        data = os.read(descriptor, _READ_BYTES)
        if not data:
            raise _closed()
        pending += decoder.decode(data)
        keys, pending = split_keys(pending)
        for key in keys:
            if key == _INTERRUPT:
                raise KeyboardInterrupt
            if key == _END:
                raise _closed()
            yield key


def split_keys(text: str) -> tuple[list[str], str]:
    """Split what a terminal sent into keys, and the beginning of a sequence that is not complete yet.

    Sequences of keys that mean nothing here are dropped whole, so that no part of them is taken for letters.
    """
    keys: list[str] = []
    while text:
        if not text.startswith(_ESCAPE):
            keys.append(_SAME_KEY.get(text[0], text[0]))
            text = text[1:]
            continue
        found = _SEQUENCE.match(text)
        if found is not None:
            arrow = _ARROWS.get(found["csi"] or found["ss3"])
            keys += [arrow] if arrow is not None and len(found[0]) == len("\x1b[A") else []
            text = text[found.end() :]
        elif len(text) < _LONGEST_SEQUENCE and re.fullmatch(r"\x1b(?:\[[0-?]*[ -/]*|O)?", text):
            return keys, text
        else:
            # A lone escape before an ordinary key.
            text = text[1:]
    return keys, ""


def _closed() -> RequestRejected:
    return RequestRejected("terminal.missing", "the terminal was closed before a share was entered")
