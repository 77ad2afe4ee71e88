"""Which answers of a CA are the successor of a certificate, and which are anything else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from fakes.step_ca import FakeCa

from online.renewal.check import check_issued, check_successor
from shared import keys
from shared.errors import PeerFailed
from shared.keys import KeyKind

CA = FakeCa()
KEY = keys.generate(KeyKind.EC_P256).public_key()
NOW = datetime.now(UTC)
OLD = CA.leaf(KEY, "foo.local", "10.0.0.7", begin=NOW - timedelta(hours=20))[0]
Chain = tuple[x509.Certificate, ...]


def test_a_successor_passes() -> None:
    """The ordinary case, and that of a renewal within the same second as the issue."""
    check_successor(CA.leaf(KEY, "foo.local", "10.0.0.7"), old=OLD, key=KEY, roots=(CA.root,), now=datetime.now(UTC))
    begin = OLD.not_valid_before_utc
    twin = CA.leaf(KEY, "foo.local", "10.0.0.7", begin=begin)
    check_successor(twin, old=OLD, key=KEY, roots=(CA.root,), now=datetime.now(UTC))


def test_a_rekeyed_successor_passes_for_the_new_key_only() -> None:
    """After a rekey the old key must not come back, and the new one must be ours."""
    new = keys.generate(KeyKind.RSA).public_key()
    chain = CA.leaf(new, "foo.local", "10.0.0.7")
    check_successor(chain, old=OLD, key=new, roots=(CA.root,), now=datetime.now(UTC))
    with pytest.raises(PeerFailed, match="another key"):
        check_successor(chain, old=OLD, key=KEY, roots=(CA.root,), now=datetime.now(UTC))


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda: CA.leaf(keys.generate(KeyKind.EC_P256).public_key(), "foo.local", "10.0.0.7"), "issued.other-key"),
        (lambda: FakeCa().leaf(KEY, "foo.local", "10.0.0.7"), "trust.chain"),
        (lambda: CA.leaf(KEY, "foo.local"), "renew.other-names"),
        (lambda: CA.leaf(KEY, "bar.local", "10.0.0.7"), "renew.other-names"),
        (lambda: (OLD, CA.intermediate), "renew.not-newer"),
        (lambda: CA.leaf(KEY, "foo.local", "10.0.0.7", life=timedelta(hours=1)), "renew.not-newer"),
        (lambda: CA.leaf(KEY, "foo.local", "10.0.0.7", begin=NOW - timedelta(hours=22)), "renew.not-newer"),
        (lambda: (), "trust.chain"),
    ],
)
def test_anything_else_is_refused(answer: Callable[[], Chain], code: str) -> None:
    """Each would leave the server with a certificate that it cannot use, or that is worse than the one in hand."""
    with pytest.raises(PeerFailed) as caught:
        check_successor(answer(), old=OLD, key=KEY, roots=(CA.root,), now=datetime.now(UTC))
    assert caught.value.code == code


def test_a_first_certificate_must_be_for_our_key() -> None:
    """A CA that mixes up two requests must be noticed before the pair is written."""
    with pytest.raises(PeerFailed, match="another key"):
        check_issued(
            CA.leaf(keys.generate(KeyKind.EC_P256).public_key(), "x.local"), KEY, (CA.root,), now=datetime.now(UTC)
        )
