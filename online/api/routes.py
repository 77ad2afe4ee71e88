"""From a request to a response: identification, routing, and the last net under every handler.

Every path exists with and without the prefix ``/1.0``. A path is compared as it was sent: nothing is decoded,
folded or tidied first, so there is no second spelling of a path for a filter in front to miss. Every answer
is JSON (or PEM where a file was asked for), errors included: the step CLI cannot read anything else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from online.api import issuing, public
from online.api.crl import crl
from online.api.errors import EdgeError, edge_response, error_response, internal_response, unavailable_response
from online.api.messages import Request, Response
from online.api.service import Service
from online.metrics.attempt import Attempt
from online.metrics.meter import REKEYED, RENEWED, REVOKED, SIGNED, Meter
from shared.errors import ColdrootError, Fatal, NotFound, Unsupported

Endpoint = Callable[[Service, Request, str], Response | Awaitable[Response]]
"""Answers at once where nothing need be waited for."""

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


@dataclass(frozen=True, slots=True)
class _Route:
    """Where a path leads."""

    name: str
    """For counting: one of a few, whatever a caller sends."""
    methods: tuple[str, ...]
    endpoint: Endpoint


# Both spellings of each path without an argument: one look-up finds the way of nearly every request.
_ROUTES: Mapping[str, _Route] = MappingProxyType(
    {
        prefix + path: _Route(path, methods, endpoint)
        for path, (methods, endpoint) in _PLAIN.items()
        for prefix in ("", _VERSION_PREFIX)
    }
)
# One path segment is the argument.
_WITH_ARGUMENT: tuple[tuple[re.Pattern[str], _Route], ...] = (
    (re.compile(r"/root/([^/]{1,200})"), _Route("/root/{sha}", _READ, public.root)),
    (
        re.compile(r"/provisioners/([^/]{1,600})/encrypted-key"),
        _Route("/provisioners/{kid}/encrypted-key", _READ, public.encrypted_key),
    ),
)
_DRAWN = 4096
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


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
        self._ids = request_ids()
        self._meter = meter or Meter()
        self._stopped: Fatal | None = None

    def begin(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """Answer at once where nothing need be waited for; else return what to await. No exception comes out of either.

        A signature that came out wrong (``Fatal``, ``issue.*``) stops all issuing until the process is started
        again: whatever caused it must be looked at by a person first. Reading and revoking go on.
        """
        try:
            outcome = self._dispatch(request)
        except Exception as error:  # noqa: BLE001 (the last net: one request's bad luck must not end the worker)
            return self._failed(error)
        return outcome if isinstance(outcome, Response) else self._finish(outcome)

    async def handle(self, request: Request) -> Response:
        """Answer a request, as ``begin`` does, for callers that can wait."""
        outcome = self.begin(request)
        return outcome if isinstance(outcome, Response) else await outcome

    def request_id(self, headers: Mapping[str, str]) -> str:
        """Return the identifier of a request: the caller's when it is plain and short, else a new one.

        Args:
            headers: names in lower case.
        """
        for name in self._id_headers:
            given = headers.get(name, "")
            if _REQUEST_ID.fullmatch(given):
                return given
        return next(self._ids)

    def _dispatch(self, request: Request) -> Response | Awaitable[Response]:
        route, argument = _route(request.path)
        if self._only is not None and route.name not in self._only:
            raise NotFound("http.unknown-path", "there is nothing at this path of this address")
        methods, endpoint = route.methods, route.endpoint
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
            return endpoint(self._service, request, argument)
        return self._counted(family, endpoint, request, argument)

    async def _counted(self, family: str, endpoint: Endpoint, request: Request, argument: str) -> Response:
        with Attempt(self._meter, family):
            outcome = endpoint(self._service, request, argument)
            return outcome if isinstance(outcome, Response) else await outcome

    async def _finish(self, outcome: Awaitable[Response]) -> Response:
        try:
            return await outcome
        except Exception as error:  # noqa: BLE001 (as in ``begin``)
            return self._failed(error)

    def _failed(self, error: Exception) -> Response:
        if isinstance(error, EdgeError):
            return edge_response(error)
        if not isinstance(error, ColdrootError):
            return internal_response(error)
        if isinstance(error, Fatal) and error.code.startswith("issue."):
            self._stopped = error
        return error_response(error)


def endpoint_name(path: str) -> str:
    """Return the name of a path's endpoint for counting: one of a few, whatever a caller sends.

    Args:
        path: as it was sent, without the query.
    """
    plain = _ROUTES.get(path)
    if plain is not None:
        return plain.name
    found = _route_with_argument(path)
    return found[0].name if found is not None else "other"


def _route(path: str) -> tuple[_Route, str]:
    plain = _ROUTES.get(path)
    if plain is not None:
        return plain, ""
    found = _route_with_argument(path)
    if found is not None:
        return found
    if _ABSENT.fullmatch(path):
        raise Unsupported("http.absent", "this part of step-ca's interface is not served")
    raise NotFound("http.unknown-path", "there is nothing at this path")


def _route_with_argument(path: str) -> tuple[_Route, str] | None:
    short = path.removeprefix(_VERSION_PREFIX) if path.startswith(f"{_VERSION_PREFIX}/") else path
    for pattern, route in _WITH_ARGUMENT:
        match = pattern.fullmatch(short)
        if match is not None:
            return route, match[1]
    return None


def request_ids() -> Iterator[str]:
    """Yield random UUIDs of version 4 (RFC 9562 §5.4), without end; the library for them takes five times as long.

    Randomness is drawn for many at once. To be called after a process has forked: a copy would yield the same ones.
    """
    while True:
        drawn = os.urandom(_DRAWN).hex()
        for at in range(0, 2 * _DRAWN, 32):
            one = drawn[at : at + 32]
            yield f"{one[:8]}-{one[8:12]}-4{one[13:16]}-{_VARIANT[one[16]]}{one[17:20]}-{one[20:]}"


def _check_origin(headers: Mapping[str, str]) -> None:
    """Refuse what a page in somebody's browser could send to the node without the browser asking first.

    step's own clients send JSON or no type at all; ``curl -d`` sends a form's type, which therefore passes
    unless a browser says that it is one.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    from_a_page = any(name in headers for name in _FROM_A_PAGE)
    if kind in _NEVER_JSON or (from_a_page and kind == _FORM):
        raise EdgeError(415, "The content type must be application/json.")
