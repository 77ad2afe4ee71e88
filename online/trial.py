"""Opening a node in a child: what is wrong shows before anything depends on it, and no key stays here.

Before a reload it is a trial: the child opens the whole node, and ends. At a start it is the first worker itself, which
goes on to serve.

The parent must not open the key itself: a PKCS#11 library does not survive a fork, and a process that only forks
has no use for a key. What it keeps is what the operator answered, for the workers that start later.
"""

from __future__ import annotations

import base64
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from online.child import Child, Tie, failure_of, spawn
from online.config import Config, load_config
from online.config.settings import AuthoritySource
from online.hierarchy import Hierarchy
from online.loop import run
from online.node import assemble, open_hierarchy
from online.shared_authority import with_document
from online.signals import Signals
from online.store.documents import newest_document
from online.store.protocol import Document
from shared.clock import SystemClock
from shared.errors import Fatal, Unauthenticated
from shared.keys import fingerprint
from shared.keystore import SecretCallback
from shared.keystore.software import ASKS_PASSWORD

_PATIENCE_SECONDS = 2.0
_TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What the trial found out."""

    answers: dict[str, bytes] = field(repr=False)
    """The operator's answers by prompt; workers get them by fork."""
    root_fingerprint: str

    def secret(self, prompt: str) -> bytes:
        """Answer as the operator did.

        The key of the next intermediate has the password of the one before (``online.next_intermediate``), so the
        password of a file is tried on another file. No PIN is tried anywhere: an HSM counts the attempts.

        Raises:
            Unauthenticated: ``serve.new-secret`` for a question that was not asked then.
        """
        if prompt not in self.answers:
            passwords = {each for known, each in self.answers.items() if known.startswith(ASKS_PASSWORD)}
            if prompt.startswith(ASKS_PASSWORD) and len(passwords) == 1:
                return passwords.pop()
            raise Unauthenticated(
                "serve.new-secret", "the key asks for another password or PIN now", hint="stop the node and start it"
            )
        return self.answers[prompt]


def _nothing() -> None:
    return


def read_config(
    path: Path, signals: Signals, *, seconds: float = float("inf"), meanwhile: Callable[[], None] = _nothing
) -> Config:
    """Read a node's configuration anew; what the database has of it, in a child: the parent speaks to none.

    Args:
        path: of the ca.json.
        signals: end the wait when one of them asks to stop.
        seconds: how long it may take.
        meanwhile: called about once a second.

    Raises:
        ColdrootError: as ``online.shared_authority.load_node_config``.
        Fatal: ``serve.trial-died`` or ``serve.slow-start``.
        KeyboardInterrupt: a signal asked to stop.
    """
    config = load_config(path)
    if config.authority is AuthoritySource.FILE:
        return config

    def fetch(tie: Tie) -> None:
        signals.close()
        found = newest_document(config.db)
        if found is None:
            tie.report(document=None)
        else:
            tie.report(
                document={
                    "version": found.version, "text": found.text,
                    "changed_at": found.changed_at.timestamp(), "changed_by": found.changed_by,
                }
            )  # fmt: skip

    child = spawn(fetch)
    try:
        told = _outcome(child, signals, time.monotonic() + seconds, meanwhile, until="document")
    finally:
        child.close()
        child.wait()
    if "document" not in told:
        raise Fatal("serve.trial-died", "the process that asked the database for the authority ended without a word")
    return with_document(config, _document(told["document"]))


def _document(told: object) -> Document | None:
    if not isinstance(told, dict):
        return None
    return Document(
        version=told["version"],
        text=told["text"],
        changed_at=datetime.fromtimestamp(told["changed_at"], UTC),
        changed_by=told["changed_by"],
    )


def try_node(
    config: Config,
    secret: SecretCallback,
    signals: Signals,
    *,
    seconds: float = float("inf"),
    meanwhile: Callable[[], None] = _nothing,
) -> Remembered:
    """Open a node in a child and close it again.

    Args:
        config: of the node.
        secret: asked, in the child, for the issuing key's password or PIN.
        signals: ends the trial when one of them asks to stop.
        seconds: how long it may take; for ever when a person may have to find a password first.
        meanwhile: called about once a second.

    Raises:
        ColdrootError: what opening the node raised.
        Fatal: ``serve.trial-died`` or ``serve.slow-start``.
        KeyboardInterrupt: a signal asked to stop.
    """

    def attempt(tie: Tie) -> None:
        signals.close()
        with _asking(config, secret) as (hierarchy, remembered):
            run(_open(config, hierarchy))
            _report(tie, remembered)

    child = spawn(attempt)
    try:
        return _remembered(_outcome(child, signals, time.monotonic() + seconds, meanwhile))
    finally:
        child.close()
        child.wait()


def open_first(
    config: Config, secret: SecretCallback, signals: Signals, serve: Callable[[Tie, Hierarchy], None]
) -> tuple[Child, Remembered, bool]:
    """Open the issuing key in a child that then goes on to serve; return once it is open.

    Args:
        config: of the node.
        secret: asked, in the child, for the issuing key's password or PIN.
        signals: ends the wait when one of them asks to stop.
        serve: called in the child.

    Returns:
        The child, what it found out, and whether it has said meanwhile that it serves.

    Raises:
        ColdrootError: what opening the key raised.
        Fatal: ``serve.trial-died``.
        KeyboardInterrupt: a signal asked to stop.
    """

    def begin(tie: Tie) -> None:
        signals.close()
        with _asking(config, secret) as (hierarchy, remembered):
            _report(tie, remembered)
            serve(tie, hierarchy)

    child = spawn(begin)
    try:
        found = _outcome(child, signals, float("inf"), _nothing)
        return child, _remembered(found), found.get("ready") is True
    except BaseException:
        child.close()
        child.wait()
        raise


def _outcome(
    child: Child, signals: Signals, deadline: float, meanwhile: Callable[[], None], *, until: str = "root"
) -> dict[str, object]:
    found: dict[str, object] = {}
    # The child is ended, or goes on to serve, once it has told what it found out.
    while not signals.stops and until not in found:
        readable, _, _ = select.select([signals.fileno(), child.reports], [], [], _TICK_SECONDS)
        signals.clear()
        meanwhile()
        if time.monotonic() >= deadline:
            os.kill(child.pid, signal.SIGKILL)
            raise Fatal("serve.slow-start", "opening the node on trial took too long")
        reports = child.read() if child.reports in readable else ()
        if reports is None:
            break
        for report in reports:
            found |= report
    if signals.stops:
        _interrupt(child)
        raise KeyboardInterrupt
    error = failure_of(found)
    if error is not None:
        raise error
    return found


def _remembered(found: dict[str, object]) -> Remembered:
    answers, root = found.get("answers"), found.get("root")
    if not isinstance(answers, dict) or not isinstance(root, str):
        raise Fatal("serve.trial-died", "the process that tried to open the node ended without a word")
    return Remembered(
        answers={prompt: base64.b64decode(answer) for prompt, answer in answers.items()}, root_fingerprint=root
    )


def _interrupt(child: Child) -> None:
    """End a child that may be waiting for a password, so that it can give the terminal its echo back."""
    os.kill(child.pid, signal.SIGINT)
    readable, _, _ = select.select([child.reports], [], [], _PATIENCE_SECONDS)
    if not readable:
        os.kill(child.pid, signal.SIGKILL)


@contextmanager
def _asking(config: Config, secret: SecretCallback) -> Iterator[tuple[Hierarchy, Remembered]]:
    """Open the issuing key, and remember what was asked for it.

    The questions come before there is an event loop, where an interruption interrupts.
    """
    answers: dict[str, bytes] = {}

    def asked(prompt: str) -> bytes:
        answers[prompt] = secret(prompt)
        return answers[prompt]

    with open_hierarchy(config, asked) as hierarchy:
        yield hierarchy, Remembered(answers=answers, root_fingerprint=fingerprint(hierarchy.roots[0]))


def _report(tie: Tie, remembered: Remembered) -> None:
    answers = {prompt: base64.b64encode(each).decode("ascii") for prompt, each in remembered.answers.items()}
    tie.report(answers=answers, root=remembered.root_fingerprint)


async def _open(config: Config, hierarchy: Hierarchy) -> None:
    async with assemble(config, hierarchy, clock=SystemClock()):
        return
