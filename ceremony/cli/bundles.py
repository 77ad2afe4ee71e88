"""The commands about bundles: looking into one, and showing one to a camera on the other side of the gap."""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from pathlib import Path

import click

from shared import durable, terminal
from shared.command import Group
from shared.crossing.bundle import LARGEST_BUNDLE_BYTES, Bundle, decode_bundle, digest
from shared.crossing.screen import animated_gif, terminal_codes
from shared.crossing.transfer import read_bundle
from shared.crossing.words import digest_words
from shared.errors import RequestRejected

_PATH = click.Path(path_type=Path)
_SECONDS_A_CODE = 0.5


@click.group(cls=Group)
def bundle() -> None:
    """Look into a bundle, or show it to a camera."""


@bundle.command("inspect")
@click.argument("paths", metavar="PATH…", type=_PATH, nargs=-1, required=True)
@click.option("--out", type=_PATH, help="Write what was read to this new file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def inspect(paths: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Read a bundle from a file, images, a folder of photographs, an animated GIF, a film or a camera.

    A film and /dev/video0 need ffmpeg. Prints what it is and its digest words.

    \b
    Example:
      ceremony bundle inspect photographs/ --out request.bundle
    """
    found, data = read_bundle(paths, purpose=None)
    if out is not None:
        durable.write_new(out, data)
    words = digest_words(digest(data))
    if as_json:
        terminal.result_json(_json(found) | {"sha256": digest(data).hex(), "words": list(words)})
        return
    terminal.result(f"purpose      {found.purpose}")
    terminal.result(f"identifier   {found.identifier}")
    if found.in_reply_to is not None:
        terminal.result(f"in reply to  {found.in_reply_to}")
    for name, content in found.members.items():
        terminal.result(f"member       {name}, {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    terminal.result(f"sha256       {digest(data).hex()}")
    terminal.result(f"words        {' '.join(words)}")


def _json(found: Bundle) -> dict[str, object]:
    members = {name: hashlib.sha256(content).hexdigest() for name, content in found.members.items()}
    return {
        "purpose": found.purpose.value,
        "identifier": found.identifier,
        "in_reply_to": found.in_reply_to,
        "members": members,
    }


@bundle.command("gif")
@click.argument("file", type=_PATH)
@click.argument("out", type=_PATH)
def gif(file: Path, out: Path) -> None:
    """Write a bundle as one animated picture: any screen shows it, any camera films it.

    \b
    Example:
      ceremony bundle gif reply.bundle reply.gif
    """
    data = _bundle(file)
    durable.write_new(out, animated_gif(data))
    terminal.say(f"{out}: sha256 of the bundle {digest(data).hex()}")


@bundle.command("show")
@click.argument("file", type=_PATH)
@click.option("--once", is_flag=True, help="Show each frame once, and end.")
def show(file: Path, once: bool) -> None:
    """Show a bundle in this terminal, frame after frame, until it is interrupted.

    \b
    Example:
      ceremony bundle show request.bundle
    """
    data = _bundle(file)
    columns, lines = shutil.get_terminal_size()
    if once:
        for name, code in terminal_codes(data, columns=columns, lines=lines, once=True):
            terminal.result(f"{code}\n{name}")
        return
    if not sys.stdout.isatty():
        raise RequestRejected("terminal.missing", "there is no terminal to show it in", hint="give --once")
    for name, code in terminal_codes(data, columns=columns, lines=lines):
        terminal.result(f"\x1b[H\x1b[2J{code}\n{name}; end with Ctrl-C")
        time.sleep(_SECONDS_A_CODE)


def _bundle(file: Path) -> bytes:
    data = durable.read_file(file, limit=LARGEST_BUNDLE_BYTES)
    decode_bundle(data)
    return data
