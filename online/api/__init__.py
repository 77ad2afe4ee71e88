"""step-ca's HTTP interface as a function from requests to responses, without a socket in it."""

from __future__ import annotations

from online.api.errors import EdgeError, edge_response, internal_response, unavailable_response
from online.api.messages import Request, Response
from online.api.routes import Api
from online.api.service import Issuing, Service

__all__ = [
    "Api",
    "EdgeError",
    "Issuing",
    "Request",
    "Response",
    "Service",
    "edge_response",
    "internal_response",
    "unavailable_response",
]
