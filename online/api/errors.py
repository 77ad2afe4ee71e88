"""The one table that turns an error into an HTTP status and step's words.

The ``step`` CLI shows ``message`` to its user, and programs compare it, so the texts are step-ca's own where
step-ca has one. What a failed proof of identity was missing is told to the log only: a caller who guesses tokens
learns nothing from the answers.
"""

from __future__ import annotations

from collections.abc import Mapping

from online.api.messages import Response, json_response
from shared.errors import (
    ColdrootError,
    NotFound,
    PeerFailed,
    PolicyDenied,
    RequestRejected,
    StoreFailed,
    Unauthenticated,
    Unsupported,
)
from shared.names import printable

_SEE_LOGS = "Please see the certificate authority logs for more info."
RETRY_SECONDS = 5
"""After which a client may ask again, where the node says 503."""

_BAD_REQUEST = "The request could not be completed"
_UNAUTHORIZED = "The request lacked necessary authorization to be completed"
_INTERNAL = "The certificate authority encountered an Internal Server Error"

# The first row that fits decides: family, status, step-ca's sentence, whether the caller is told the reason.
_FAMILIES: tuple[tuple[type[ColdrootError], int, str, bool], ...] = (
    (Unauthenticated, 401, _UNAUTHORIZED, False),
    (NotFound, 404, "The requested resource could not be found", False),
    (Unsupported, 501, "The requested method is not implemented by the certificate authority", False),
    (PolicyDenied, 403, "The request was forbidden by the certificate authority", True),
    (RequestRejected, 400, _BAD_REQUEST, True),
    # step-ca has no sentence for this: it answers 500 when its database or HSM is away for a moment.
    (StoreFailed, 503, "The certificate authority is not able to complete the request at present", False),
    (PeerFailed, 503, "The certificate authority is not able to complete the request at present", False),
    (ColdrootError, 500, _INTERNAL, False),
)


class EdgeError(Exception):
    """What the HTTP layer itself refuses: a wrong method, a body that is too large, a broken frame.

    It never leaves ``online.api`` and the server's edge: it has a status where our other errors have a family.
    """

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        """Make a refusal.

        Args:
            status: HTTP status, 400 to 599.
            message: shown to the caller, complete as it stands.
            headers: what the status wants beside it, such as ``Allow``.
        """
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def error_response(error: ColdrootError) -> Response:
    """Return the answer to a request that ended in an error of ours."""
    status, message = _translate(error)
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else None  # noqa: PLR2004 (Service Unavailable)
    why = f" ({error.hint})" if error.hint else ""
    note = f"{error.code}: {printable(error.message + why, limit=600)}"
    return json_response(status, {"status": status, "message": message}, headers=headers, note=note)


def edge_response(error: EdgeError) -> Response:
    """Return the answer to a request that the HTTP layer refused."""
    return json_response(
        error.status,
        {"status": error.status, "message": error.message},
        headers=error.headers,
        note=f"http.{error.status}: {printable(error.message, limit=300)}",
    )


def internal_response(error: BaseException) -> Response:
    """Return the answer to a request that met an exception nobody foresaw.

    Only the exception's kind is noted: its text could hold anything, a secret too.
    """
    return json_response(
        500,
        {"status": 500, "message": f"{_INTERNAL}. {_SEE_LOGS}"},
        note=f"internal.unexpected: {type(error).__name__}",
    )


def unavailable_response(note: str) -> Response:
    """Return the answer to a request that cannot be served now but may be in a moment."""
    return error_response(StoreFailed("server.unavailable", note))


def _translate(error: ColdrootError) -> tuple[int, str]:
    status, sentence, told = next(row[1:] for row in _FAMILIES if isinstance(error, row[0]))
    exact = _exact(error)
    if exact is not None:
        return status, exact
    if told:
        return status, f"{sentence}: {_quoted(error.message)}."
    return status, f"{sentence}. {_SEE_LOGS}"


def _exact(error: ColdrootError) -> str | None:
    """Return the text of a cause for which step-ca's text is not made from the sentence of its status."""
    if error.code == "root.unknown":
        return _quoted(error.message)
    if error.code == "csr.invalid-signature":
        return f"{_BAD_REQUEST}: invalid csr."
    if error.code == "certificate.expired":
        return f"{_UNAUTHORIZED}: {_quoted(error.message)}"
    if error.code.startswith("renew-token."):
        return "error validating renew token"
    return None


def _quoted(message: str) -> str:
    # A message may repeat what the caller sent: no control character may reach a terminal or a log through it.
    return printable(message, limit=1000)
