"""An OpenID Connect issuer's word about itself (OpenID Connect Discovery 1.0 §4) and its keys, fetched and kept.

Invariants:

* the issuer's name is the one under which its document was fetched, so no document speaks for another issuer;
* a key in hand is of an accepted kind and strength and for signatures; shared secrets are never taken for keys;
* keys are fetched when they are missing or an hour old, and when a token names one that is not among them (an issuer
  changes its keys), but never more often than every half minute, whatever strangers send;
* while the issuer cannot be reached its keys stay good for a day; then nothing of it is believed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from online.jose.jwk import Jwk, parse_jwk
from online.oidc_fetch import Fetch, check_url
from online.strict_json import Json, parse_object
from shared.errors import ColdrootError, PeerFailed, RequestRejected

WELL_KNOWN = "/.well-known/openid-configuration"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What an ID token may be signed with. Never ``none``, never a shared secret."""
# OpenID Connect Core 1.0 §2: what an issuer uses that says nothing.
_DEFAULT_ALGORITHMS = ("RS256",)
_MOST_KEYS = 100
_FRESH_SECONDS = 3600.0
_STALE_SECONDS = 86400.0
_PAUSE_SECONDS = 30.0
_PATIENCE_SECONDS = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerKey:
    """A key of an issuer."""

    key: Jwk
    fixed: bool
    """The issuer said which algorithm goes with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerKeys:
    """What an issuer says of itself."""

    issuer: str
    """Compared with the ``iss`` of its tokens, character by character."""
    algorithms: frozenset[str]
    by_kid: Mapping[str, tuple[IssuerKey, ...]] = field(repr=False)

    def candidates(self, kid: str, algorithm: str) -> tuple[IssuerKey, ...]:
        """Return the keys that may have signed a token.

        Args:
            kid: as the token names it; empty when it names none, which only an issuer with one key may do.
            algorithm: as the token names it.
        """
        if kid:
            named = self.by_kid.get(kid, ())
        else:
            known = [each for keys in self.by_kid.values() for each in keys]
            named = tuple(known) if len(known) == 1 else ()
        return tuple(
            each
            for each in named
            if each.key.algorithm == algorithm or (not each.fixed and algorithm in self.algorithms)
        )


class KeySource:
    """The keys of one issuer, kept up to date. For one event loop; fetching happens in a thread of its own."""

    def __init__(
        self,
        endpoint: str,
        *,
        tenant: str,
        fetch: Fetch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remember where to ask; nothing is fetched yet.

        Args:
            endpoint: address of the configuration document, as ``configuration_url`` returns it.
            tenant: what stands for ``{tenantid}`` in the issuer's name; may be empty.
            fetch: see ``Fetch``.
            clock: monotonic seconds.
        """
        self._endpoint = endpoint
        self._tenant = tenant
        self._fetch = fetch
        self._clock = clock
        self._keys: IssuerKeys | None = None
        self._fetched_at = 0.0
        self._tried_at: float | None = None
        self._failure: ColdrootError | None = None
        self._busy = asyncio.Lock()

    def keys(self) -> IssuerKeys:
        """Return what is known of the issuer now.

        Raises:
            PeerFailed: ``oidc.*`` when nothing is known, or nothing that is young enough.
        """
        if self._keys is None or self._clock() - self._fetched_at > _STALE_SECONDS:
            raise self._failure or PeerFailed("oidc.unreachable", "the identity provider's keys are not known")
        return self._keys

    async def refresh(self, kid: str) -> None:
        """Fetch the keys if that is due. A failure shows in ``keys``, when there is nothing to fall back on.

        Args:
            kid: of a token, not verified: it decides about fetching and nothing else.
        """
        if not self._is_due(kid):
            return
        async with self._busy:
            if not self._is_due(kid):
                return
            self._tried_at = self._clock()
            try:
                self._keys = await asyncio.wait_for(asyncio.to_thread(self._load), _PATIENCE_SECONDS)
            except TimeoutError:
                self._failure = PeerFailed("oidc.unreachable", "the identity provider does not answer in time")
            except PeerFailed as error:
                self._failure = error
            except RequestRejected as error:
                self._failure = PeerFailed(error.code, error.message, hint=error.hint)
            else:
                self._fetched_at = self._clock()

    def _is_due(self, kid: str) -> bool:
        now = self._clock()
        if self._tried_at is not None and now - self._tried_at < _PAUSE_SECONDS:
            return False
        if self._keys is None or now - self._fetched_at > _FRESH_SECONDS:
            return True
        return bool(kid) and kid not in self._keys.by_kid

    def _load(self) -> IssuerKeys:
        issuer, algorithms, address = parse_discovery(
            self._fetch(self._endpoint), endpoint=self._endpoint, tenant=self._tenant
        )
        return IssuerKeys(issuer=issuer, algorithms=algorithms, by_kid=parse_key_set(self._fetch(address)))


def configuration_url(text: str) -> str:
    """Return the address of an issuer's document: as it is given, or the issuer's own with the well-known path.

    Raises:
        RequestRejected: ``oidc.url``.
    """
    url = check_url(text, what="the configuration endpoint")
    return url if url.endswith(WELL_KNOWN) else url.rstrip("/") + WELL_KNOWN


def parse_discovery(data: bytes, *, endpoint: str, tenant: str) -> tuple[str, frozenset[str], str]:
    """Read the configuration document.

    1. It is a JSON object with an issuer and the address of its keys.
    2. The issuer is the one whose document was asked for (§4.3). With a tenant, an issuer that serves many
       organisations under one address names itself with ``{tenantid}``; then only the host must be the same.
    3. Of the algorithms only accepted ones count.

    Args:
        data: the document.
        endpoint: where it was fetched.
        tenant: what stands for ``{tenantid}``; empty for none.

    Returns:
        The issuer's name, its algorithms, and the address of its keys.

    Raises:
        PeerFailed: ``oidc.document``.
        RequestRejected: ``oidc.url`` or ``oidc.malformed``.
    """
    # 1
    found = parse_object(data, what="identity provider's configuration", room="oidc")
    issuer, address = found.get("issuer"), found.get("jwks_uri")
    if not isinstance(issuer, str) or not isinstance(address, str):
        raise PeerFailed("oidc.document", "the identity provider's configuration lacks issuer or jwks_uri")
    check_url(address, what="the identity provider's jwks_uri")
    # 2
    if tenant and "{tenantid}" in issuer:
        same = _origin(issuer) == _origin(endpoint)
        issuer = issuer.replace("{tenantid}", tenant)
    else:
        same = issuer.rstrip("/") + WELL_KNOWN == endpoint
    if not same:
        raise PeerFailed("oidc.document", "the identity provider's configuration is another issuer's")
    # 3
    named = found.get("id_token_signing_alg_values_supported", [*_DEFAULT_ALGORITHMS])
    listed = named if isinstance(named, list) else []
    return issuer, frozenset(each for each in ALGORITHMS if each in listed), address


def parse_key_set(data: bytes) -> dict[str, tuple[IssuerKey, ...]]:
    """Read a JWK Set (RFC 7517 §5). What is not an accepted key for signatures is passed over: others may use it.

    Returns:
        The keys by their identifiers; an issuer may have used one for several.

    Raises:
        PeerFailed: ``oidc.document`` when there is no usable key.
        RequestRejected: ``oidc.malformed`` or ``oidc.duplicate-key``.
    """
    entries = parse_object(data, what="identity provider's key set", room="oidc").get("keys")
    if not isinstance(entries, list) or len(entries) > _MOST_KEYS:
        raise PeerFailed("oidc.document", f"the identity provider's key set is not a list of at most {_MOST_KEYS} keys")
    found: dict[str, tuple[IssuerKey, ...]] = {}
    for entry in entries:
        key = _usable(entry)
        if key is not None:
            found[key.key.kid] = (*found.get(key.key.kid, ()), key)
    if not found:
        raise PeerFailed("oidc.document", "the identity provider's key set holds no usable key")
    return found


def _usable(entry: Json) -> IssuerKey | None:
    try:
        key = parse_jwk(entry, what="identity provider's key")
    except RequestRejected:
        return None
    return IssuerKey(key=key, fixed=isinstance(entry, dict) and "alg" in entry)


def _origin(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])
