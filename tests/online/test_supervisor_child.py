"""Forked children: what they report, what they must not keep, and how they end."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

import pytest
from fakes.node import KEY_PASSWORD, make_home

from online.child import Child, Tie, failure_of, spawn
from online.config import load_config
from online.signals import Signals
from online.trial import try_node
from shared.errors import ColdrootError, Fatal, NotFound, PeerFailed, StoreFailed, Unauthenticated


def everything(child: Child) -> dict[str, object]:
    """Return all that a child reports until its end."""
    found: dict[str, object] = {}
    while (reports := child.read()) is not None:
        for each in reports:
            found |= each
    child.close()
    return found


def test_a_child_reports_and_ends_well() -> None:
    """Without this, a worker that is ready could be taken for one that is not."""

    def work(tie: Tie) -> None:
        tie.report(ready=True)
        tie.report(value="é\n")

    child = spawn(work)
    assert everything(child) == {"ready": True, "value": "é\n"}
    assert child.wait() == 0


@pytest.mark.parametrize("family", [Unauthenticated, NotFound, PeerFailed, StoreFailed, Fatal])
def test_an_error_crosses_with_its_family(family: type[ColdrootError]) -> None:
    """Without this, the command line could answer a wrong password with the status of a bug."""

    def work(_: Tie) -> None:
        raise family("a.b", "it failed", hint="do this")

    child = spawn(work)
    error = failure_of(everything(child))
    assert child.wait() == 1
    assert type(error) is family
    assert (error.code, error.message, error.hint) == ("a.b", "it failed", "do this")


def test_a_foreign_exception_shows_its_kind_only() -> None:
    """Without this, the text of an exception could carry a secret into a log."""

    def work(_: Tie) -> None:
        raise KeyError("c4n4ry")

    child = spawn(work)
    error = failure_of(everything(child))
    child.wait()
    assert isinstance(error, Fatal)
    assert "KeyError" in error.message
    assert "c4n4ry" not in error.message


def test_a_child_never_returns_into_the_parent_s_program(tmp_path: Path) -> None:
    """Without this, a child could run the parent's clean-up, and remove what the parent still uses."""
    mark = tmp_path / "mark"

    def work(_: Tie) -> None:
        raise SystemExit(0)

    try:
        child = spawn(work)
    finally:
        mark.write_bytes(mark.read_bytes() + b"x" if mark.exists() else b"x")
    everything(child)
    child.wait()
    assert mark.read_bytes() == b"x"


def test_a_killed_child_is_noticed() -> None:
    """Without this, a worker that the kernel killed would never be replaced."""

    def work(_: Tie) -> None:
        time.sleep(60)

    child = spawn(work)
    os.kill(child.pid, signal.SIGKILL)
    assert everything(child) == {}
    assert child.wait() == 128 + signal.SIGKILL


def test_a_child_learns_that_its_parent_is_gone() -> None:
    """Without this, orphans would serve for ever."""

    def work(tie: Tie) -> None:
        tie.report(ready=True)
        select.select([tie.parent], [], [])
        tie.report(parent="gone")

    child = spawn(work)
    assert child.read() == ({"ready": True},)
    _, lifeline = child.descriptors()
    os.close(lifeline)
    assert child.read() == ({"parent": "gone"},)
    everything(child)
    assert child.wait() == 0


def test_a_later_child_keeps_no_end_of_an_earlier_one() -> None:
    """Without this, a dead worker's pipe would stay open in its siblings and its death be unseen."""

    def work(tie: Tie) -> None:
        select.select([tie.parent], [], [], 30)

    first = spawn(work)
    second = spawn(work, forget=first.descriptors())
    first.close()
    assert first.wait() == 0
    second.close()
    assert second.wait() == 0


def test_signals_are_counted_and_wake_a_wait() -> None:
    """Without this, a stop could be missed between two waits."""
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert select.select([signals.fileno()], [], [], 10)[0]
        signals.clear()
        assert not select.select([signals.fileno()], [], [], 0)[0]
        assert signals.take_reload()
        assert not signals.take_reload()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        select.select([signals.fileno()], [], [], 10)
        assert signals.stops == 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_trial_remembers_what_was_asked_and_nothing_else(tmp_path: Path) -> None:
    """Without this, each new worker would ask the operator again, with nobody there."""
    home = make_home(tmp_path / "home")
    with Signals() as signals:
        remembered = try_node(load_config(home.config), lambda _: KEY_PASSWORD, signals)
    assert list(remembered.answers.values()) == [KEY_PASSWORD]
    assert remembered.root_fingerprint == home.fingerprint
    assert KEY_PASSWORD.decode() not in repr(remembered)
    assert remembered.secret(next(iter(remembered.answers))) == KEY_PASSWORD
    with pytest.raises(Unauthenticated):
        remembered.secret("another question")


def test_a_password_in_the_configuration_is_not_asked_for(tmp_path: Path) -> None:
    """Without this, a step-ca configuration with its password could not be taken over."""
    home = make_home(tmp_path / "home")
    home.change_config(password=KEY_PASSWORD.decode())
    home.config.chmod(0o600)

    def never(prompt: str) -> bytes:
        raise AssertionError(prompt)

    with Signals() as signals:
        assert try_node(load_config(home.config), never, signals).answers == {}


def test_an_interrupted_trial_ends_at_once(tmp_path: Path) -> None:
    """Without this, Ctrl-C at the password prompt would do nothing, or leave the terminal without its echo."""
    home = make_home(tmp_path / "home")
    restored = tmp_path / "restored"

    def ask(_: str) -> bytes:
        try:
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(60)
        except KeyboardInterrupt:
            # Where getpass() gives the terminal its echo back.
            restored.touch()
            raise
        return b""

    with Signals() as signals, pytest.raises(KeyboardInterrupt):
        try_node(load_config(home.config), ask, signals)
    assert restored.exists()
