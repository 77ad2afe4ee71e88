"""From a request to a response: identification, routing, and the last net under every handler.

Every path exists with and without the prefix ``/1.0``. A path is compared as it was sent: nothing is decoded,
folded or tidied first, so there is no second spelling of a path for a filter in front to miss. Every answer
is JSON (or PEM where a file was asked for), errors included: the step CLI cannot read anything else.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any

from online.api import issuing, public
from online.api.crl import crl
from online.api.errors import EdgeError, edge_response, error_response, internal_response, unavailable_response
from online.api.messages import Request, Response
from online.api.service import Service
from online.metrics.attempt import attempt
from online.metrics.meter import REKEYED, RENEWED, REVOKED, SIGNED, Meter
from shared.errors import ColdrootError, Fatal, NotFound, Unsupported

Endpoint = Callable[[Service, Request, str], Awaitable[Response]]

_VERSION_PREFIX = "/1.0"
_READ = ("GET", "HEAD")
_WRITE = ("POST",)
_PLAIN: Mapping[str, tuple[tuple[str, ...], Endpoint]] = MappingProxyType(
    {
        "/health": (_READ, public.health),
        "/readyz": (_READ, public.readyz),
        "/version": (_READ, public.version),
        "/roots": (_READ, public.roots),
        "/roots.pem": (_READ, public.roots_pem),
        "/intermediates": (_READ, public.intermediates),
        "/intermediates.pem": (_READ, public.intermediates_pem),
        "/federation": (_READ, public.federation),
        "/provisioners": (_READ, public.provisioners),
        "/crl": (_READ, crl),
        "/sign": (_WRITE, issuing.sign),
        "/renew": (_WRITE, issuing.renew),
        "/re-sign": (_WRITE, issuing.renew),
        "/rekey": (_WRITE, issuing.rekey),
        "/revoke": (_WRITE, issuing.revoke),
    }
)
# One path segment is the argument.
_WITH_ARGUMENT: tuple[tuple[re.Pattern[str], tuple[str, ...], Endpoint], ...] = (
    (re.compile(r"/root/([^/]{1,200})"), _READ, public.root),
    (re.compile(r"/provisioners/([^/]{1,600})/encrypted-key"), _READ, public.encrypted_key),
)
_NAMES_WITH_ARGUMENT = ("/root/{sha}", "/provisioners/{kid}/encrypted-key")
# The endpoints whose outcomes are counted.
_COUNTED: Mapping[Endpoint, str] = MappingProxyType(
    {
        issuing.sign: SIGNED,
        issuing.renew: RENEWED,
        issuing.rekey: REKEYED,
        issuing.revoke: REVOKED,
    }
)
# Parts of step-ca's interface that this node does not have: 501 tells a client not to look for a typing error.
_ABSENT = re.compile(r"/(?:ssh|acme|scep|admin|2\.0/acme)/.+|/(?:sign-ssh|1\.0/ssh/.+)")

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}", re.ASCII)
# A page in a browser may send these three without asking (CORS "simple requests").
_NEVER_JSON = frozenset({"text/plain", "multipart/form-data"})
_FORM = "application/x-www-form-urlencoded"
_FROM_A_PAGE = ("origin", "sec-fetch-site")


class Api:
    """The server-neutral handler: one call a request, no exception comes out."""

    def __init__(
        self, service: Service, *, trace_header: str, meter: Meter | None = None, only: frozenset[str] | None = None
    ) -> None:
        """Take a node into service.

        Args:
            service: the node.
            trace_header: a header whose value identifies a request that has no ``X-Request-Id``.
            meter: counts what is issued and refused.
            only: the endpoints that there are, without the prefix; all when not given.
        """
        self._only = only
        self._service = service
        self._id_headers = ("x-request-id", trace_header.lower())
        self._meter = meter or Meter()
        self._stopped: Fatal | None = None

    def begin(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """Answer at once where nothing need be waited for; else return what to await."""
        return self.handle(request)

    async def handle(self, request: Request) -> Response:
        """Answer a request.

        A signature that came out wrong (``Fatal``, ``issue.*``) stops all issuing until the process is started
        again: whatever caused it must be looked at by a person first. Reading and revoking go on.
        """
        try:
            return await self._answer(request)
        except EdgeError as error:
            return edge_response(error)
        except ColdrootError as error:
            if isinstance(error, Fatal) and error.code.startswith("issue."):
                self._stopped = error
            return error_response(error)
        except Exception as error:  # noqa: BLE001 (the last net: one request's bad luck must not end the worker)
            return internal_response(error)

    def request_id(self, headers: Mapping[str, str]) -> str:
        """Return the identifier of a request: the caller's when it is plain and short, else a new one.

        Args:
            headers: names in lower case.
        """
        for name in self._id_headers:
            given = headers.get(name, "")
            if _REQUEST_ID.fullmatch(given):
                return given
        return str(uuid.uuid4())

    async def _answer(self, request: Request) -> Response:
        methods, endpoint, argument = _route(request.path)
        if self._only is not None and endpoint_name(request.path) not in self._only:
            raise NotFound("http.unknown-path", "there is nothing at this path of this address")
        if request.method not in methods:
            raise EdgeError(405, "The method is not allowed for this path.", headers={"Allow": ", ".join(methods)})
        if methods is _WRITE:
            _check_origin(request.headers)
            if self._stopped is not None and endpoint is not issuing.revoke:
                return unavailable_response(f"issuing has stopped after {self._stopped.code}")
        elif self._stopped is not None and endpoint in {public.health, public.readyz}:
            return unavailable_response(f"issuing has stopped after {self._stopped.code}")
        family = _COUNTED.get(endpoint)
        if family is None:
            return await endpoint(self._service, request, argument)
        with attempt(self._meter, family):
            return await endpoint(self._service, request, argument)


def endpoint_name(path: str) -> str:
    """Return the name of a path's endpoint for counting: one of a few, whatever a caller sends.

    Args:
        path: as it was sent, without the query.
    """
    short = path.removeprefix(_VERSION_PREFIX) if path.startswith(f"{_VERSION_PREFIX}/") else path
    if short in _PLAIN:
        return short
    for name, (pattern, _, _) in zip(_NAMES_WITH_ARGUMENT, _WITH_ARGUMENT, strict=True):
        if pattern.fullmatch(short):
            return name
    return "other"


def _route(path: str) -> tuple[tuple[str, ...], Endpoint, str]:
    short = path.removeprefix(_VERSION_PREFIX) if path.startswith(f"{_VERSION_PREFIX}/") else path
    plain = _PLAIN.get(short)
    if plain is not None:
        return *plain, ""
    for pattern, methods, endpoint in _WITH_ARGUMENT:
        match = pattern.fullmatch(short)
        if match is not None:
            return methods, endpoint, match[1]
    if _ABSENT.fullmatch(path):
        raise Unsupported("http.absent", "this part of step-ca's interface is not served")
    raise NotFound("http.unknown-path", "there is nothing at this path")


def _check_origin(headers: Mapping[str, str]) -> None:
    """Refuse what a page in somebody's browser could send to the node without the browser asking first.

    step's own clients send JSON or no type at all; ``curl -d`` sends a form's type, which therefore passes
    unless a browser says that it is one.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    from_a_page = any(name in headers for name in _FROM_A_PAGE)
    if kind in _NEVER_JSON or (from_a_page and kind == _FORM):
        raise EdgeError(415, "The content type must be application/json.")
