"""The client of a CA that speaks step-ca's API: ours, or a real step-ca.

Invariants: every answer is read into a type or refused; a refusal keeps the CA's own reason and becomes the error
family that its status means; nothing here decides whether an answer may be *trusted* beyond TLS: a certificate
chain is checked by ``online.trust`` and ``online.renewal.check`` before it is installed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from online.home import parse_fingerprint
from online.https import Answer, CaUrl, Identity, exchange, unverified, verified
from shared.errors import (
    ColdrootError,
    NotFound,
    PeerFailed,
    PolicyDenied,
    RequestRejected,
    Unauthenticated,
    Unsupported,
)
from shared.keys import fingerprint
from shared.names import printable
from shared.pem import LARGEST_CRL_BYTES, load_certificate, load_certificates

Chain = tuple[x509.Certificate, ...]
"""A leaf and its intermediates, without the root."""

_PAGE = 100
_MOST_PAGES = 100
_MOST_CERTIFICATES = 64
_LONGEST_REASON = 400
_FAMILY: dict[int, tuple[type[ColdrootError], str]] = {
    400: (RequestRejected, "ca.rejected"),
    401: (Unauthenticated, "ca.unauthenticated"),
    403: (PolicyDenied, "ca.denied"),
    404: (NotFound, "ca.not-found"),
    413: (RequestRejected, "ca.rejected"),
    429: (PeerFailed, "ca.busy"),
    501: (Unsupported, "ca.unsupported"),
}


class AskedToWait(PeerFailed):
    """The CA could not answer now, and said when to come again."""

    def __init__(self, code: str, message: str, *, hint: str | None, seconds: float) -> None:
        """Make the error.

        Args:
            code: as for every error.
            message: the same.
            hint: the same.
            seconds: the CA's wish.
        """
        super().__init__(code, message, hint=hint)
        self.seconds = seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionerEntry:
    """A provisioner as the CA lists it."""

    name: str
    kind: str
    """Its type in upper case, for example ``JWK``."""
    kid: str
    """The thumbprint of its key; empty when it has none."""
    encrypted_key: str
    """The JWE of its private key; empty when the CA keeps it back."""
    json: Mapping[str, object]
    """All that the CA said."""


class Client:
    """Speaks to one CA, verified against its roots. Holds no connection between calls."""

    def __init__(self, url: CaUrl, *, roots: Sequence[x509.Certificate]) -> None:
        """Take the address and the roots that the CA's TLS certificate must chain to."""
        self.url = url
        self._roots = tuple(roots)
        self._context = verified(self._roots)

    def health(self) -> str:
        """Return the CA's own word about itself: ``ok``."""
        return _text(self._get("/health"), "status")

    def version(self) -> str:
        """Return the CA's version."""
        return _text(self._get("/version"), "version")

    def roots(self) -> Chain:
        """Return the roots that the CA stands under."""
        return _certificates(self._get("/roots"), "crts")

    def federation(self) -> Chain:
        """Return the roots and those of federated CAs."""
        return _certificates(self._get("/federation"), "crts")

    def intermediates(self) -> Chain:
        """Return the intermediates that sign leaves."""
        return _certificates(self._get("/intermediates"), "crts")

    def crl(self) -> bytes:
        """Return the revocation list of the CA, in DER, as it came.

        Raises:
            NotFound: ``ca.not-found`` when the CA publishes none.
        """
        accept = {"Accept": "application/pkix-crl"}
        answer = exchange(self.url, "GET", "/crl", context=self._context, headers=accept, largest=LARGEST_CRL_BYTES)
        if answer.status != 200:  # noqa: PLR2004 (OK)
            _judge(answer)
            raise _malformed("revocation list")
        return answer.body

    def provisioners(self) -> tuple[ProvisionerEntry, ...]:
        """Return all provisioners, page by page.

        Raises:
            PeerFailed: ``ca.malformed-answer``, also when the pages never end.
        """
        found: list[ProvisionerEntry] = []
        cursor = ""
        for _ in range(_MOST_PAGES):
            page = self._get(f"/provisioners?limit={_PAGE}" + (f"&cursor={quote(cursor, safe='')}" if cursor else ""))
            entries = page.get("provisioners") or []
            if not isinstance(entries, list):
                raise _malformed("provisioners")
            found.extend(_provisioner(each) for each in entries)
            cursor = _text(page, "nextCursor", default="")
            if not cursor:
                return tuple(found)
        raise _malformed("nextCursor")

    def encrypted_key(self, kid: str) -> str:
        """Return the encrypted private key of a provisioner, a compact JWE.

        Raises:
            NotFound: ``ca.not-found`` for an unknown key, or one that the CA keeps back.
        """
        return _text(self._get(f"/provisioners/{quote(kid, safe='')}/encrypted-key"), "key")

    def sign(
        self,
        csr: x509.CertificateSigningRequest,
        token: str,
        *,
        not_before: str = "",
        not_after: str = "",
        template_data: Mapping[str, object] | None = None,
    ) -> Chain:
        """Have a request signed.

        Args:
            csr: carries the public key.
            token: a one-time token for the names.
            not_before: RFC 3339, a Go duration from now, or empty for the CA's choice.
            not_after: the same.
            template_data: free data for the CA's templates.

        Raises:
            Unauthenticated: the token does not hold.
            PolicyDenied: names or times are not allowed.
        """
        body: dict[str, object] = {"csr": _csr_pem(csr), "ott": token, "notAfter": not_after, "notBefore": not_before}
        if template_data:
            body["templateData"] = template_data
        return _chain(self._call("POST", "/sign", body))

    def renew(self, *, identity: Identity | None = None, token: str | None = None) -> Chain:
        """Renew a certificate, proven by TLS or by a token that its key signed.

        Args:
            identity: the certificate and its key, for mutual TLS.
            token: a renew token, when there is no ``identity``.

        Raises:
            Unauthenticated: the CA does not renew this certificate.
        """
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return _chain(self._call("POST", "/renew", None, identity=identity, headers=headers))

    def rekey(
        self, csr: x509.CertificateSigningRequest, *, identity: Identity | None = None, token: str | None = None
    ) -> Chain:
        """Renew a certificate for the new public key of a request, proven by TLS or by a token of the old key.

        Args:
            csr: carries the new public key.
            identity: the certificate and its key, for mutual TLS.
            token: a rekey token for this request, when there is no ``identity``. A step-ca does not take one.

        Raises:
            Unauthenticated: the CA does not renew this certificate.
        """
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return _chain(self._call("POST", "/rekey", {"csr": _csr_pem(csr)}, identity=identity, headers=headers))

    def revoke(
        self, serial: int, *, reason_code: int, reason: str, token: str | None = None, identity: Identity | None = None
    ) -> None:
        """Revoke a certificate: it is not renewed any more.

        Args:
            serial: of the certificate.
            reason_code: RFC 5280 §5.3.1.
            reason: free text.
            token: a revoke token for the serial, or
            identity: the certificate itself with its key.

        Raises:
            RequestRejected: ``ca.rejected`` when it is revoked already.
        """
        body: dict[str, object] = {"serial": str(serial), "ott": token or "", "reasonCode": reason_code}
        body |= {"reason": reason, "passive": True}
        self._call("POST", "/revoke", body, identity=identity)

    def _get(self, path: str) -> Mapping[str, object]:
        return self._call("GET", path, None)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        *,
        identity: Identity | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Mapping[str, object]:
        encoded = json.dumps(body).encode("utf-8") if body is not None else (b"" if method == "POST" else None)
        answer = exchange(
            self.url,
            method,
            path,
            context=verified(self._roots, identity) if identity is not None else self._context,
            body=encoded,
            headers=headers,
            shows_certificate=identity is not None,
        )
        return _judge(answer)


def fetch_root(url: CaUrl, wanted: str) -> x509.Certificate:
    """Fetch a root by its fingerprint from a CA that is not trusted yet.

    TLS is not verified, because nothing is known to verify it with: the fingerprint proves the answer.

    Args:
        url: the CA.
        wanted: SHA-256 of the root's DER in hex.

    Raises:
        NotFound: ``ca.not-found`` when the CA does not know the root.
        PeerFailed: ``trust.wrong-root`` when the answer does not have the fingerprint.
    """
    digest = parse_fingerprint(wanted)
    answer = _judge(exchange(url, "GET", f"/root/{digest}", context=unverified()))
    try:
        root = load_certificate(_text(answer, "ca").encode("utf-8"), what="root that the CA sent")
    except RequestRejected as error:
        raise PeerFailed("ca.malformed-answer", error.message) from None
    if fingerprint(root) != digest:
        raise PeerFailed(
            "trust.wrong-root",
            f"{url} sent a root with another fingerprint than the one asked for",
            hint="somebody may sit between you and the CA: check the address and the fingerprint",
        )
    return root


def _judge(answer: Answer) -> Mapping[str, object]:
    """Turn an answer into its JSON object, or into the error that its status means."""
    try:
        content = json.loads(answer.body.decode("utf-8")) if answer.body else {}
    except (ValueError, RecursionError):
        content = None
    if answer.status in {200, 201} and isinstance(content, dict):
        return content
    where = f"its log tells more about the request {answer.request_id}" if answer.request_id else None
    if answer.status in {200, 201} or 300 <= answer.status < 400:  # noqa: PLR2004 (redirections)
        raise PeerFailed(
            "ca.malformed-answer", f"the CA's answer is not the JSON that is due ({answer.status})", hint=where
        )
    reason = content.get("message") if isinstance(content, dict) else None
    shown = printable(reason, limit=_LONGEST_REASON) if isinstance(reason, str) else "no readable reason given"
    family, code = _FAMILY.get(answer.status, (PeerFailed, "ca.failed"))
    told = f"the CA answers {answer.status}: {shown}"
    if family is PeerFailed and answer.retry_after > 0:
        told += f" (it asks to come again in {math.ceil(answer.retry_after)} s)"
        raise AskedToWait(code, told, hint=where, seconds=answer.retry_after)
    raise family(code, told, hint=where)


def _chain(answer: Mapping[str, object]) -> Chain:
    if answer.get("certChain"):
        return _certificates(answer, "certChain")
    # Old CAs send the two certificates on their own.
    return (*_parse(_text(answer, "crt"), "crt"), *_parse(_text(answer, "ca"), "ca"))


def _certificates(answer: Mapping[str, object], key: str) -> Chain:
    texts = answer.get(key)
    if not isinstance(texts, list) or not 0 < len(texts) <= _MOST_CERTIFICATES:
        raise _malformed(key)
    found: list[x509.Certificate] = []
    for text in texts:
        if not isinstance(text, str):
            raise _malformed(key)
        found.extend(_parse(text, key))
    return tuple(found)


def _parse(text: str, key: str) -> Chain:
    try:
        return load_certificates(text.encode("utf-8"), what=f"answer's {key}")
    except (RequestRejected, UnicodeEncodeError):
        raise _malformed(key) from None


def _provisioner(entry: object) -> ProvisionerEntry:
    if not isinstance(entry, dict):
        raise _malformed("provisioners")
    key = entry.get("key")
    return ProvisionerEntry(
        name=_text(entry, "name"),
        kind=_text(entry, "type").upper(),
        kid=_text(key, "kid", default="") if isinstance(key, dict) else "",
        encrypted_key=_text(entry, "encryptedKey", default=""),
        json=entry,
    )


def _text(answer: Mapping[str, object], key: str, *, default: str | None = None) -> str:
    value = answer.get(key, default)
    if not isinstance(value, str):
        raise _malformed(key)
    return value


def _malformed(key: str) -> PeerFailed:
    return PeerFailed("ca.malformed-answer", f"the CA's answer holds no usable {key}")


def _csr_pem(csr: x509.CertificateSigningRequest) -> str:
    return csr.public_bytes(Encoding.PEM).decode("ascii")
