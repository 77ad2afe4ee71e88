"""What anybody may read: health, version, the CA's certificates, the provisioners.

The odd status codes are step-ca's: its clients insist on 201 for lists of certificates and on 200 elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable
from urllib.parse import parse_qs, unquote

from cryptography import x509

from online.api.errors import RETRY_SECONDS
from online.api.messages import PEM_TYPE, Request, Response, json_response
from online.api.service import Service
from online.strict_json import Json
from shared.clock import rfc3339
from shared.errors import ColdrootError, NotFound, RequestRejected
from shared.keys import fingerprint
from shared.names import printable
from shared.pem import certificate_pem, chain_pem

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_LONGEST_CURSOR = 64
_WELL = json_response(200, {"status": "ok"})


def health(service: Service, request: Request, argument: str) -> Response | Awaitable[Response]:
    """Answer ``GET /health``: whether a certificate could be issued now.

    step-ca answers "ok" as long as the process lives; a load balancer that asks here wants to know more.

    Raises:
        StoreFailed: the database would not accept a write.
        Fatal: the intermediate is not valid at the clock's time.
    """
    del request, argument
    return _WELL if service.readiness.recall() else _health(service)


async def _health(service: Service) -> Response:
    await service.readiness.require()
    return _WELL


async def readyz(service: Service, request: Request, argument: str) -> Response:
    """Answer ``GET /readyz``: which of the parts that issuing needs are well; 200 when all are, else 503.

    The causes are for the log: whoever asks may be anybody.
    """
    del request, argument
    vitals = service.authority.vitals
    checks: dict[str, str] = {}
    notes: list[str] = []
    for name, check in vitals.checks.items():
        try:
            await check()
            checks[name] = "ok"
        except ColdrootError as error:
            checks[name] = "failed"
            notes.append(f"{error.code}: {printable(error.message)}")
    well = not notes
    value = {"status": "ok" if well else "failed", "checks": checks, "issuerNotAfter": rfc3339(vitals.issuer_end)}
    if well:
        return json_response(200, value)
    return json_response(503, value, headers={"Retry-After": str(RETRY_SECONDS)}, note="; ".join(notes))


def version(service: Service, request: Request, argument: str) -> Response:
    """Answer ``GET /version``."""
    del request, argument
    return json_response(200, {"version": service.version})


def root(service: Service, request: Request, argument: str) -> Response:
    """Answer ``GET /root/{sha256}``: one root, own or federated, by the SHA-256 of its DER.

    A client asks this before it trusts anything, over TLS that it cannot verify, and compares the digest itself.

    Raises:
        NotFound: ``root.unknown``.
    """
    del request
    wanted = argument.replace("-", "").lower()
    hierarchy = service.authority.hierarchy
    for certificate in (*hierarchy.roots, *hierarchy.federated_roots):
        if fingerprint(certificate) == wanted:
            return json_response(200, {"ca": certificate_pem(certificate).decode("ascii")})
    shown = printable(argument, limit=128)
    raise NotFound("root.unknown", f'root certificate with fingerprint "{shown}" was not found')


def roots(service: Service, request: Request, argument: str) -> Response:
    """Answer ``GET /roots``."""
    del request, argument
    return _certificates(service.authority.hierarchy.roots)


def roots_pem(service: Service, request: Request, argument: str) -> Response:
    """Answer ``GET /roots.pem``."""
    del request, argument
    return _pem_file(service.authority.hierarchy.roots)


def federation(service: Service, request: Request, argument: str) -> Response:
    """Answer ``GET /federation``: the roots, then the roots of other CAs that clients shall trust too."""
    del request, argument
    hierarchy = service.authority.hierarchy
    return _certificates((*hierarchy.roots, *hierarchy.federated_roots))


def intermediates(service: Service, request: Request, argument: str) -> Response:
    """Answer ``GET /intermediates``."""
    del request, argument
    return _certificates(service.authority.hierarchy.chain)


def intermediates_pem(service: Service, request: Request, argument: str) -> Response:
    """Answer ``GET /intermediates.pem``."""
    del request, argument
    return _pem_file(service.authority.hierarchy.chain)


def provisioners(service: Service, request: Request, argument: str) -> Response:
    """Answer ``GET /provisioners?cursor=&limit=``: a page of provisioners and the cursor of the next one.

    Raises:
        RequestRejected: ``wire.limit`` or ``wire.query``.
    """
    del argument
    cursor, limit = _page_wanted(request.query)
    page, following = service.authority.registry.page(cursor, limit)
    shown: list[Json] = [each.public_json() for each in page]
    return json_response(200, {"provisioners": shown, "nextCursor": following})


def encrypted_key(service: Service, request: Request, argument: str) -> Response:
    """Answer ``GET /provisioners/{kid}/encrypted-key``.

    Raises:
        NotFound: ``provisioner.unknown``, also when the provisioner publishes no key.
    """
    del request
    try:
        kid = unquote(argument, errors="strict")
    except UnicodeDecodeError:
        kid = ""
    key = service.authority.registry.by_kid(kid).encrypted_key
    if key is None:
        raise NotFound("provisioner.no-key", "the provisioner publishes no encrypted key")
    return json_response(200, {"key": key})


def _page_wanted(query: str) -> tuple[str, int]:
    try:
        fields = parse_qs(query, keep_blank_values=True, errors="strict", max_num_fields=8)
    except ValueError:
        raise RequestRejected("wire.query", "the query is malformed") from None
    written = fields.get("limit", [""])[0]
    if written and not _NUMBER.fullmatch(written):
        raise RequestRejected("wire.limit", f"limit '{printable(written)}' is not an integer")
    return fields.get("cursor", [""])[0][:_LONGEST_CURSOR], int(written or 0)


def _certificates(certificates: Iterable[x509.Certificate]) -> Response:
    return json_response(201, {"crts": chain_pem(tuple(certificates))})


def _pem_file(certificates: Iterable[x509.Certificate]) -> Response:
    return Response(status=200, headers={"Content-Type": PEM_TYPE}, body=certificate_pem(*certificates))
