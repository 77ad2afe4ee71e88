"""``GET /crl``: the revocation list, as step-ca sends it, and as HTTP caches like it (RFC 5280 §4.2.1.13, RFC 9110)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import parse_qs

from online.api.messages import PEM_TYPE, Request, Response
from online.api.service import Service
from shared.errors import NotFound, RequestRejected

CRL_TYPE = "application/pkix-crl"
_TAG = re.compile(r'(?:W/)?"([!#-~]*)"', re.ASCII)


async def crl(service: Service, request: Request, argument: str) -> Response:
    """Answer ``GET /crl``: the list in DER, or in PEM when the query has ``pem``.

    A client that has it already is told so (304) and sent nothing: a list can be large, and many ask.

    Raises:
        NotFound: ``crl.off`` or ``crl.none``.
        RequestRejected: ``wire.query``.
        StoreFailed: ``store.*``.
    """
    del argument
    crls = service.authority.crls
    if crls is None:
        raise NotFound("crl.off", "revocation lists are not enabled", hint="see crl.enabled in ca.json")
    served = await crls.current()
    as_pem = _wants_pem(request.query)
    facts, now = served.crl, crls.clock.now()
    # The two forms are two representations, and a tag must tell them apart (RFC 9110 §8.8.3).
    tag = f"{served.tag}-pem" if as_pem else served.tag
    seconds = served.cache_seconds(now, may_change=crls.settings.generate_on_revoke)
    headers = {
        "ETag": f'"{tag}"',
        "Last-Modified": _http_date(facts.this_update),
        "Expires": _http_date(facts.next_update),
        "Cache-Control": f"public, max-age={seconds}, must-revalidate",
    }
    note = f"crl={facts.number}"
    if _has_it(request, tag, facts.this_update):
        return Response(status=304, headers=headers, note=note)
    headers["Content-Type"] = PEM_TYPE if as_pem else CRL_TYPE
    headers["Content-Disposition"] = f'attachment; filename="{"crl.pem" if as_pem else "crl.crl"}"'
    return Response(status=200, headers=headers, body=served.pem() if as_pem else facts.der, note=note)


def _wants_pem(query: str) -> bool:
    try:
        return "pem" in parse_qs(query, keep_blank_values=True, errors="strict", max_num_fields=8)
    except ValueError:
        raise RequestRejected("wire.query", "the query is malformed") from None


def _has_it(request: Request, tag: str, modified: datetime) -> bool:
    """Tell whether the client's copy is the one that would be sent (RFC 9110 §13.1.2, §13.1.3)."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or tag in _TAG.findall(tags)
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        moment = parsedate_to_datetime(since)
    except (ValueError, OverflowError):
        return False
    # An HTTP date is in GMT; without a zone it is not one, and does not count.
    return moment.tzinfo is not None and moment.astimezone(UTC) >= modified


def _http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)
