"""What is published about a set of shares, and how a single share is checked against it.

A commitment is a digest of one share. Publishing it lets a custodian check the sheet years later, alone,
without bringing a quorum together; and it lets a ceremony say *which* share is wrong before any are combined.
It tells nothing about the share: a share's value is as random as the secret itself (256 bits).

Invariant: a ``Share`` in hand is known to be that share of that set; it comes from ``split`` or from
``ShareCommitments.recognise`` only.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ceremony.share_words import MOST_SHARES, EnteredShare
from shared.errors import RequestRejected

SET_ID_BYTES = 16
LEAST_THRESHOLD = 2
MOST_IDENTIFIER = (1 << 15) - 1

_SHARE_TAG = b"coldroot share commitment v1\0"
_SET_ID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MEMBERS = frozenset({"set_id", "identifier", "threshold", "count", "shares", "secret"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One share of a known set."""

    index: int
    words: tuple[str, ...] = field(repr=False)
    commitment: str
    """SHA-256 in 64 hex digits; public."""


def commit(*, set_id: str, index: int, value: bytes) -> str:
    """Compute a share's commitment: SHA-256(tag ‖ set id ‖ index ‖ share value), in hex.

    Args:
        set_id: 32 hex digits.
        index: from 1.
        value: the share's value as SLIP-39 encodes it in words.
    """
    return hashlib.sha256(_SHARE_TAG + bytes.fromhex(set_id) + bytes([index]) + value).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareCommitments:
    """The public facts of one set of shares, as the transcript records them.

    Raises:
        RequestRejected: ``share.bad-commitments`` when made from facts that contradict each other.
    """

    set_id: str
    """128 random bits in 32 hex digits."""
    identifier: int
    """SLIP-39's own 15-bit number of the set, which the words of every share begin with."""
    threshold: int
    shares: tuple[str, ...]
    """The commitment of share 1, 2, …; 64 hex digits each."""
    secret: str
    """The commitment of the secret that a quorum recovers."""

    def __post_init__(self) -> None:
        if not _SET_ID.fullmatch(self.set_id):
            raise _bad("set_id is not 32 lower-case hex digits")
        if not 0 <= self.identifier <= MOST_IDENTIFIER:
            raise _bad(f"identifier is not between 0 and {MOST_IDENTIFIER}")
        if not LEAST_THRESHOLD <= self.threshold <= len(self.shares) <= MOST_SHARES:
            raise _bad("threshold does not fit the number of shares")
        if not all(_DIGEST.fullmatch(each) for each in (*self.shares, self.secret)):
            raise _bad("a commitment is not 64 lower-case hex digits")
        if len(set(self.shares)) != len(self.shares):
            raise _bad("two shares have the same commitment")

    @property
    def count(self) -> int:
        """How many shares the set has."""
        return len(self.shares)

    def recognise(self, entered: EnteredShare, *, what: str = "this share") -> Share:
        """Tell which share of this set was entered.

        1. Compare what the share says of its set: the number in its words, the threshold, the set id of its
           QR code, the index.
        2. Compare its commitment with the published one. Only this proves anything; the first step explains.

        Args:
            entered: a well-formed share.
            what: how to call it in an error, for example ``entry 2``.

        Raises:
            RequestRejected: ``share.other-set`` when it is not a share of this set.
        """
        # 1.
        if entered.identifier != self.identifier or (entered.set_id or self.set_id) != self.set_id:
            raise _other_set(f"{what} is share {entered.index} of another set")
        if entered.threshold != self.threshold:
            raise _other_set(
                f"{what} is of a set that needs {entered.threshold} shares; this set needs {self.threshold}"
            )
        if entered.index > self.count:
            raise _other_set(f"{what} says it is share {entered.index}, this set has only {self.count}")
        # 2.
        published = self.shares[entered.index - 1]
        actual = commit(set_id=self.set_id, index=entered.index, value=entered.value)
        if not hmac.compare_digest(actual, published):
            raise _other_set(
                f"{what} says it is share {entered.index} of this set, and the published commitment says it is not"
            )
        return Share(index=entered.index, words=entered.words, commitment=published)

    def to_json(self) -> dict[str, str | int | list[str]]:
        """Return the facts for a transcript record."""
        return {
            "set_id": self.set_id,
            "identifier": self.identifier,
            "threshold": self.threshold,
            "count": self.count,
            "shares": list(self.shares),
            "secret": self.secret,
        }


def commitments_from_json(facts: Mapping[str, object]) -> ShareCommitments:
    """Read the facts of a transcript record back, strictly.

    Raises:
        RequestRejected: ``share.bad-commitments``.
    """
    if set(facts) != _MEMBERS:
        raise _bad("members are missing or unknown")
    shares = facts["shares"]
    if not isinstance(shares, list) or facts["count"] != len(shares):
        raise _bad("shares is not a list of as many commitments as count says")
    commitments = tuple(_text(each, "shares") for each in shares)
    return ShareCommitments(
        set_id=_text(facts["set_id"], "set_id"),
        identifier=_whole(facts["identifier"], "identifier"),
        threshold=_whole(facts["threshold"], "threshold"),
        shares=commitments,
        secret=_text(facts["secret"], "secret"),
    )


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _bad(f"{where} is not text")
    return value


def _whole(value: object, where: str) -> int:
    # bool is an int to Python; true is not a number to us.
    if not isinstance(value, int) or isinstance(value, bool):
        raise _bad(f"{where} is not a whole number")
    return value


def _bad(why: str) -> RequestRejected:
    return RequestRejected("share.bad-commitments", f"the published share commitments are malformed: {why}")


def _other_set(message: str) -> RequestRejected:
    return RequestRejected(
        "share.other-set", message, hint="look at the set id on the sheet and compare it with the transcript's"
    )
