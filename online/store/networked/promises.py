"""What is worth knowing of a database server before one relies on it."""

from __future__ import annotations

from online.config.check import Check, Outcome


def tls_check(where: str, *, protected: bool) -> Check:
    """Say whether strangers between node and server could read along."""
    near = where.startswith(("127.", "localhost", "[::1]", "/"))
    if protected or near:
        return Check(what="tls", outcome=Outcome.OK, detail="in use" if protected else "not in use, on this machine")
    return Check(
        what="tls", outcome=Outcome.WARNING, detail="not in use: the network sees the password's exchange and every row"
    )
