"""The block ``coldroot``: settings that step-ca does not have, under a key that it passes over."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network

from online.config.settings import AuthoritySource, RateLimitSettings, RenewalSettings, TlsEngine
from online.strict_json import Fields
from shared.errors import RequestRejected

_KNOWN = frozenset(
    {"rateLimit", "logLevel", "renewal", "tlsEngine", "archiveAfter", "authority", "formerIntermediates"}
)
_MOST = 1_000_000
_MOST_FORMER = 16
_LONGEST = timedelta(days=1)
_SHORTEST = timedelta(seconds=1)
_LONGEST_GRACE = timedelta(days=365)
_SHORTEST_KEPT = timedelta(days=1)
_LONGEST_KEPT = timedelta(days=36500)
# Below 400 nothing was refused, below 500 nothing was wrong with the node.
_LEVELS = {"info": 0, "warning": 400, "error": 500}


def parse_rate_limit(top: Fields) -> RateLimitSettings | None:
    """Read ``coldroot.rateLimit``.

    Args:
        top: the document.

    Returns:
        The limit; ``None`` when there is none, which is the default.

    Raises:
        RequestRejected: ``config.*``.
    """
    own = _block(top)
    if "rateLimit" not in own:
        return None
    block = Fields(own.raw("rateLimit"), path="coldroot.rateLimit", known={"requests", "period", "burst", "exempt"})
    if "requests" not in block:
        raise RequestRejected("config.missing-key", f"{block.at('requests')} is missing")
    requests = _count(block, "requests", 0)
    period = block.duration("period") or timedelta(minutes=1)
    if not _SHORTEST <= period <= _LONGEST:
        raise RequestRejected("config.malformed", f"{block.at('period')} is not between 1s and 24h")
    return RateLimitSettings(
        requests=requests, period=period, burst=_count(block, "burst", requests), exempt=_networks(block)
    )


def parse_least_status(top: Fields) -> int:
    """Read ``coldroot.logLevel``: ``info``, ``warning`` or ``error``.

    Args:
        top: the document.

    Returns:
        The least HTTP status of a request that is worth a line.

    Raises:
        RequestRejected: ``config.*``.
    """
    own = _block(top)
    level = own.text("logLevel", default="info")
    if level not in _LEVELS:
        raise RequestRejected(
            "config.malformed", f"{own.at('logLevel')} is not a known level", hint=f"write {', '.join(_LEVELS)}"
        )
    return _LEVELS[level]


def parse_tls_engine(top: Fields) -> TlsEngine:
    """Read ``coldroot.tlsEngine``: ``bundled`` or ``system``.

    Args:
        top: the document.

    Raises:
        RequestRejected: ``config.*``.
    """
    own = _block(top)
    engine = own.text("tlsEngine", default=TlsEngine.BUNDLED.value)
    try:
        return TlsEngine(engine)
    except ValueError:
        raise RequestRejected(
            "config.malformed",
            f"{own.at('tlsEngine')} is not a known TLS engine",
            hint="write bundled, or system for the distribution's OpenSSL",
        ) from None


def parse_renewal(top: Fields) -> RenewalSettings:
    """Read ``coldroot.renewal``.

    Args:
        top: the document.

    Raises:
        RequestRejected: ``config.*``.
    """
    own = _block(top)
    value = own.raw("renewal") if "renewal" in own else {}
    block = Fields(value, path="coldroot.renewal", known={"grace", "newestOnly", "revokeSuperseded"})
    grace = block.duration("grace")
    default = RenewalSettings()
    if grace is not None and not timedelta(0) <= grace <= _LONGEST_GRACE:
        raise RequestRejected("config.malformed", f"{block.at('grace')} is not between 0s and 8760h")
    return RenewalSettings(
        grace=default.grace if grace is None else grace,
        newest_only=bool(block.flag("newestOnly")),
        revoke_superseded=bool(block.flag("revokeSuperseded")),
    )


def parse_authority_source(top: Fields) -> AuthoritySource:
    """Read ``coldroot.authority``: ``file`` or ``database``.

    Args:
        top: the document.

    Raises:
        RequestRejected: ``config.*``.
    """
    own = _block(top)
    try:
        return AuthoritySource(own.text("authority", default=AuthoritySource.FILE.value))
    except ValueError:
        raise RequestRejected(
            "config.malformed",
            f"{own.at('authority')} is neither file nor database",
            hint="online authority share writes it",
        ) from None


def parse_archive_after(top: Fields) -> timedelta | None:
    """Read ``coldroot.archiveAfter``.

    Args:
        top: the document.

    Returns:
        How long after its end a certificate is kept in the database; ``None`` for ever, which is the default.

    Raises:
        RequestRejected: ``config.*``.
    """
    own = _block(top)
    after = own.duration("archiveAfter")
    if after is not None and not _SHORTEST_KEPT <= after <= _LONGEST_KEPT:
        raise RequestRejected("config.malformed", f"{own.at('archiveAfter')} is not between 24h and 876000h")
    return after


def parse_former_intermediates(top: Fields) -> tuple[str, ...]:
    """Read ``coldroot.formerIntermediates``.

    Args:
        top: the document.

    Returns:
        Paths as they stand there, the latest first; there are none by default.

    Raises:
        RequestRejected: ``config.*``.
    """
    own = _block(top)
    paths = own.texts("formerIntermediates")
    if len(paths) > _MOST_FORMER:
        raise RequestRejected(
            "config.malformed", f"{own.at('formerIntermediates')} has more than {_MOST_FORMER} entries"
        )
    return tuple(paths)


def _block(top: Fields) -> Fields:
    value = top.raw("coldroot") if "coldroot" in top else {}
    return Fields(value, path="coldroot", known=_KNOWN)


def _count(block: Fields, key: str, default: int) -> int:
    value = block.number(key)
    count = default if value is None else value
    if not isinstance(count, int) or not 1 <= count <= _MOST:
        raise RequestRejected("config.malformed", f"{block.at(key)} is not a whole number from 1 to {_MOST}")
    return count


def _networks(block: Fields) -> tuple[IPv4Network | IPv6Network, ...]:
    found = []
    for index, each in enumerate(block.texts("exempt")):
        try:
            found.append(ip_network(each))
        except ValueError:
            raise RequestRejected(
                "config.malformed",
                f"{block.at('exempt')}[{index}] is neither an address nor a network",
                hint='write "10.0.0.5" or "10.0.0.0/8", with no bits set behind the prefix',
            ) from None
    return tuple(found)
