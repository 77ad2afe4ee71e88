"""Splitting the ceremony secret into shares, proving the split, and putting a quorum together.

The scheme is SLIP-39 by ``shamir-mnemonic``: one or several groups, no passphrase (with a wrong passphrase
SLIP-39 silently yields another secret, so there is none to get wrong). The library is called here and in
``share_words`` only; none of its exceptions, whose texts quote words, comes out.

Invariants:

* the groups are a ``SetShape``: nobody unlocks alone, and every quorum is proven;
* ``combine`` returns the secret whose commitment was published, or raises; it never returns another;
* an error says which share is at fault, or who is missing, and holds no word.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from shamir_mnemonic import EncryptedMasterSecret, MnemonicError, recover_ems, shamir, split_ems
from shamir_mnemonic.shamir import ShareGroup
from shamir_mnemonic.share import Share as Slip39Share

from ceremony.secret import CeremonySecret
from ceremony.share_commitments import (
    MOST_IDENTIFIER,
    SET_ID_BYTES,
    Share,
    ShareCommitments,
    commit,
    commitments_from_json,
)
from ceremony.share_shape import GroupShape, SetShape, one_group
from ceremony.share_words import (
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
    "WORDS_IN_SHARE",
    "EnteredShare",
    "GroupShape",
    "Progress",
    "SetShape",
    "Share",
    "ShareCommitments",
    "ShareSet",
    "combine",
    "commitments_from_json",
    "envelope",
    "expand_word",
    "one_group",
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
    def shape(self) -> SetShape:
        """Which shares are a quorum."""
        return self.commitments.shape


def split(secret: CeremonySecret, *, shape: SetShape, rng: Rng) -> ShareSet:
    """Split the secret into shares of which any quorum recovers it.

    Args:
        secret: what to split.
        shape: the groups and their thresholds.
        rng: the only source of randomness; a stuck one is noticed.

    Raises:
        Fatal: ``share.bad-rng``.
    """
    draws = _Draws(rng)
    set_id = draws(SET_ID_BYTES).hex()
    identifier = int.from_bytes(draws(2), "big") & MOST_IDENTIFIER
    encrypted = EncryptedMasterSecret.from_master_secret(
        secret.value, _NO_PASSPHRASE, identifier, extendable=True, iteration_exponent=_ITERATION_EXPONENT
    )
    with _randomness_from(draws):
        groups: list[list[Slip39Share]] = split_ems(
            shape.group_threshold, [(group.threshold, group.count) for group in shape.groups], encrypted
        )
    members = [member for group in groups for member in group]
    commitments = ShareCommitments(
        set_id=set_id,
        identifier=identifier,
        shape=shape,
        shares=tuple(
            commit(set_id=set_id, group=member.group_index + 1, member=member.index + 1, value=member.value)
            for member in members
        ),
        secret=secret.commitment(),
    )
    shares = tuple(commitments.share(index, tuple(member.words())) for index, member in enumerate(members, start=1))
    return ShareSet(commitments=commitments, shares=shares)


def prove_every_quorum(share_set: ShareSet, secret: CeremonySecret, *, progress: Progress | None = None) -> int:
    """Recover the secret from every possible quorum, in memory, starting from the words that get printed.

    1. Read each share back from its words and recognise it by its commitment.
    2. Recover the encrypted secret from each quorum of each set of groups; all must be the same.
    3. Decrypt it once, the slow part, and compare with the secret.

    Args:
        share_set: a fresh split.
        secret: what was split.
        progress: called after each quorum; ``SetShape`` allows 50 000 at most.

    Returns:
        The number of quorums proven.

    Raises:
        Fatal: ``share.unproven`` when any quorum fails: print nothing.
    """
    commitments, shape = share_set.commitments, share_set.shape
    first: EncryptedMasterSecret | None = None
    proven = 0
    try:
        # 1.
        entered = [parse_share(" ".join(share.words)) for share in share_set.shares]
        recognised = [commitments.recognise(each).index for each in entered]
        if recognised != list(range(1, commitments.count + 1)):
            raise Fatal("share.unproven", "the shares are not numbered one by one")
        # 2.
        for quorum in shape.every_quorum():
            recovered = _recover([entered[index - 1] for index in quorum])
            first = first or recovered
            if recovered.ciphertext != first.ciphertext:
                raise Fatal("share.unproven", f"{shape.names(quorum)} recover something else")
            proven += 1
            if progress is not None:
                progress(proven, shape.quorums)
    except RequestRejected as error:
        raise Fatal("share.unproven", f"the split does not hold: {error.message}") from None
    if first is None or proven != shape.quorums:
        raise Fatal("share.unproven", f"{proven} of {shape.quorums} quorums were proven")
    # 3.
    if CeremonySecret(value=first.decrypt(_NO_PASSPHRASE)) != secret or secret.commitment() != commitments.secret:
        raise Fatal("share.unproven", "the shares recover another secret than the one that was split")
    return proven


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
    shape = commitments.shape
    # 1.
    by_index: dict[int, EnteredShare] = {}
    for number, share in enumerate(shares, start=1):
        entered = share if isinstance(share, EnteredShare) else decode_words(share.words)
        recognised = commitments.recognise(entered, what=f"entry {number}")
        # 2.
        if recognised.index in by_index:
            raise RequestRejected("share.duplicate", f"{recognised.name} was entered twice")
        by_index[recognised.index] = entered
    # 3.
    missing = shape.missing(by_index)
    if missing:
        here = shape.names(sorted(by_index)) if by_index else "none"
        raise RequestRejected("share.too-few", f"too few shares are here ({here}); needed: {missing}")
    quorum = [by_index[index] for index in shape.quorum(sorted(by_index))]
    # 4.
    secret = CeremonySecret(value=_recover(quorum).decrypt(_NO_PASSPHRASE))
    if secret.commitment() != commitments.secret:
        raise Fatal("share.wrong-secret", "the shares fit their commitments, and their secret does not fit its own")
    return secret


def _recover(quorum: Sequence[EnteredShare]) -> EncryptedMasterSecret:
    # The library can also do this from words; they were parsed, checksummed and found to be of one set before.
    groups: dict[int, ShareGroup] = {}
    for share in quorum:
        groups.setdefault(share.group - 1, ShareGroup()).add(_to_slip39(share))
    try:
        return recover_ems(groups)
    except MnemonicError:
        names = ", ".join(share.name for share in quorum)
        raise RequestRejected("share.digest", f"{names} do not fit together") from None


def _to_slip39(share: EnteredShare) -> Slip39Share:
    return Slip39Share(
        identifier=share.identifier,
        extendable=True,
        iteration_exponent=_ITERATION_EXPONENT,
        group_index=share.group - 1,
        group_threshold=share.group_threshold,
        group_count=share.group_count,
        index=share.member - 1,
        member_threshold=share.threshold,
        value=share.value,
    )


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
