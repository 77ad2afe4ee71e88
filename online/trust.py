"""Whom the client trusts, how that begins, and whether a chain holds under it.

Invariants: trust begins with a fingerprint that a person (or a token that a person was given) vouches for, never
with whatever a server shows; a root file that does not hold the pinned root is refused; a chain counts only
when every signature, name, date and CA flag up to a trusted root was checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from online.client import Client, fetch_root
from online.home import Defaults, Home, load_defaults, parse_fingerprint
from online.https import CaUrl, parse_ca_url
from shared import durable
from shared.errors import PeerFailed, RequestRejected
from shared.keys import fingerprint
from shared.names import format_name
from shared.pem import certificate_pem, load_certificates

# A CA backdates by a minute; a client's clock may be off by as much again.
_CLOCK_SKEW = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """A CA and the roots that it must chain to."""

    url: CaUrl
    roots: tuple[x509.Certificate, ...]

    def client(self) -> Client:
        """Return a client of this CA."""
        return Client(self.url, roots=self.roots)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenHint:
    """What an unverified token tells about the CA that it was made for."""

    url: CaUrl | None
    fingerprint: str | None


def resolve(
    home: Home, *, ca_url: str | None = None, root: Path | None = None, token: TokenHint | None = None
) -> Trust:
    """Decide which CA is meant and which roots it must chain to.

    1. The address: the option, else ``defaults.json``, else the token's audience.
    2. The roots: the option, else the file that ``defaults.json`` names, else ``certs/root_ca.crt`` of the
       home, else the root that the token's ``sha`` names, fetched from the CA and proven by that fingerprint.
    3. A pinned fingerprint of ``defaults.json`` must be among the roots, unless the option chose them.
    4. A token made for another root is refused before it is sent anywhere: it would be spent for nothing.

    Args:
        home: the client's home; it may be empty.
        ca_url: ``--ca-url``.
        root: ``--root``.
        token: what the one-time token tells, if there is one.

    Raises:
        RequestRejected: ``trust.no-ca-url``, ``trust.no-root``, ``trust.pin`` or ``trust.token``.
        PeerFailed: the root could not be fetched.
    """
    defaults = load_defaults(home)
    # 1.
    url = _url(ca_url, defaults, token)
    # 2.
    file = root or _root_file(home, defaults)
    if file is None:
        if token is None or token.fingerprint is None:
            raise RequestRejected(
                "trust.no-root",
                "no root certificate is known",
                hint="run online bootstrap --ca-url URL --fingerprint HEX first, or give --root FILE",
            )
        return Trust(url=url, roots=(fetch_root(url, token.fingerprint),))
    roots = load_certificates(durable.read_file(file), what=f"root file {file}")
    known = {fingerprint(each) for each in roots}
    # 3.
    if root is None and defaults.fingerprint is not None and defaults.fingerprint not in known:
        raise RequestRejected(
            "trust.pin",
            f"{file} does not hold the root that {home.defaults} pins",
            hint="fetch it again with online bootstrap --force, after checking the fingerprint",
        )
    # 4.
    if token is not None and token.fingerprint is not None and token.fingerprint not in known:
        raise RequestRejected("trust.token", "the token was made for a CA with another root")
    return Trust(url=url, roots=roots)


def bootstrap(home: Home, *, ca_url: str, wanted: str, force: bool) -> x509.Certificate:
    """Fetch a CA's root by its fingerprint and make this home trust it.

    Args:
        home: gets ``certs/root_ca.crt`` and ``config/defaults.json``.
        ca_url: address of the CA.
        wanted: SHA-256 fingerprint of its root.
        force: replace the trust in another CA.

    Raises:
        RequestRejected: ``trust.other-ca`` when the home trusts another CA and ``force`` is not given;
            ``trust.own-ca`` when it is the home of a CA under another root.
        PeerFailed: ``trust.wrong-root`` or ``ca.*``.
    """
    url = parse_ca_url(ca_url)
    digest = parse_fingerprint(wanted)
    defaults = load_defaults(home)
    root_path = home.root_certificate
    others = {fingerprint(each) for each in _installed(root_path)} | ({defaults.fingerprint} - {None})
    known_url = defaults.ca_url is None or parse_ca_url(defaults.ca_url) == url
    if others - {digest} and home.config.exists():
        raise RequestRejected(
            "trust.own-ca",
            f"{home.path} is the home of a CA, and stands under its own root",
            hint="choose another --home",
        )
    if (others - {digest} or not known_url) and not force:
        raise RequestRejected(
            "trust.other-ca",
            f"{home.path} already trusts another CA or address",
            hint="choose another --home, or replace it with --force",
        )
    root = fetch_root(url, digest)
    for directory in (root_path.parent, home.defaults.parent):
        durable.make_directory(directory, private=True)
    with durable.Staging() as staging:
        staging.add(root_path, certificate_pem(root), overwrite=True)
        content = Defaults(ca_url=str(url), fingerprint=digest, root=root_path).encode(home)
        staging.add(home.defaults, content, overwrite=True)
    return root


def check_chain(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], *, now: datetime) -> None:
    """Insist that a chain as a CA sends it leads to a trusted root.

    1. Every certificate is signed by the next one, whose subject is its issuer; the last one by a root.
    2. Every issuer is a CA that may sign certificates, with a long enough path length (RFC 5280 §4.2.1.9).
    3. Every certificate is valid now, give or take two minutes of clock skew at its beginning.

    Args:
        chain: leaf first, root left out.
        roots: what is trusted.
        now: aware UTC.

    Raises:
        PeerFailed: ``trust.chain``.
    """
    if not chain:
        raise PeerFailed("trust.chain", "the certificate chain is empty")
    issuers: list[x509.Certificate] = [*chain[1:]]
    anchor = next((root for root in roots if _issued(chain[-1], root)), None)
    # 1.
    if anchor is None:
        raise PeerFailed("trust.chain", f"{format_name(chain[-1].subject)} is not signed by a trusted root")
    issuers.append(anchor)
    for subject, issuer in zip(chain, issuers, strict=True):
        if not _issued(subject, issuer):
            raise PeerFailed("trust.chain", f"{format_name(subject.subject)} is not signed by the next in the chain")
    # 2.
    for depth, issuer in enumerate(issuers):
        _check_authority(issuer, depth)
    # 3.
    for each in (*chain, anchor):
        if not each.not_valid_before_utc - _CLOCK_SKEW <= now < each.not_valid_after_utc:
            raise PeerFailed(
                "trust.chain",
                f"{format_name(each.subject)} is not valid now",
                hint="is the clock of this machine right?",
            )


def _issued(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _check_authority(issuer: x509.Certificate, intermediates_below: int) -> None:
    try:
        basic = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        basic, usage = None, None
    if basic is None or usage is None or not basic.ca or not usage.key_cert_sign:
        raise PeerFailed("trust.chain", f"{format_name(issuer.subject)} may not sign certificates")
    if basic.path_length is not None and basic.path_length < intermediates_below:
        raise PeerFailed("trust.chain", f"{format_name(issuer.subject)} allows fewer CAs below it")


def _url(option: str | None, defaults: Defaults, token: TokenHint | None) -> CaUrl:
    named = option or defaults.ca_url
    if named is not None:
        return parse_ca_url(named)
    if token is not None and token.url is not None:
        return token.url
    raise RequestRejected(
        "trust.no-ca-url",
        "the address of the CA is not known",
        hint="give --ca-url https://ca.example.com, or run online bootstrap once",
    )


def _root_file(home: Home, defaults: Defaults) -> Path | None:
    # defaults.json names the root by an absolute path, as step wants it; a home that was moved or copied still has
    # its own beside it, and the pinned fingerprint judges either.
    if home.root_certificate.exists() and (defaults.root is None or not defaults.root.exists()):
        return home.root_certificate
    return defaults.root


def _installed(path: Path) -> tuple[x509.Certificate, ...]:
    return load_certificates(durable.read_file(path), what=f"root file {path}") if path.exists() else ()
