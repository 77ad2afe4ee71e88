"""Splitting the ceremony secret into shares, proving the split, and putting a quorum together.

The scheme is SLIP-39 by ``shamir-mnemonic``: one group, k of n members, no passphrase (with a wrong passphrase
SLIP-39 silently yields another secret, so there is none to get wrong). The library is called here and in
``share_words`` only; none of its exceptions, whose texts quote words, comes out.

Invariants:

* a set is k of n with 2 ≤ k ≤ n ≤ 16;
* ``combine`` returns the secret whose commitment was published, or raises; it never returns another;
* an error says which share is at fault, or how many are missing, and holds no word.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from shamir_mnemonic import EncryptedMasterSecret, MnemonicError, recover_ems, shamir, split_ems
from shamir_mnemonic.shamir import ShareGroup
from shamir_mnemonic.share import Share as Slip39Share

from ceremony.secret import CeremonySecret
from ceremony.share_commitments import (
    LEAST_THRESHOLD,
    MOST_IDENTIFIER,
    SET_ID_BYTES,
    Share,
    ShareCommitments,
    commit,
    commitments_from_json,
)
from ceremony.share_words import (
    MOST_SHARES,
    WORDS_IN_SHARE,
    EnteredShare,
    HasWords,
    decode_words,
    envelope,
    expand_word,
    parse_share,
    read_words_file,
    write_words_file,
)
from shared.errors import Fatal, RequestRejected

__all__ = [
    "MOST_SHARES",
    "WORDS_IN_SHARE",
    "EnteredShare",
    "Share",
    "ShareCommitments",
    "ShareSet",
    "combine",
    "commitments_from_json",
    "envelope",
    "expand_word",
    "parse_share",
    "prove_every_quorum",
    "read_words_file",
    "split",
    "write_words_file",
]

Rng = Callable[[int], bytes]
"""Given a number of bytes, returns that many random ones."""

Progress = Callable[[int, int], None]
"""Called after each step with (steps done, steps in all)."""

# shamir-mnemonic draws its random bytes through one module-level name; two splits must not swap it at once.
_RANDOMNESS = threading.Lock()
_NO_PASSPHRASE = b""
_ITERATION_EXPONENT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareSet:
    """A fresh split: every share with its words. Lives only until the sheets are printed."""

    commitments: ShareCommitments
    shares: tuple[Share, ...]

    @property
    def set_id(self) -> str:
        """The set's 128-bit id in 32 hex digits."""
        return self.commitments.set_id

    @property
    def threshold(self) -> int:
        """How many shares recover the secret."""
        return self.commitments.threshold


def split(secret: CeremonySecret, *, threshold: int, count: int, rng: Rng) -> ShareSet:
    """Split the secret into ``count`` shares of which any ``threshold`` recover it.

    Args:
        secret: what to split.
        threshold: 2 to ``count``.
        count: up to 16.
        rng: the only source of randomness; a stuck one is noticed.

    Raises:
        RequestRejected: ``share.bad-threshold``.
        Fatal: ``share.bad-rng``.
    """
    if not LEAST_THRESHOLD <= threshold <= count <= MOST_SHARES:
        raise RequestRejected(
            "share.bad-threshold",
            f"{threshold} of {count} shares is not possible: the threshold is {LEAST_THRESHOLD} or more, at most the "
            f"number of shares, which is at most {MOST_SHARES}",
        )
    draws = _Draws(rng)
    set_id = draws(SET_ID_BYTES).hex()
    identifier = int.from_bytes(draws(2), "big") & MOST_IDENTIFIER
    encrypted = EncryptedMasterSecret.from_master_secret(
        secret.value, _NO_PASSPHRASE, identifier, extendable=True, iteration_exponent=_ITERATION_EXPONENT
    )
    with _randomness_from(draws):
        members: list[Slip39Share] = split_ems(1, [(threshold, count)], encrypted)[0]
    shares = tuple(
        Share(
            index=member.index + 1,
            words=tuple(member.words()),
            commitment=commit(set_id=set_id, index=member.index + 1, value=member.value),
        )
        for member in members
    )
    commitments = ShareCommitments(
        set_id=set_id,
        identifier=identifier,
        threshold=threshold,
        shares=tuple(share.commitment for share in shares),
        secret=secret.commitment(),
    )
    return ShareSet(commitments=commitments, shares=shares)


def prove_every_quorum(share_set: ShareSet, secret: CeremonySecret, *, progress: Progress | None = None) -> int:
    """Recover the secret from every possible quorum, in memory, starting from the words that get printed.

    1. Read each share back from its words and recognise it by its commitment.
    2. Recover the encrypted secret from each of the C(n, k) quorums; all must be the same.
    3. Decrypt it once, the slow part, and compare with the secret.

    Args:
        share_set: a fresh split.
        secret: what was split.
        progress: called after each quorum; 8 of 16 has the most, 12870.

    Returns:
        The number of quorums proven.

    Raises:
        Fatal: ``share.unproven`` when any quorum fails: print nothing.
    """
    commitments = share_set.commitments
    try:
        # 1.
        entered = [parse_share(" ".join(share.words)) for share in share_set.shares]
        recognised = [commitments.recognise(each).index for each in entered]
        if recognised != list(range(1, commitments.count + 1)):
            raise Fatal("share.unproven", "the shares are not numbered one by one")
        # 2.
        first = _recover(entered[: commitments.threshold])
        quorums = math.comb(commitments.count, commitments.threshold)
        for done, quorum in enumerate(itertools.combinations(entered, commitments.threshold), start=1):
            if _recover(quorum).ciphertext != first.ciphertext:
                raise Fatal("share.unproven", f"the shares {_numbers(quorum)} recover something else")
            if progress is not None:
                progress(done, quorums)
    except RequestRejected as error:
        raise Fatal("share.unproven", f"the split does not hold: {error.message}") from None
    # 3.
    if CeremonySecret(value=first.decrypt(_NO_PASSPHRASE)) != secret or secret.commitment() != commitments.secret:
        raise Fatal("share.unproven", "the shares recover another secret than the one that was split")
    return quorums


def combine(shares: Sequence[HasWords], commitments: ShareCommitments) -> CeremonySecret:
    """Recover the secret from a quorum.

    1. Recognise every share; refuse the whole attempt when one is not of the set.
    2. Refuse a share that was entered twice.
    3. Refuse when there are too few; leave aside what is more than needed.
    4. Recover, and compare with the published commitment of the secret.

    Args:
        shares: entered or recognised ones, in any order, surplus allowed.
        commitments: what the transcript published about the set.

    Raises:
        RequestRejected: ``share.checksum`` or ``share.unsupported`` (words changed since they were read),
            ``share.other-set``, ``share.duplicate``, ``share.too-few``.
        Fatal: ``share.wrong-secret`` when the published facts contradict each other.
    """
    # 1.
    by_index: dict[int, EnteredShare] = {}
    for number, share in enumerate(shares, start=1):
        entered = share if isinstance(share, EnteredShare) else decode_words(share.words)
        commitments.recognise(entered, what=f"entry {number}")
        # 2.
        if entered.index in by_index:
            raise RequestRejected("share.duplicate", f"share {entered.index} was entered twice")
        by_index[entered.index] = entered
    # 3.
    missing = commitments.threshold - len(by_index)
    if missing > 0:
        raise RequestRejected(
            "share.too-few",
            f"{len(by_index)} of {commitments.threshold} needed shares are here, {missing} more "
            f"{'is' if missing == 1 else 'are'} needed",
        )
    quorum = [by_index[index] for index in sorted(by_index)[: commitments.threshold]]
    # 4.
    secret = CeremonySecret(value=_recover(quorum).decrypt(_NO_PASSPHRASE))
    if secret.commitment() != commitments.secret:
        raise Fatal("share.wrong-secret", "the shares fit their commitments, and their secret does not fit its own")
    return secret


def _recover(quorum: Sequence[EnteredShare]) -> EncryptedMasterSecret:
    # The library can also do this from words; they were parsed, checksummed and found to be of one set before.
    group = ShareGroup()
    for share in quorum:
        group.add(_to_slip39(share))
    try:
        return recover_ems({0: group})
    except MnemonicError:
        raise RequestRejected("share.digest", f"the shares {_numbers(quorum)} do not fit together") from None


def _to_slip39(share: EnteredShare) -> Slip39Share:
    return Slip39Share(
        identifier=share.identifier,
        extendable=True,
        iteration_exponent=_ITERATION_EXPONENT,
        group_index=0,
        group_threshold=1,
        group_count=1,
        index=share.index - 1,
        member_threshold=share.threshold,
        value=share.value,
    )


def _numbers(quorum: Sequence[EnteredShare]) -> str:
    return ", ".join(str(share.index) for share in quorum)


class _Draws:
    """Random bytes on demand, refusing a generator that gives too few or repeats itself."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._seen: set[bytes] = set()

    def __call__(self, length: int) -> bytes:
        drawn = self._rng(length)
        if len(drawn) != length:
            raise Fatal("share.bad-rng", f"the random generator gave {len(drawn)} bytes, not {length}")
        start = drawn[:SET_ID_BYTES]
        if len(start) == SET_ID_BYTES:
            if start in self._seen or len(set(start)) == 1:
                raise Fatal("share.bad-rng", "the random generator repeats itself")
            self._seen.add(start)
        return drawn


@contextlib.contextmanager
def _randomness_from(rng: Rng) -> Iterator[None]:
    with _RANDOMNESS:
        original = shamir.RANDOM_BYTES
        shamir.RANDOM_BYTES = rng
        try:
            yield
        finally:
            shamir.RANDOM_BYTES = original
