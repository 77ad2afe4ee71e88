"""An error on its way between two processes of one node: which family, which code, which words."""

from __future__ import annotations

from collections.abc import Mapping

from shared import errors
from shared.errors import ColdrootError, Fatal

Told = tuple[str, str, str, str | None]
"""Family, code, message, hint."""

_FAMILIES: Mapping[str, type[ColdrootError]] = {
    each.__name__: each
    for each in (
        errors.RequestRejected,
        errors.Unauthenticated,
        errors.NotFound,
        errors.Unsupported,
        errors.PolicyDenied,
        errors.PeerFailed,
        errors.StoreFailed,
        errors.Fatal,
    )
}


def tell(error: ColdrootError) -> Told:
    """Return what the other process needs to raise the same."""
    return type(error).__name__, error.code, error.message, error.hint


def told_error(told: Told) -> ColdrootError:
    """Return the error that was told of; one of a family that nobody knows counts as fatal."""
    family, code, message, hint = told
    return _FAMILIES.get(family, Fatal)(code, message, hint=hint)
