"""A rehearsal whose plan has groups and a rotation, and a machine that stops at any record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result
from fakes.rehearsal import Rehearsal

from ceremony.plan import EXAMPLE
from ceremony.transcript import Transcript

GROUPS = """[shares]
group_threshold = 2
[[shares.group]]
name = "officers"
threshold = 2
custodians = ["Ada", "Blaise", "Carl"]
[[shares.group]]
name = "recovery"
threshold = 1
custodians = ["Dorothy", "Emmy"]

[[rotation]]
name = "second"
threshold = 2
custodians = ["Frances", "Grace", "Ada"]

[[rotation]]
name = "third"
group_threshold = 2
[[rotation.group]]
name = "board"
threshold = 2
custodians = ["Ida", "Jean"]
[[rotation.group]]
name = "safe"
threshold = 1
custodians = ["Kurt"]
"""
ACTS = 'acts = ["root", "rotate:second", "intermediate:intermediate", "rotate:third"]\n'
PLAN = EXAMPLE.partition("[shares]")[0].replace("[root]", ACTS + "[root]", 1) + GROUPS


class Stopped(BaseException):
    """The machine stopped: nothing is written any more."""


@contextmanager
def stopping(monkeypatch: pytest.MonkeyPatch, *, after: int) -> Iterator[list[str]]:
    """Let the machine stop when so many further records are on the disk, or just before the one that follows.

    Args:
        monkeypatch: of the test.
        after: how many records are still written. What is done between the last of them and the next one is done.

    Yields:
        The kinds of the records that were written, and of the one that was not.
    """
    append = Transcript.append
    kinds: list[str] = []

    def stop(self: Transcript, kind: str, body: object) -> object:
        kinds.append(kind)
        if len(kinds) > after:
            raise Stopped
        return append(self, kind, body)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Transcript, "append", stop)
        yield kinds


def rotate(rehearsal: Rehearsal, *more: str | Path, new: str = "words-2.txt", name: str = "second") -> Result:
    """Rehearse a rotation."""
    return rehearsal.run(
        "rehearse", "rotate", "--dir", rehearsal.directory, "--hsm", rehearsal.base / "hsm.toml", "--words-file",
        rehearsal.words, "--new-words-file", rehearsal.base / new, *more, name,
    )  # fmt: skip
