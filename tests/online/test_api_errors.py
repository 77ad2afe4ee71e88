"""The table from errors to statuses and step's words."""

from __future__ import annotations

import json

import pytest

from online.api.errors import EdgeError, edge_response, error_response, internal_response
from shared.errors import (
    ColdrootError,
    Fatal,
    NotFound,
    PeerFailed,
    PolicyDenied,
    RequestRejected,
    StoreFailed,
    Unauthenticated,
    Unsupported,
)

_SEE_LOGS = "Please see the certificate authority logs for more info."
_403 = "The request was forbidden by the certificate authority"
_401 = "The request lacked necessary authorization to be completed"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RequestRejected("wire.missing-csr", "missing csr"), 400, "The request could not be completed: missing csr."),
        (RequestRejected("csr.invalid-signature", "x"), 400, "The request could not be completed: invalid csr."),
        (Unauthenticated("token.signature", "the token's signature is bad"), 401, f"{_401}. {_SEE_LOGS}"),
        (
            Unauthenticated("certificate.expired", "certificate expired on 2026-11-24 12:00:00 +0000 UTC"),
            401,
            f"{_401}: certificate expired on 2026-11-24 12:00:00 +0000 UTC",
        ),
        (Unauthenticated("renew-token.signature", "x"), 401, "error validating renew token"),
        (
            PolicyDenied("csr.dns-names", "certificate request does not contain the valid DNS names"),
            403,
            f"{_403}: certificate request does not contain the valid DNS names.",
        ),
        (NotFound("provisioner.unknown", "x"), 404, f"The requested resource could not be found. {_SEE_LOGS}"),
        (
            NotFound("root.unknown", 'root certificate with fingerprint "ab" was not found'),
            404,
            'root certificate with fingerprint "ab" was not found',
        ),
        (
            Unsupported("wire.active-revocation", "x"),
            501,
            f"The requested method is not implemented by the certificate authority. {_SEE_LOGS}",
        ),
        (
            Fatal("issue.bad-signature", "x"),
            500,
            f"The certificate authority encountered an Internal Server Error. {_SEE_LOGS}",
        ),
        (
            StoreFailed("store.busy", "x"),
            503,
            f"The certificate authority is not able to complete the request at present. {_SEE_LOGS}",
        ),
        (
            PeerFailed("hsm.gone", "x"),
            503,
            f"The certificate authority is not able to complete the request at present. {_SEE_LOGS}",
        ),
    ],
)
def test_each_family_has_its_status_and_step_s_words(error: ColdrootError, status: int, message: str) -> None:
    """Without this, the CLI could show its users something else than step-ca's texts, or programs misjudge."""
    response = error_response(error)
    assert response.status == status
    assert json.loads(response.body) == {"status": status, "message": message}
    assert response.body.endswith(b"\n")
    assert response.headers["Content-Type"] == "application/json"
    assert response.note.startswith(f"{error.code}: ")
    assert ("Retry-After" in response.headers) == (status == 503)


def test_a_message_reaches_no_terminal_with_control_characters() -> None:
    """Without this, what a caller sent could move another person's cursor."""
    response = error_response(RequestRejected("name.dns", "a\x1b[2Jb\nc"))
    assert json.loads(response.body)["message"] == "The request could not be completed: a\\x1b[2Jb\\nc."
    assert "\n" not in response.note


def test_an_unforeseen_exception_shows_its_kind_to_the_log_only() -> None:
    """Without this, an exception's text, which may hold a secret, could be sent to a stranger or logged."""
    response = internal_response(KeyError("c4n4ry"))
    assert response.status == 500
    assert b"c4n4ry" not in response.body
    assert response.note == "internal.unexpected: KeyError"


def test_the_edge_s_own_refusals_have_the_same_form() -> None:
    """Without this, step would report that it cannot decode an error."""
    response = edge_response(EdgeError(405, "No.", headers={"Allow": "GET"}))
    assert (response.status, response.headers["Allow"]) == (405, "GET")
    assert json.loads(response.body) == {"status": 405, "message": "No."}
