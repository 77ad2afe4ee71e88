"""Processes that open one token at the same time, as the workers of a node do."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fakes.softhsm import SoftHsm, needs_softhsm, softhsm_fixture  # noqa: F401 (a fixture)

from shared.keys import KeyKind
from shared.keystore import create_key, turns

PIN = b"user-pin-1"
PROCESSES, ROUNDS = 6, 8

OPEN_OFTEN = """
import sys
from shared.keystore import open_key
uri, pin, rounds = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
sys.stdin.read()
for _ in range(rounds):
    with open_key(uri, lambda _: pin) as key:
        key.public_key()
"""


@needs_softhsm
def test_many_open_one_token_at_once(softhsm: SoftHsm) -> None:
    """Without turns, one finds the token's files half written by another's login, and the node does not start."""
    token = softhsm.token("issuing", user_pin=PIN)
    uri = f"pkcs11:token=issuing;serial={token.serial};object=key?module-path={softhsm.path}"
    create_key(uri, KeyKind.EC_P256, lambda _: PIN)
    command = [sys.executable, "-c", OPEN_OFTEN, uri, PIN.decode(), str(ROUNDS)]
    root = Path(__file__).parents[3]
    processes = [
        subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    # All have started and wait; they begin when their input ends.
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES, "\n".join(said)


def test_a_second_waits_for_the_first(tmp_path: Path) -> None:
    """Without this, the lock could be the same one in both and hold nobody back."""
    module = tmp_path / "module.so"
    module.touch()
    order: list[str] = []

    def second() -> None:
        with turns.turn(module):
            order.append("second")

    with turns.turn(module):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_nobody_is_kept_out_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may read the module may lock it; that must delay a start, and never prevent it."""
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.05)
    module = tmp_path / "module.so"
    module.touch()
    held = os.open(module, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with turns.turn(module):
            pass
    finally:
        os.close(held)


def test_a_module_that_cannot_be_read(tmp_path: Path) -> None:
    """A lock that cannot be had is no reason to refuse the key."""
    with turns.turn(tmp_path / "absent.so"):
        pass
