"""Small hierarchies with software keys, made by the product's own signing path."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from cryptography import x509

from shared import keys, names
from shared.issue import IssuanceRequest, Issuer, issue, prepare
from shared.keys import KeyKind
from shared.profile import intermediate_profile, root_profile
from shared.serials import random_serial

BEGIN = datetime(2026, 11, 23, 0, 0, tzinfo=UTC)


def make_root(
    *, common: str = "Test Root CA", kind: KeyKind = KeyKind.EC_P256, begin: datetime = BEGIN
) -> tuple[x509.Certificate, keys.PrivateKey]:
    """Return a self-signed root of ten years and its key."""
    key = keys.generate(kind)
    name = names.subject(common=common, organization="Test")
    request = IssuanceRequest(
        subject=name,
        public_key=key.public_key(),
        serial=random_serial(os.urandom),
        not_before=begin,
        not_after=begin + timedelta(days=3650),
    )
    return issue(prepare(root_profile(), request, Issuer.new_root(name, key.public_key())), key), key


def make_intermediate(
    root: x509.Certificate,
    root_key: keys.PrivateKey,
    *,
    common: str = "Test Intermediate CA",
    kind: KeyKind = KeyKind.EC_P256,
    days: int = 1825,
) -> tuple[x509.Certificate, keys.PrivateKey]:
    """Return an intermediate under a root, and its key."""
    key = keys.generate(kind)
    begin = root.not_valid_before_utc
    request = IssuanceRequest(
        subject=names.subject(common=common, organization="Test"),
        public_key=key.public_key(),
        serial=random_serial(os.urandom),
        not_before=begin,
        not_after=begin + timedelta(days=days),
    )
    return issue(prepare(intermediate_profile(), request, Issuer.from_certificate(root)), root_key), key
