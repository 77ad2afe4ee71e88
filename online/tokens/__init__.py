"""One-time tokens: whom they are meant for, what they authorise, and minting them."""

from __future__ import annotations

from online.tokens.audiences import Audiences, audience, offline_audience
from online.tokens.minting import (
    DEFAULT_LIFE,
    RENEW_HEADER,
    RENEW_ISSUER,
    SHORTEST_LIFE,
    Rng,
    mint_renew_token,
    mint_revoke_token,
    mint_sign_token,
)
from online.tokens.verified import (
    CERTIFICATE_CLAIM,
    CNF_MEMBER,
    LEEWAY,
    LONGEST_DELAY,
    LONGEST_LIFE,
    VerifiedToken,
    check_confirmation,
    csr_confirmation,
    require_moment,
    require_text,
    require_times,
    use_digest,
    verified_token,
)

__all__ = [
    "CERTIFICATE_CLAIM",
    "CNF_MEMBER",
    "DEFAULT_LIFE",
    "LEEWAY",
    "LONGEST_DELAY",
    "LONGEST_LIFE",
    "RENEW_HEADER",
    "RENEW_ISSUER",
    "SHORTEST_LIFE",
    "Audiences",
    "Rng",
    "VerifiedToken",
    "audience",
    "check_confirmation",
    "csr_confirmation",
    "mint_renew_token",
    "mint_revoke_token",
    "mint_sign_token",
    "offline_audience",
    "require_moment",
    "require_text",
    "require_times",
    "use_digest",
    "verified_token",
]
