"""kill -9 at every system call of an install: never a pair that does not match, never a key that is lost.

Every third call of each way to install is met; with ``COLDROOT_EVERY_KILL=1`` every call, and each one twice.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fakes.step_ca import FakeCa
from fakes.tracing import can_trace, killed_at_call

from online.renewal.install import finish, install_certificate, install_pair
from shared import keys
from shared.errors import RequestRejected
from shared.keys import KeyKind
from shared.keystore import private_key_pem
from shared.pem import certificate_pem, load_certificates

pytestmark = pytest.mark.skipif(not can_trace(), reason="no process may be traced here")

_EVERY = bool(os.environ.get("COLDROOT_EVERY_KILL"))
_STRIDE, _TIMES = (1, 2) if _EVERY else (3, 1)
_MOST = 5000

CA = FakeCa()
OLD_KEY, NEW_KEY = keys.generate(KeyKind.EC_P256), keys.generate(KeyKind.EC_P256)
OLD, NEW = CA.leaf(OLD_KEY.public_key(), "foo.local"), CA.leaf(NEW_KEY.public_key(), "foo.local")
RENEWED = CA.leaf(OLD_KEY.public_key(), "foo.local")
OLD_PEM, NEW_PEM = private_key_pem(OLD_KEY, None), private_key_pem(NEW_KEY, None)


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to install."""

    versioned: bool
    rekey: bool
    further: bool

    def lay_out(self, directory: Path) -> tuple[Path, Path]:
        """Put the old pair into a fresh directory."""
        home = directory
        if self.versioned:
            home = directory / "current"
            (directory / "first").mkdir()
            home.symlink_to("first")
        crt, key = home / "foo.crt", home / "foo.key"
        install_pair(crt, key, OLD, OLD_PEM, overwrite=False)
        return crt, key

    def install(self, crt: Path, key: Path) -> None:
        """Install the new pair."""
        if self.rekey:
            pem = certificate_pem(*NEW) + NEW_PEM
            further = {crt.with_name("foo.pem"): pem} if self.further else None
            install_pair(crt, key, NEW, NEW_PEM, overwrite=True, further=further)
        else:
            pem = certificate_pem(*RENEWED) + OLD_PEM
            further = {crt.with_name("foo.pem"): pem} if self.further else None
            install_certificate(crt, RENEWED, overwrite=True, key=key, further=further)

    def check(self, crt: Path, key: Path) -> str:
        """Insist that the pair matches, and say which one it is."""
        chain = load_certificates(crt.read_bytes())
        assert chain[0].public_key() == load_pem_private_key(key.read_bytes(), None).public_key()
        assert key.stat().st_mode & 0o777 == 0o600
        return "old" if chain == OLD else "new"


WAYS = [
    Way(versioned=versioned, rekey=rekey, further=further)
    for versioned in (False, True)
    for rekey in (False, True)
    for further in (False, True)
]


def _met(tmp_path: Path, way: Way, first: int, between: Callable[[Path, Path], None]) -> int:
    """Kill at every so many-th call, from the first on; return how often."""
    for kills, number in enumerate(range(first, _MOST, _STRIDE)):
        directory = tmp_path / f"{way.versioned}{way.rekey}{way.further}-{number}"
        directory.mkdir()
        crt, key = way.lay_out(directory)
        killed = killed_at_call(number, lambda crt=crt, key=key: way.install(crt, key))  # type: ignore[misc]
        between(crt, key)
        if not killed:
            assert way.check(crt, key) == "new"
            return kills
    raise AssertionError("it never ends")


def _after_a_kill(way: Way) -> Callable[[Path, Path], None]:
    def between(crt: Path, key: Path) -> None:
        # 1. In a versioned directory, and where the key stays, there is nothing to mend: a reader comes at any time.
        if way.versioned or not way.rekey:
            way.check(crt, key)
        # 2. Between two plain files the pending file holds what is missing: the next run begins with this.
        finish(crt, key)
        found = way.check(crt, key)
        # 3. The same install again gets through, whatever the kill left behind.
        if found == "old" or way.further:
            with contextlib.suppress(RequestRejected):
                # A version that is in use already has its further file: it came with the same turn of the link.
                way.install(crt, key)
        assert way.check(crt, key) == "new"
        if way.further:
            pem = crt.read_bytes() + key.read_bytes()
            assert crt.with_name("foo.pem").read_bytes() == pem
        # 4. No key that came to nothing lies about.
        finish(crt, key)
        _cleared(crt, key)

    return between


def _cleared(crt: Path, key: Path) -> None:
    """Insist that nothing hidden stays behind, neither beside the pair nor beside its link."""
    hidden = [each for each in (*crt.parent.iterdir(), *crt.parent.parent.iterdir()) if each.name.startswith(".")]
    assert not hidden, hidden
    assert key.exists()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"versioned={way.versioned},rekey={way.rekey},more={way.further}")
def test_a_kill_at_any_system_call_loses_nothing(
    tmp_path: Path, way: Way, record_property: Callable[[str, object], None]
) -> None:
    """Machines lose power and processes are killed: at any instant there must be a pair that works, or be again."""
    kills = 0
    for time in range(_TIMES):
        directory = tmp_path / str(time)
        directory.mkdir()
        kills += _met(directory, way, WAYS.index(way) % _STRIDE, _after_a_kill(way))
    assert kills > 20 // _STRIDE
    record_property("kills", kills)


def test_a_kill_in_the_midst_of_mending_loses_nothing(tmp_path: Path) -> None:
    """A machine that crashes once often crashes again, at its next start."""
    way = Way(versioned=False, rekey=True, further=False)
    torn = 0
    for number in range(0, _MOST, _STRIDE):
        directory = tmp_path / str(number)
        directory.mkdir()
        crt, key = way.lay_out(directory)
        # The pending file is there and the key replaced, as after a kill between the two files.
        pending = key.with_name(".foo.key.pending")
        pending.touch(mode=0o600)
        pending.write_bytes(NEW_PEM + b"\n=====CERTIFICATE=====\n" + certificate_pem(*NEW))
        key.write_bytes(NEW_PEM)
        killed = killed_at_call(number, lambda crt=crt, key=key: finish(crt, key))  # type: ignore[misc]
        torn += killed
        finish(crt, key)
        assert way.check(crt, key) == "new"
        if not killed:
            break
    assert torn > 30 // _STRIDE
