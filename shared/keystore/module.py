"""A PKCS#11 module in this process: loaded once, looked at afresh, left alone by forks.

PKCS#11 keeps its state per process and library, python-pkcs11 adds traps of its own. Measured with 0.10.1,
and handled here so that no other room has to know:

* a module reads its configuration when it is initialised, and lists slots as they were then. So whenever no
  session of ours is open, ``refresh`` initialises it again: plugged and unplugged tokens are seen, a changed
  ``SOFTHSM2_CONF`` holds, and sessions that a refused login left behind are gone;
* after ``fork`` the child must initialise the module again before anything else, and the parent's sessions are
  not the child's. Open keys *after* fork; a key from before it refuses to sign;
* a second login to a token that this process is logged in to succeeds with *any* PIN or fails with none
  checked. It is refused, for whoever logs in wants to know whether the PIN is right;
* a login may rewrite what another process is just reading. So processes open tokens in turn: ``Module.turn``;
* the binding releases the interpreter's lock during a call but does not tell the module to lock: two threads in
  two sessions crash the process. So there is one lock for all calls: ``LOCK``. Scale by processes.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pkcs11
from pkcs11 import Mechanism, types
from pkcs11.constants import TokenFlag

from shared.errors import NotFound, PeerFailed, RequestRejected
from shared.keystore.failures import translated
from shared.keystore.quirks import Quirks, quirks_of
from shared.keystore.turns import turn

LOCK = threading.RLock()
"""Held during every call into any module."""

_ENVIRONMENT = "SOFTHSM2_CONF"


class Library(Protocol):
    """The little that is used of ``pkcs11.lib``. A test may bring its own, with faults."""

    def get_slots(self, token_present: bool = ...) -> list[types.Slot]:
        """List the slots."""

    def reinitialize(self) -> None:
        """Finalise the module if need be, and initialise it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInfo:
    """What a token says about itself."""

    serial: str
    label: str
    manufacturer: str
    model: str
    firmware: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundToken:
    """A token in a slot, as it was when the slots were listed."""

    info: TokenInfo
    initialised: bool
    slot_id: int
    handle: types.Token


class Module:
    """One PKCS#11 library of this process. Get it with ``load_module``."""

    def __init__(self, path: Path, library: Library) -> None:
        self.path = path
        self._library = library
        self._pid = os.getpid()
        self._configuration = os.environ.get(_ENVIRONMENT)
        self._open = 0
        self._turns = 0

    def quirks(self, token: FoundToken) -> Quirks:
        """Return the profile of a token: what it does otherwise than the standard says."""
        # A test's library has no name of its own.
        library = str(getattr(self._library, "manufacturer_id", "")).strip()
        return quirks_of(library, token.info.manufacturer.strip(), token.info.model.strip())

    def mechanisms(self, token: FoundToken) -> frozenset[Mechanism]:
        """Return the mechanisms that a token says it has.

        Raises:
            PeerFailed: ``hsm.*``.
        """
        with LOCK, translated("asking the token what it can do"):
            return frozenset(token.handle.slot.get_mechanisms())

    @property
    def sessions(self) -> int:
        """How many sessions of ours are open in this process."""
        return self._open if self._pid == os.getpid() else 0

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Keep other processes from opening this module's tokens during the block; see ``shared.keystore.turns``.

        What is found, logged in to and looked for in one block is found as it is. Blocks may be nested.
        """
        with LOCK:
            outermost = self._turns == 0
            with turn(self.path) if outermost else contextlib.nullcontext():
                self._turns += 1
                try:
                    yield
                finally:
                    self._turns -= 1

    def refresh(self) -> None:
        """Initialise the module again unless a session is open, so that the slots are seen as they are.

        Raises:
            PeerFailed: ``hsm.*``; ``hsm.busy`` when the configuration changed under an open session.
        """
        with LOCK:
            if self._pid != os.getpid():
                self._pid, self._open = os.getpid(), 0
            configuration = os.environ.get(_ENVIRONMENT)
            if self._open == 0:
                self._reinitialise()
                self._configuration = configuration
            elif configuration != self._configuration:
                raise PeerFailed(
                    "hsm.busy", f"another HSM configuration is in use by this process ({_ENVIRONMENT} has changed)"
                )

    def _reinitialise(self) -> None:
        # In a forked child some modules fail the finalising half, for they were never initialised there. The
        # binding remembers that it is done and only initialises the second time.
        with contextlib.suppress(pkcs11.PKCS11Error):
            self._library.reinitialize()
            return
        with translated("initialising the HSM module"):
            self._library.reinitialize()

    def tokens(self) -> tuple[FoundToken, ...]:
        """List all tokens, initialised or not, after a ``refresh``.

        Raises:
            PeerFailed: ``hsm.*``.
        """
        with self.turn():
            self.refresh()
            found = []
            with translated("listing the HSM's tokens"):
                for slot in self._library.get_slots():
                    try:
                        token = slot.get_token()
                    except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
                        continue
                    found.append(_found(slot, token))
            return tuple(found)

    def select(
        self,
        *,
        label: str | None = None,
        serial: str | None = None,
        manufacturer: str | None = None,
        model: str | None = None,
    ) -> FoundToken:
        """Find the one initialised token that has all the given properties.

        Raises:
            NotFound: ``hsm.token-missing``.
            RequestRejected: ``hsm.token-ambiguous``.
            PeerFailed: ``hsm.*``.
        """
        wanted = (("label", label), ("serial", serial), ("manufacturer", manufacturer), ("model", model))
        named = {key: value for key, value in wanted if value is not None}
        matching = [
            token
            for token in self.tokens()
            if token.initialised and all(getattr(token.info, key) == value for key, value in named.items())
        ]
        description = " and ".join(f"{key} {value!r}" for key, value in named.items()) or "no property given"
        if not matching:
            raise NotFound(
                "hsm.token-missing",
                f"no initialised token with {description} is connected",
                hint="look at the plug, the label and, with SoftHSM, at SOFTHSM2_CONF",
            )
        if len(matching) > 1:
            serials = ", ".join(token.info.serial for token in matching)
            raise RequestRejected(
                "hsm.token-ambiguous",
                f"{len(matching)} tokens with {description} are connected",
                hint=f"name one by its serial: {serials}",
            )
        return matching[0]

    def login(
        self, token: FoundToken, pin: bytes | None, *, writable: bool = False, security_officer: bool = False
    ) -> types.Session:
        """Open a session and log in.

        Args:
            token: from ``select`` or ``tokens``, in this process.
            pin: UTF-8; ``None`` opens without a login.
            writable: whether keys will be made or PINs set.
            security_officer: the PIN is the security officer's.

        Raises:
            Unauthenticated: ``hsm.wrong-pin``, ``hsm.pin-locked`` or ``hsm.pin-expired``.
            RequestRejected: ``hsm.pin-malformed``.
            PeerFailed: ``hsm.*``.
        """
        text = None if pin is None else pin_text(pin)
        user, officer = (None, text) if security_officer else (text, None)
        with self.turn():
            with translated(f"logging in to the token {token.info.label!r}"):
                session = token.handle.open(rw=writable, user_pin=user, so_pin=officer)
            self._open += 1
            return session

    def logout(self, session: types.Session) -> None:
        """Log out and close a session; a session that the device ended already is fine.

        In a forked child nothing is called: the session is its parent's.
        """
        with LOCK:
            if self._pid != os.getpid():
                return
            self._open -= 1
            with contextlib.suppress(pkcs11.PKCS11Error):
                session.close()

    @contextlib.contextmanager
    def session(
        self, token: FoundToken, pin: bytes | None, *, writable: bool = False, security_officer: bool = False
    ) -> Iterator[types.Session]:
        """Do ``login`` and, at the end of the block, ``logout``."""
        session = self.login(token, pin, writable=writable, security_officer=security_officer)
        try:
            yield session
        finally:
            self.logout(session)


_modules: dict[Path, Module] = {}


def load_module(path: Path) -> Module:
    """Load a PKCS#11 module, once in a process; it is initialised, and may be so again by ``refresh``.

    Args:
        path: absolute, of the shared library.

    Raises:
        NotFound: ``hsm.module-missing``.
        PeerFailed: ``hsm.module-unusable`` when it is no PKCS#11 module or cannot be initialised.
    """
    if not path.is_absolute() or not path.is_file():
        raise NotFound("hsm.module-missing", f"the PKCS#11 module {path} does not exist")
    with LOCK:
        if path not in _modules:
            library = None
            with contextlib.suppress(pkcs11.PKCS11Error, OSError):
                library = pkcs11.lib(str(path))
            if library is None:
                raise PeerFailed(
                    "hsm.module-unusable",
                    f"the PKCS#11 module {path} cannot be loaded or initialised",
                    hint="with SoftHSM, look at the file that SOFTHSM2_CONF names and at its directory",
                )
            _modules[path] = Module(path, library)
        return _modules[path]


def pin_text(pin: bytes) -> str:
    """Return a PIN as the binding wants it.

    Raises:
        RequestRejected: ``hsm.pin-malformed``.
    """
    try:
        text = pin.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if not text:
        # Outside the except clause: the decoder's exception holds the PIN.
        raise RequestRejected("hsm.pin-malformed", "the PIN is empty or not UTF-8 text")
    return text


def _found(slot: types.Slot, token: types.Token) -> FoundToken:
    major, minor = token.firmware_version
    info = TokenInfo(
        serial=token.serial.decode("utf-8", errors="replace").strip(),
        label=token.label,
        manufacturer=token.manufacturer_id,
        model=token.model,
        firmware=f"{major}.{minor}",
    )
    initialised = bool(token.flags & TokenFlag.TOKEN_INITIALIZED)
    return FoundToken(info=info, initialised=initialised, slot_id=slot.slot_id, handle=token)
