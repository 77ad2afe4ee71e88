"""Opening a node on trial, in a child: what is wrong shows before anything depends on it, and no key stays here.

The parent must not open the key itself: a PKCS#11 library does not survive a fork, and a process that only forks
has no use for a key. What it keeps is what the operator answered, for the workers that start later.
"""

from __future__ import annotations

import base64
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from online.child import Child, Tie, failure_of, spawn
from online.config import Config
from online.hierarchy import Hierarchy
from online.loop import run
from online.node import assemble, open_hierarchy
from online.signals import Signals
from shared.clock import SystemClock
from shared.errors import Fatal, Unauthenticated
from shared.keys import fingerprint
from shared.keystore import SecretCallback

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

        Raises:
            Unauthenticated: ``serve.new-secret`` for a question that was not asked then.
        """
        if prompt not in self.answers:
            raise Unauthenticated(
                "serve.new-secret", "the key asks for another password or PIN now", hint="stop the node and start it"
            )
        return self.answers[prompt]


def _nothing() -> None:
    return


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
        _attempt(tie, config, secret)

    child = spawn(attempt)
    try:
        return _outcome(child, signals, time.monotonic() + seconds, meanwhile)
    finally:
        child.close()
        child.wait()


def _outcome(child: Child, signals: Signals, deadline: float, meanwhile: Callable[[], None]) -> Remembered:
    found: dict[str, object] = {}
    while not signals.stops:
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


def _attempt(tie: Tie, config: Config, secret: SecretCallback) -> None:
    answers: dict[str, bytes] = {}

    def asked(prompt: str) -> bytes:
        answers[prompt] = secret(prompt)
        return answers[prompt]

    # The questions come first, outside of an event loop, where an interruption interrupts.
    with open_hierarchy(config, asked) as hierarchy:
        root = fingerprint(hierarchy.roots[0])
        run(_open(config, hierarchy))
    tie.report(answers={prompt: base64.b64encode(each).decode("ascii") for prompt, each in answers.items()}, root=root)


async def _open(config: Config, hierarchy: Hierarchy) -> None:
    async with assemble(config, hierarchy, clock=SystemClock()):
        return
