"""The endpoints that issue, and the one that revokes. They translate; the authority decides."""

from __future__ import annotations

from collections.abc import Mapping

from online.api.messages import JSON_HEADERS, Request, Response, json_response
from online.api.service import Service
from online.api.wire import read_rekey, read_revoke, read_sign
from online.authority import PeerCertificate, RenewToken
from online.hierarchy import Chain
from shared.errors import RequestRejected
from shared.pem import certificate_pem


async def sign(service: Service, request: Request, argument: str) -> Response:
    """Answer ``POST /sign``: a leaf for a token.

    Raises:
        ColdrootError: ``wire.*``, or what ``Authority.sign`` raises.
    """
    del argument
    wanted = read_sign(request.body)
    chain = await service.authority.sign(
        wanted.csr, wanted.token, not_before=wanted.not_before, not_after=wanted.not_after
    )
    return _issued(service, chain)


async def renew(service: Service, request: Request, argument: str) -> Response:
    """Answer ``POST /renew``: the peer's own certificate again, by mTLS or by a token of the certificate's key.

    The body means nothing and is not looked at. A client certificate goes before a token, as in step-ca.

    Raises:
        ColdrootError: ``wire.missing-certificate``, or what ``Authority.renew`` raises.
    """
    del argument
    return _issued(service, await service.authority.renew(_proof(request)))


async def rekey(service: Service, request: Request, argument: str) -> Response:
    """Answer ``POST /rekey``: the peer's certificate for another key, by mTLS, or by a token of the old key.

    Raises:
        ColdrootError: ``wire.*``, or what ``Authority.rekey`` raises.
    """
    del argument
    proof = _proof(request)
    return _issued(service, await service.authority.rekey(proof, read_rekey(request.body)))


async def revoke(service: Service, request: Request, argument: str) -> Response:
    """Answer ``POST /revoke``: by a revocation token, or by the certificate itself.

    Raises:
        ColdrootError: ``wire.*``, or what ``Authority.revoke`` raises.
    """
    del argument
    wanted = read_revoke(request.body)
    if wanted.token is None and request.peer is None:
        raise RequestRejected("wire.missing-proof", "missing ott or client certificate")
    await service.authority.revoke(
        serial=wanted.serial,
        token=wanted.token,
        peer=PeerCertificate(certificate=request.peer) if request.peer is not None else None,
        reason_code=wanted.reason_code,
        reason=wanted.reason,
    )
    return json_response(200, {"status": "ok"}, note=f"serial={wanted.serial}")


def _issued(service: Service, chain: Chain) -> Response:
    """Answer with a leaf: ``ca`` is its issuer, ``certChain`` leads from the leaf up to, but without, the root."""
    # PEM has no character that JSON escapes but the end of a line.
    leaf = certificate_pem(chain[0]).replace(b"\n", b"\\n")
    before, between, behind = service.around_leaf
    body = b"".join((before, leaf, between, leaf, behind))
    return Response(status=201, headers=JSON_HEADERS, body=body, note=f"serial={chain[0].serial_number}")


def _proof(request: Request) -> PeerCertificate | RenewToken:
    """Return what shows whose certificate is meant: the peer's own, else a token."""
    if request.peer is not None:
        return PeerCertificate(certificate=request.peer)
    token = _bearer(request.headers)
    if token is None:
        raise RequestRejected("wire.missing-certificate", "missing client certificate")
    return RenewToken(text=token)


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    # RFC 9110 §11.1: the scheme's case does not matter (step-ca insists on it).
    return token.strip() or None if scheme.lower() == "bearer" else None
