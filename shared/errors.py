"""The one family of errors that crosses any boundary of coldroot.

Invariants:

* every error has a stable dotted ``code``, a one-line ``message`` that is safe to show to anybody, and
  sometimes a ``hint`` that says what to do next;
* the class says *whose fault* it is, so that an edge (exit status, HTTP status) can map it in one table;
* no message holds a token, PIN, share, password or key;
* an exception of a third-party library never crosses a room's boundary: it is translated where it is met.
"""

from __future__ import annotations


class ColdrootError(Exception):
    """The base of all errors that coldroot raises on purpose. Raise a subclass, never this class."""

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        """Make an error.

        Args:
            code: stable and dotted, room first, for example ``bundle.digest-mismatch``.
            message: one line, lower case, no full stop: what was wrong and where. Safe to show.
            hint: one line: what to do about it.
        """
        if type(self) is ColdrootError:
            raise TypeError("ColdrootError is a family: raise one of its members")
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class RequestRejected(ColdrootError):
    """The caller's input is at fault: malformed, missing, contradictory, or of the wrong kind."""


class Unauthenticated(RequestRejected):
    """The caller did not prove who they are: a token, a certificate or a password does not hold."""


class NotFound(RequestRejected):
    """What the caller named does not exist."""


class Unsupported(RequestRejected):
    """What the caller asks for is well-formed, and coldroot does not do it."""


class PolicyDenied(ColdrootError):
    """The caller is known and the request is well-formed, but a rule of the CA's owner forbids it."""


class PeerFailed(ColdrootError):
    """Somebody on the other side (a CA, a client, an HSM) did not do its part."""


class StoreFailed(ColdrootError):
    """A disk or a database did not do its part; nothing was promised to anybody."""


class Fatal(ColdrootError):
    """Something that must never happen did: stop signing and call a person."""
