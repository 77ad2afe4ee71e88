"""The issuing key at work: at once when it lies in memory, on a thread of its own when it is in an HSM.

Invariants:

* the event loop never waits for a token: an HSM that is slow holds up those who want its signature, and nobody else;
* nobody waits for it longer than the deadline. Who does is told that it cannot be done now (503 on the wire), and what
  the HSM signs after that is thrown away unseen: it was recorded nowhere and leaves nobody's hands;
* behind a call that is overdue nobody queues, so a token that hangs costs each request nothing but a refusal.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from shared.errors import PeerFailed
from shared.issue import Prepared, SignedCertificate, issue_encoded
from shared.keys import PrivateKey, kind_of, signature_hash
from shared.keystore import HsmKey
from shared.signing import check_signature, sign

_DEADLINE_SECONDS = 10.0
# Begins with a letter, and so with no tag that DER begins a certificate, list or request with.
_PROOF = b"coldroot: this shows that the issuing key signs, and nothing else"

_T = TypeVar("_T")


class SigningKey:
    """Signs with one private key. Open it after forking, once a process; a context manager ends its thread."""

    def __init__(self, key: PrivateKey, *, seconds: float = _DEADLINE_SECONDS) -> None:
        """Take a key into service.

        Args:
            key: software or HSM.
            seconds: that a signature of an HSM may take, waiting for others included.
        """
        self._key = key
        self._line = _Line(seconds) if isinstance(key, HsmKey) else None

    async def issue(self, prepared: Prepared) -> SignedCertificate:
        """Sign a prepared certificate: ``shared.issue.issue_encoded``, without holding up anybody else.

        Raises:
            PeerFailed: ``hsm.*``; ``hsm.overdue`` after the deadline.
            Fatal: ``issue.*``: stop signing.
        """
        return await self._call(lambda: issue_encoded(prepared, self._key))

    async def prove(self) -> None:
        """Return when the key has just signed something that is worth nothing, and the signature held.

        Raises:
            PeerFailed: ``hsm.*``.
            Fatal: ``issue.bad-signature``.
        """
        await self._call(self._prove)

    def close(self) -> None:
        """End the thread, after the call that it is in."""
        if self._line is not None:
            self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prove(self) -> None:
        public_key = self._key.public_key()
        algorithm = signature_hash(kind_of(public_key))
        check_signature(public_key, signature=sign(self._key, _PROOF), data=_PROOF, algorithm=algorithm)

    async def _call(self, function: Callable[[], _T]) -> _T:
        return function() if self._line is None else await self._line.call(function)


class _Line:
    """A line of calls before one thread, which a call leaves when it has waited too long.

    The thread is a daemon: a module that never returns must not keep the process from ending.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._work, name="issuing-key", daemon=True)
        self._thread.start()

    async def call(self, function: Callable[[], _T]) -> _T:
        """Have a function called on the thread; stop waiting at the deadline."""
        busy_since = self._busy_since
        if busy_since is not None and time.monotonic() - busy_since > self._seconds:
            raise _overdue()
        future: Future[_T] = Future()
        self._jobs.put((future, function))
        try:
            # A call that has not begun is taken out of the line by this; one that has begins to be overdue.
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except TimeoutError:
            raise _overdue() from None

    def close(self) -> None:
        """Let the thread end."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function = job
            if not future.set_running_or_notify_cancel():
                continue
            self._busy_since = time.monotonic()
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 (handed to whoever called)
                future.set_exception(error)
            finally:
                self._busy_since = None


def _overdue() -> PeerFailed:
    return PeerFailed("hsm.overdue", "the HSM did not sign in time", hint="look at the HSM; a restart opens it again")
