"""The ``crl`` block and ``insecureAddress``: whether there is a revocation list, and where it is to be had."""

from __future__ import annotations

import re
from datetime import timedelta

from online.config.address import parse_address
from online.config.settings import DEFAULT_CRL_CACHE, CrlSettings
from online.strict_json import Fields
from shared.crl import YEAR
from shared.durations import format_duration
from shared.errors import RequestRejected
from shared.names import canonical_uri

PATH = "/1.0/crl"
_KEYS = frozenset({"enabled", "generateOnRevoke", "cacheDuration", "renewPeriod", "idpURL"})
_WEB = re.compile(r"https?://[^/?#@]+(?:/[^?#]*)?(?:\?[^#]*)?", re.ASCII)
_SHORTEST = timedelta(minutes=1)
_HTTP_PORT = 80
_HTTPS_PORT = 443


def parse_crl(top: Fields, *, address: tuple[str, int], host: str) -> tuple[CrlSettings | None, tuple[str, int] | None]:
    """Read the two settings.

    Args:
        top: the document.
        address: where the node listens.
        host: its first name.

    Returns:
        The settings of the list and the address of its plain listener, each ``None`` when there is none.

    Raises:
        RequestRejected: ``config.*``.
    """
    block = Fields(top.raw("crl") if "crl" in top else {}, path="crl", known=_KEYS)
    insecure = parse_address(top, "insecureAddress") if top.text("insecureAddress", default="") else None
    on_revoke = block.flag("generateOnRevoke") or False
    cache = _duration(block, "cacheDuration") or DEFAULT_CRL_CACHE
    renew = _duration(block, "renewPeriod") or cache * 2 / 3
    url = _url(block)
    _check_durations(cache, renew)
    if not block.flag("enabled"):
        if insecure is not None:
            raise RequestRejected(
                "config.malformed",
                "insecureAddress serves the revocation list and nothing else, and there is none",
                hint='set crl.enabled to true, or set insecureAddress to ""',
            )
        return None, None
    return CrlSettings(
        url=url or _default_url(host, address, insecure),
        generate_on_revoke=on_revoke,
        cache_duration=cache,
        renew_period=renew,
    ), insecure


def _duration(block: Fields, key: str) -> timedelta | None:
    """Read a duration; step-ca takes 0 for "not set"."""
    span = block.duration(key)
    if span is not None and span < timedelta(0):
        raise RequestRejected("config.malformed", f"{block.at(key)} is negative")
    return span or None


def _check_durations(cache: timedelta, renew: timedelta) -> None:
    if not _SHORTEST <= cache <= YEAR:
        raise RequestRejected(
            "config.malformed", f"crl.cacheDuration is not between {format_duration(_SHORTEST)} and a year"
        )
    if renew >= cache:
        # step-ca allows them to be equal: then there is a moment at which no list is in force.
        raise RequestRejected(
            "config.malformed",
            "crl.renewPeriod is not shorter than crl.cacheDuration",
            hint="two thirds of it is the default; leave renewPeriod out",
        )


def _url(block: Fields) -> str:
    written = block.text("idpURL", default="")
    if not written:
        return ""
    try:
        url = canonical_uri(written)
    except RequestRejected as error:
        raise RequestRejected("config.malformed", f"crl.idpURL: {error.message}") from None
    if not _WEB.fullmatch(url):
        raise RequestRejected(
            "config.malformed", "crl.idpURL is not an http:// address", hint='write "http://ca.example.com/1.0/crl"'
        )
    return url


def _default_url(host: str, address: tuple[str, int], insecure: tuple[str, int] | None) -> str:
    """Return the address of the list on this node: the plain one, or, as in step-ca, the one over TLS."""
    shown = f"[{host}]" if ":" in host else host
    if insecure is None:
        port = address[1]
        return f"https://{shown}{PATH}" if port == _HTTPS_PORT else f"https://{shown}:{port}{PATH}"
    port = insecure[1]
    if not port:
        raise RequestRejected(
            "config.malformed",
            "insecureAddress has the port 0, which nobody can find",
            hint="choose a port, or say in crl.idpURL where the list is found",
        )
    return f"http://{shown}{PATH}" if port == _HTTP_PORT else f"http://{shown}:{port}{PATH}"
