"""``online import``: the ceremony's reply becomes the node's intermediate certificate, or nothing changes.

What is insisted on (the numbers return in the code):

1. the reply is a sound bundle that answers the very request which this home sent;
2. its root is the pinned one: by ``online init``, or by the fingerprint given now, and both when both are there;
3. the root is a CA that signed itself;
4. the intermediate is signed by that root, and has the intermediate profile: the linter finds no error;
5. it is valid now;
6. its key is our own: the private key that the configuration names is opened and compared;
7. nothing else was installed before, unless ``online intermediate request`` asked for this one; the same reply again
   changes nothing.

Only then root, defaults and intermediate appear, the intermediate last: without it the node does not start. The next
intermediate of a node in use comes by ``online.next_intermediate``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cryptography import x509

from online.config import Config, load_config
from online.hierarchy import read_chain
from online.home import Defaults, Home, load_defaults
from online.next_intermediate import forget_waiting, load_waiting, put_into_service
from shared import durable
from shared.ca_extensions import ALLOWED_ON_CA
from shared.crossing import bundle, transfer
from shared.crossing.words import digest_words
from shared.errors import Fatal, RequestRejected
from shared.issue import lifetime, verify_signature
from shared.keys import certificate_key, fingerprint
from shared.keystore import open_key
from shared.lint import Severity, lint_certificate
from shared.lint.rules import Context
from shared.pem import certificate_pem, load_certificate, load_certificate_der
from shared.profile import intermediate_profile
from shared.terminal import SecretCallback


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What was installed."""

    root: x509.Certificate
    intermediate: x509.Certificate
    words: tuple[str, ...]
    """The digest of the reply in words, for the operator to compare with the ceremony's record."""
    certificate: Path
    """Where the intermediate is."""
    again: bool
    """The same reply had been imported before; nothing changed."""
    former: Path | None = None
    """The intermediate whose place it took."""


def adopt(
    home: Home,
    paths: Sequence[Path],
    *,
    pinned: str | None,
    secret: SecretCallback,
    now: datetime,
    keep_former: bool = True,
) -> Adopted:
    """Install the certificates that a ceremony sent back.

    Args:
        home: where ``online init`` made the node.
        paths: the reply: one bundle file, or its QR images in any order.
        pinned: SHA-256 fingerprint of the root, when ``online init`` was not given it.
        secret: asked for the password of the intermediate's key, or the PIN of its HSM.
        now: aware UTC.
        keep_former: whether what a former intermediate issued can still be renewed, when this one takes its place.

    Raises:
        RequestRejected: ``import.*``, ``intermediate.*``, ``bundle.*``, ``frame.*``, ``file.*`` or ``key.*``.
        Unauthenticated: the password or PIN is wrong.
        StoreFailed: ``file.write-failed``; nothing changed.
    """
    config = load_config(home.config)
    # 1.
    reply, data = transfer.read_bundle(paths, purpose=bundle.Purpose.INTERMEDIATE_REPLY)
    waiting = load_waiting(home)
    changes = waiting is not None and waiting.is_answered_by(reply)
    if not changes:
        _check_answers(home, reply)
    root = load_certificate_der(reply.members[bundle.ROOT], what="root in the reply")
    intermediate = load_certificate_der(reply.members[bundle.INTERMEDIATE], what="intermediate in the reply")
    # 2.
    defaults = load_defaults(home)
    _check_pin(home, defaults, root, pinned)
    # 3.
    _check_root(root)
    # 4.
    _check_intermediate(intermediate, root)
    # 5.
    for certificate, what in ((root, "root"), (intermediate, "intermediate")):
        if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
            raise RequestRejected(
                "import.dates", f"the {what} in the reply is not valid now", hint="is the clock of this machine right?"
            )
    # 6.
    own = waiting.key if waiting is not None and changes else config.key
    with open_key(own, _secret_of(config, secret), base=config.home) as key:
        if key.public_key() != certificate_key(intermediate):
            raise RequestRejected("import.other-key", "the intermediate in the reply is for another key than ours")
    # 7.
    adopted = Adopted(
        root=root,
        intermediate=intermediate,
        words=digest_words(bundle.digest(data)),
        certificate=config.crt,
        again=_installed(config.crt, intermediate, changes=changes),
    )
    if waiting is not None and changes:
        if adopted.again:
            forget_waiting(home)
            return adopted
        put_into_service(home, waiting, intermediate, keep_former=keep_former)
        return replace(adopted, certificate=home.path / waiting.certificate, former=config.crt)
    if not adopted.again:
        _install(home, config.crt, root, intermediate, defaults)
    return adopted


def _secret_of(config: Config, secret: SecretCallback) -> SecretCallback:
    password = config.password
    return secret if password is None else lambda _prompt: password.encode()


def _check_answers(home: Home, reply: bundle.Bundle) -> None:
    # The one of online init, and those of intermediates since, whose reply may come a second time.
    later = sorted(home.request.parent.glob(f"{home.request.stem}-*{home.request.suffix}"))
    requests = [home.request, *later] if home.request.exists() or not later else later
    known = {
        hashlib.sha256(durable.read_file(each, limit=bundle.LARGEST_BUNDLE_BYTES)).hexdigest() for each in requests
    }
    if reply.in_reply_to not in known:
        raise RequestRejected(
            "import.other-request",
            "the reply answers another request than the one that this home sent",
            hint="was it made for another node, or for an earlier online init?",
        )


def _check_pin(home: Home, defaults: Defaults, root: x509.Certificate, given: str | None) -> None:
    pins = {given, defaults.fingerprint} - {None}
    if home.root_certificate.exists():
        content = durable.read_file(home.root_certificate)
        pins.add(fingerprint(load_certificate(content, what=f"root file {home.root_certificate}")))
    if not pins:
        raise RequestRejected(
            "import.no-pin",
            "no root is pinned",
            hint="give --fingerprint with the root's fingerprint as the ceremony's witnesses wrote it down",
        )
    if pins != {fingerprint(root)}:
        raise RequestRejected("import.other-root", "the root in the reply is not the pinned one")


def _check_root(root: x509.Certificate) -> None:
    try:
        authority = root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        verify_signature(root, certificate_key(root))
    except (x509.ExtensionNotFound, ValueError, Fatal):
        authority = False
    if not authority or root.subject != root.issuer:
        raise RequestRejected("import.root", "the root in the reply is not a CA certificate signed by itself")


def _check_intermediate(intermediate: x509.Certificate, root: x509.Certificate) -> None:
    try:
        verify_signature(intermediate, certificate_key(root))
    except Fatal:
        raise RequestRejected("import.signature", "the intermediate in the reply is not signed by the root") from None
    # How long it may live was the ceremony's plan to say; here it must only stay within the root.
    context = Context(
        profile=intermediate_profile(allowed_extensions=ALLOWED_ON_CA, longest=lifetime(root)),
        issuer_name=root.subject,
        issuer_key=certificate_key(root),
        issuer=root,
    )
    for finding in lint_certificate(intermediate, context):
        if finding.severity is Severity.ERROR:
            raise RequestRejected(
                "import.profile", f"the intermediate in the reply: {finding.message} ({finding.citation})"
            )


def _installed(crt: Path, intermediate: x509.Certificate, *, changes: bool) -> bool:
    if not crt.exists():
        return False
    if read_chain(crt)[0] == intermediate:
        return True
    if not changes:
        raise RequestRejected(
            "import.exists",
            f"{crt} already holds another certificate",
            hint="nothing is overwritten: ask for the next intermediate by online intermediate request",
        )
    return False


def _install(home: Home, crt: Path, root: x509.Certificate, intermediate: x509.Certificate, defaults: Defaults) -> None:
    trusting = Defaults(ca_url=defaults.ca_url, fingerprint=fingerprint(root), root=home.root_certificate)
    with durable.Staging() as staging:
        if not home.root_certificate.exists():
            staging.add(home.root_certificate, certificate_pem(root))
        staging.add(home.defaults, trusting.encode(home), overwrite=True)
        staging.add(crt, certificate_pem(intermediate))
