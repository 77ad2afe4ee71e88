"""Typing a share: what each key does, from the editor up to a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from fakes.keyboard import typed, types
from fakes.randomness import seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shamir_mnemonic.wordlist import WORDLIST

from ceremony.keyboard import split_keys, unseen_keys
from ceremony.printing import printer
from ceremony.secret import CeremonySecret
from ceremony.share_entry import Complete, Key, Scan, WordEntry
from ceremony.share_scan import scan_share
from ceremony.share_words import envelope
from ceremony.shares import ShareSet, one_group, split
from ceremony.terminal import AtTerminal
from shared import terminal
from shared.crossing.qr import draw_frame
from shared.errors import PeerFailed, PolicyDenied, RequestRejected


def dealt(seed: int = 8) -> ShareSet:
    return split(CeremonySecret(value=seeded(7)(32)), shape=one_group(threshold=2, count=3), rng=seeded(seed))


SET = dealt()
WORDS = SET.shares[1].words


def entry() -> WordEntry:
    return WordEntry(SET.commitments.opening_words)


def press(editor: WordEntry, keys: str) -> Complete | Scan | None:
    outcome = None
    for key in keys:
        outcome = editor.press(key)
    return outcome


def words_of(outcome: Complete | Scan | None) -> tuple[str, ...]:
    assert isinstance(outcome, Complete)
    return tuple(outcome.words)


@pytest.mark.parametrize("separator", [" ", "\t", "\r", "\n"])
@pytest.mark.parametrize("letters", [4, 5, 99])
def test_words_are_completed(separator: str, letters: int) -> None:
    """Four letters decide; whoever types more, or all, gets the same."""
    keys = separator.join(word[:letters].upper() for word in WORDS) + separator
    assert words_of(press(entry(), keys)) == WORDS


@settings(max_examples=60)
@given(place=st.integers(0, 32), word=st.sampled_from(WORDLIST), letter=st.sampled_from("abcdefghijklmnopqrstuvwxyz"))
def test_a_letter_that_cannot_be_is_refused_at_once(place: int, word: str, letter: str) -> None:
    """The word's number is told while the custodian still looks at it, not after 33 words."""
    editor = WordEntry()
    press(editor, "".join(f"{each[:4]} " for each in WORDS[:place]))
    for at in range(1, 4):
        beginning = word[:at] + letter
        press(editor, word[:at])
        editor.press(letter)
        known = any(each.startswith(beginning) for each in WORDLIST)
        assert bool(editor.note) is not known
        if not known:
            assert editor.note == f"word {place + 1}: no word has this letter here"
        press(editor, Key.BACKSPACE * (at + known))


def test_too_few_letters_are_no_word() -> None:
    """Three letters that fit one word only would still be a guess at what the sheet says."""
    editor = entry()
    press(editor, WORDS[0][:3] + " ")
    assert editor.note == "word 1 needs its first 4 letters"
    assert words_of(press(editor, WORDS[0][3] + " " + typed(WORDS[1:]))) == WORDS


def test_another_sheet_is_noticed_at_its_first_words() -> None:
    """The old sheet and the new one lie in the same safe; nobody should type 33 words to learn which it is."""
    other = dealt(9).shares[0].words
    editor = entry()
    press(editor, f"{other[0][:4]} ")
    assert editor.note == "word 1 is not of this set of shares"
    assert press(editor, typed(WORDS)) is not None


def test_backspace_goes_back_a_letter_and_then_a_word() -> None:
    """A word that was accepted wrongly must be reachable without starting over."""
    editor = entry()
    press(editor, f"{WORDS[0][:4]} {WORDS[1][:4]} {WORDS[2][:4]} ")
    wrong = next(word for word in WORDLIST if word[0] != WORDS[3][0])
    press(editor, wrong[:4] + Key.BACKSPACE * 4)
    assert "word  4" in editor.line(80)
    editor.press(Key.BACKSPACE)
    assert editor.note == "word 3 again"
    assert words_of(press(editor, typed(WORDS[2:]))) == WORDS
    fresh = entry()
    press(fresh, Key.BACKSPACE * 3)
    assert "word  1" in fresh.line(80)


def test_arrows_reach_a_word_in_the_middle() -> None:
    """After 33 words that do not fit together, one of them is mended and the others stay."""
    editor = entry()
    spoilt = next(word for word in WORDLIST if word != WORDS[9])
    outcome = press(editor, typed((*WORDS[:9], spoilt, *WORDS[10:])))
    assert words_of(outcome)[9] == spoilt
    assert editor.line(80) == "all 33 words typed; enter: try again"
    for _ in range(24):
        editor.press(Key.LEFT)
    assert "word 10" in editor.line(80)
    press(editor, f"{WORDS[9][:4]} ")
    for _ in range(30):
        editor.press(Key.RIGHT)
    assert words_of(editor.press("\r")) == WORDS


def test_no_word_is_skipped() -> None:
    """Leaning on the space bar or the arrow must not leave a hole."""
    editor = entry()
    editor.press(Key.RIGHT)
    press(editor, "    ")
    assert "word  1" in editor.line(80)
    press(editor, typed(WORDS[:5]))
    editor.press(Key.RIGHT)
    assert "word  6" in editor.line(80)
    press(editor, WORDS[5][:2])
    editor.press(Key.LEFT)
    assert editor.note == "finish word 6 first, or erase it"
    press(editor, Key.CLEAR)
    assert editor.note == "all words forgotten"
    assert words_of(press(editor, typed(WORDS))) == WORDS
    press(editor, "x")
    assert "backspace goes back" in editor.note


@settings(max_examples=60)
@given(
    keys=st.lists(st.sampled_from([*"abcdefghijklmnoprstuwy", " ", Key.BACKSPACE, Key.LEFT, Key.RIGHT]), max_size=60)
)
def test_nothing_typed_is_ever_seen(keys: list[str]) -> None:
    """A camera films the screen: of a hidden word not even the length may show."""
    editor = entry()
    for key in keys:
        editor.press(key)
        line = editor.line(80)
        face = re.sub(r"word +[0-9]+ of 33 \[ ?[0-9]+ typed\]  ", "", line)
        face = face.replace(editor.note, "")
        assert re.fullmatch(r"(\*{0,4}( ok)?)? *", face), line
        assert len(line) < 80
    shown = repr(editor) + repr(Complete(words=WORDS))
    assert not [word for word in WORDS if word in shown]


def test_letters_are_shown_only_when_asked() -> None:
    """Who types with nobody near may want to see; the next key hides it again."""
    editor = entry()
    press(editor, WORDS[0][:4])
    assert WORDS[0] not in editor.line(80)
    editor.press(Key.REVEAL)
    assert f"{WORDS[0]} ok" in editor.line(80)
    editor.press(Key.REVEAL)
    assert WORDS[0] not in editor.line(80)


def test_a_path_instead_of_words() -> None:
    """Words never begin with a slash, a dot or a tilde."""
    for path in ("/tmp/a b.png", "./x.png", "~/sheet.jpg"):
        assert press(entry(), path + "\r") == Scan(path=path)
    editor = entry()
    press(editor, "/t" + Key.BACKSPACE + Key.BACKSPACE)
    assert words_of(press(editor, typed(WORDS))) == WORDS
    press(editor, Key.CLEAR)
    press(editor, "/" + "x" * 100)
    assert len(editor.line(40)) == 40
    press(editor, Key.CLEAR)
    assert "word  1" in editor.line(80)


def test_other_characters_say_so() -> None:
    """A keyboard of another language must not look like a broken program."""
    editor = entry()
    for key in ("ä", "3", "-", "王"):
        editor.press(key)
        assert editor.note == "word 1 is letters only"
    editor.press("\x07")
    assert not editor.note


@pytest.mark.parametrize(
    ("sent", "keys", "rest"),
    [
        ("ab", ["a", "b"], ""),
        ("\x1b[D\x1b[C\x1b[A\x1b[B", [Key.LEFT, Key.RIGHT, Key.LEFT, Key.RIGHT], ""),
        ("\x1bOD", [Key.LEFT], ""),
        ("\x1b[3~a", ["a"], ""),
        ("\x1b[200~ab\x1b[201~", ["a", "b"], ""),
        ("\x1b[1;5D", [], ""),
        ("a\x1b", ["a"], "\x1b"),
        ("\x1b[1;", [], "\x1b[1;"),
        ("\x1bx", ["x"], ""),
        ("\x08\x7f\x15\x14", [Key.BACKSPACE, Key.BACKSPACE, Key.CLEAR, Key.REVEAL], ""),
    ],
)
def test_what_terminals_send(sent: str, keys: list[str], rest: str) -> None:
    """A function key must not be read as letters of a word."""
    assert split_keys(sent) == (keys, rest)


@settings(max_examples=100)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_input_is_keys(sent: str) -> None:
    """Whatever comes in, nothing loops and at most an open sequence is kept for later."""
    keys, rest = split_keys(sent)
    assert len(keys) <= len(sent)
    assert not rest or rest.startswith("\x1b")
    assert len(rest) < 32


def test_nobody_at_the_terminal() -> None:
    """A script without a terminal is told what to do instead."""
    with pytest.raises(RequestRejected) as refused, unseen_keys():
        pass
    assert refused.value.code == "terminal.missing"


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from ceremony.shares import commitments_from_json
from ceremony.terminal import AtTerminal
import json
commitments = commitments_from_json(json.loads({facts!r}))
_, found = AtTerminal().enter(commitments, "Ada types")
print("FOUND", found.name)
"""


def _session(keys: list[bytes]) -> tuple[bytes, int]:
    import json  # noqa: PLC0415 (only here)

    program = PROGRAM.format(root=str(Path(__file__).parents[2]), facts=json.dumps(SET.commitments.to_json()))
    controller, terminal_side = pty.openpty()
    before = termios.tcgetattr(terminal_side)
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=terminal_side, stdout=terminal_side, stderr=terminal_side
    )
    output = b""
    try:
        while b"word  1" not in output:
            output += os.read(controller, 4096)
        for each in keys:
            os.write(controller, each)
            time.sleep(0.02)
        while process.poll() is None:
            output += _available(controller)
        # A terminal hands out 4 KiB at a time, and there may be more.
        while rest := _available(controller):
            output += rest
        assert termios.tcgetattr(terminal_side)[3] == before[3]
    finally:
        process.kill()
        process.wait()
        os.close(controller)
        os.close(terminal_side)
    return output, process.returncode


def _available(descriptor: int) -> bytes:
    import select  # noqa: PLC0415 (only here)

    ready, _, _ = select.select([descriptor], [], [], 0.05)
    return os.read(descriptor, 65536) if ready else b""


def test_a_real_terminal_shows_no_word() -> None:
    """What counts is what stands on the screen: nothing of the share, and the terminal as it was before."""
    output, status = _session([typed(WORDS).encode()[at : at + 40] for at in range(0, len(typed(WORDS)), 40)])
    assert status == 0, output
    assert b"FOUND share 2" in output
    for word in WORDS:
        assert word[:4].encode() + b" " not in output.replace(b"word ", b"").replace(b"share ", b"")


@pytest.mark.parametrize("key", [b"\x03", b"\x04"])
def test_a_real_terminal_is_given_back(key: bytes) -> None:
    """After Ctrl-C a shell without echo would be blamed on the ceremony, and half a share would be its next command."""
    _, status = _session([b"acad", key])
    assert status != 0


def _image(path: Path, *texts: str) -> Path:
    import io  # noqa: PLC0415 (only here)

    drawn = [Image.open(io.BytesIO(draw_frame(text))) for text in texts]
    page = Image.new("L", (sum(each.width for each in drawn), max(each.height for each in drawn)), 255)
    left = 0
    for each in drawn:
        page.paste(each, (left, 0))
        left += each.width
    page.save(path)
    return path


def test_a_share_by_image(tmp_path: Path) -> None:
    """The code of the sheet says the same as its words, and also its set."""
    path = _image(tmp_path / "a.png", envelope(SET.shares[1], set_id=SET.set_id))
    assert SET.commitments.recognise(scan_share(path)) == SET.shares[1]
    people = AtTerminal(keyboard=types(lambda _: f"{path}\r"))
    assert people.enter(SET.commitments, "Ada")[1] == SET.shares[1]
    people = AtTerminal(scans=[path], keyboard=types(lambda _: typed(SET.shares[2].words)))
    assert [share.member for share in people.quorum(SET.commitments)] == [2, 3]
    foreign = _image(tmp_path / "f.png", envelope(dealt(9).shares[0], set_id=dealt(9).set_id))
    people = AtTerminal(scans=[foreign, path], keyboard=types(lambda _: typed(SET.shares[2].words)))
    assert [share.member for share in people.quorum(SET.commitments)] == [2, 3]


def test_images_that_are_no_share(tmp_path: Path) -> None:
    """The wrong picture is named by its path, and never guessed at."""
    text = envelope(SET.shares[1], set_id=SET.set_id)
    cases = {
        "share.not-a-share": _image(tmp_path / "1.png", "UR:BYTES/ABC"),
        "share.several": _image(tmp_path / "2.png", text, envelope(SET.shares[2], set_id=SET.set_id)),
        "share.bad-envelope": _image(tmp_path / "3.png", text.replace(":2:", ":3:")),
        "file.missing": tmp_path / "none.png",
    }
    blank = tmp_path / "4.png"
    Image.new("L", (200, 200), 255).save(blank)
    cases["image.no-code"] = blank
    for code, path in cases.items():
        with pytest.raises(RequestRejected) as refused:
            scan_share(path)
        assert refused.value.code == code
        assert path.name in refused.value.message
    # At the prompt, a bad picture is one attempt, and the next may be right.
    keys = f"{blank}\r" + typed(WORDS)
    assert AtTerminal(keyboard=types(lambda _: keys)).enter(SET.commitments, "Ada")[1] == SET.shares[1]


def test_confirmations_take_a_whole_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enter, y or a cough must not confirm that everybody looked away."""
    answers = iter(["", "y", "yess", "YES "])
    monkeypatch.setattr(terminal, "ask_line", lambda _: next(answers))
    AtTerminal().confirm("everybody looks away")
    monkeypatch.setattr(terminal, "ask_line", lambda _: "no")
    with pytest.raises(PolicyDenied) as denied:
        AtTerminal().confirm("everybody looks away")
    assert denied.value.code == "people.refused"


def test_printing_by_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The administrator's own command gets the path, through no shell; its failure stops the sheet."""
    printed = tmp_path / "printed"
    sheet = tmp_path / "a sheet; rm -rf x.pdf"
    sheet.write_bytes(b"%PDF-")
    printer(f"cp -t {tmp_path}/out")
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(terminal, "ask_line", lambda _: "yes")
    AtTerminal(printer=printer(f"cp -t {tmp_path}/out")).print_sheet("Ada", sheet)
    assert (tmp_path / "out" / sheet.name).read_bytes() == b"%PDF-"
    with pytest.raises(PeerFailed) as failed:
        printer(f"cp -t {printed}")(sheet)
    assert failed.value.code == "printer.failed"
    for command in ("", "no-such-program-here x", "'open"):
        with pytest.raises(RequestRejected) as refused:
            printer(command)
        assert refused.value.code == "printer.command"


def test_after_a_wrong_word_the_cursor_is_on_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The custodian types one word again, not 33; and what is shown names its number alone."""
    wrong = next(word for word in WORDLIST if word != WORDS[16])
    text = " ".join((*WORDS[:16], wrong, *WORDS[17:])) + " " + WORDS[16] + "  " + " " * 20
    share, found = AtTerminal(keyboard=types(lambda _: text)).enter(SET.commitments, "type")
    shown = capsys.readouterr().err
    assert share.words == WORDS
    assert found.index == SET.shares[1].index
    assert "word 17 is probably wrong" in shown
    assert not any(re.search(rf"\\b{word}\\b", shown) for word in (WORDS[16], wrong))
