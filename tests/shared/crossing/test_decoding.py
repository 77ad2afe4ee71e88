"""The decoder's process: what it can still do (nothing), and what happens when it dies, hangs or lies."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from shared.crossing import decode_child, decoding, qr
from shared.crossing.decoding import Decoded, Outcome, decode_image

FRAME = qr.draw_frame("HELLO")

CONFINED = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
import decode_child
decode_child.warm_up()
decode_child.confine()

def refused(deed):
    try:
        deed()
    except (OSError, MemoryError, PermissionError) as error:
        return type(error).__name__
    return "done"

def grow():
    return bytearray(3 << 30)

print(refused(lambda: open("/etc/hostname")))
print(refused(socket.socket))
print(refused(os.fork))
print(refused(grow))
print(refused(lambda: os.setuid(0)) if sys.argv[2] == "0" else "PermissionError")
print(os.getuid(), os.getgroups())
"""


def confined() -> list[str]:
    folder = str(Path(decode_child.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-I", "-c", CONFINED, folder, str(os.geteuid())], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_what_decodes_can_do_nothing_else() -> None:
    """An image that takes over the decoder must find no file, no socket, no process, no memory and no way back."""
    opened, connected, forked, grown, regained, user = confined()
    assert opened == connected == "OSError"
    assert forked in {"BlockingIOError", "OSError"}
    assert grown == "MemoryError"
    assert regained == "PermissionError"
    if os.geteuid() == 0:
        assert user == f"{decode_child.NOBODY} []"


def test_each_kind_and_each_picture() -> None:
    """After confinement nothing can be loaded any more: a kind that was not warmed up would be damaged for ever."""
    other = Image.open(io.BytesIO(qr.draw_frame("WORLD"))).convert("L")
    image = Image.open(io.BytesIO(FRAME)).convert("L")
    for kind in ("PNG", "JPEG", "GIF"):
        file = io.BytesIO()
        image.save(file, format=kind)
        assert decode_image(file.getvalue()) == Decoded(outcome=Outcome.CODES, codes=(b"HELLO",))
    file = io.BytesIO()
    image.save(file, format="GIF", save_all=True, append_images=[other.resize(image.size), image])
    assert decode_image(file.getvalue()).codes == (b"HELLO", b"WORLD")


def test_a_decoder_that_hangs_is_ended() -> None:
    """An image that never ends would hold up the whole ceremony."""
    assert decode_image(FRAME).outcome is Outcome.CODES
    process = decoding._helper._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    assert decode_image(FRAME, seconds=0.2) == Decoded(outcome=Outcome.DAMAGED)
    assert decode_image(FRAME).codes == (b"HELLO",)


def test_a_decoder_that_died_is_started_again() -> None:
    """One image that kills the helper must not take the next ones with it."""
    assert decode_image(FRAME).outcome is Outcome.CODES
    process = decoding._helper._process
    assert process is not None
    process.kill()
    process.wait()
    assert decode_image(FRAME).codes == (b"HELLO",)


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"{", b"[]", b"7", b"[" * 5000, b'{"outcome": "perfect"}', b'{"outcome": "codes", "codes": "48"}',
        b'{"outcome": "codes", "codes": [7]}', b'{"outcome": "codes", "codes": ["4"]}', b"\xff",
    ],
)  # fmt: skip
def test_a_lying_decoder_is_not_believed(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """Whoever took the helper over writes its answers; they are input from outside like the image was."""
    monkeypatch.setattr(decoding._helper, "ask", lambda *_: answer)
    assert decode_image(FRAME) == Decoded(outcome=Outcome.DAMAGED)


def test_the_image_libraries_stay_out_of_this_process(tmp_path: Path) -> None:
    """The point of it all: reading an image must not load zxing where the shares are."""
    (tmp_path / "a.png").write_bytes(qr.encode_pngs(b"payload")[0])
    program = (
        "import sys; from pathlib import Path; from shared.crossing import qr\n"
        f"assert qr.read_images([Path({str(tmp_path / 'a.png')!r})]) == b'payload'\n"
        "assert 'zxingcpp' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(decoding.__file__).parents[2], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
