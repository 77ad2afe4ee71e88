"""Splitting and combining: every quorum works, nothing less does, and the error says which share is at fault."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
from collections.abc import Callable

import pytest
from fakes.randomness import seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from shamir_mnemonic import combine_mnemonics, shamir
from shamir_mnemonic.wordlist import WORDLIST

from ceremony import shares as room
from ceremony.secret import CeremonySecret
from ceremony.share_commitments import ShareCommitments, commit, commitments_from_json
from ceremony.shares import (
    Share,
    ShareSet,
    combine,
    one_group,
    parse_share,
    prove_every_quorum,
    split,
)
from shared.errors import Fatal, RequestRejected

SECRET = CeremonySecret(value=seeded(7)(32))

MESSAGES = {
    "too few shares are here (none); needed: # more of the custodians",
    "too few shares are here (share #); needed: # more of the custodians",
    "too few shares are here (shares #, #); needed: # more of the custodians",
    "share # was entered twice",
    "entry # is share # of another set",
    "entry # is of a set that needs # custodians; this set needs #",
    "entry # says it is share #, this set has only #",
    "entry # says it is share # of this set, and the published commitment says it is not",
    "the words do not fit together: at least one is wrong, or two have changed places",
    "the words do not fit together: word # is probably wrong",
    "share #, share #, share # do not fit together",
}


def dealt(*, threshold: int = 3, count: int = 5, seed: int = 8, secret: CeremonySecret = SECRET) -> ShareSet:
    return split(secret, shape=one_group(threshold=threshold, count=count), rng=seeded(seed))


def refused(shares: list[Share], commitments: ShareCommitments) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        combine(shares, commitments)
    # Apart from numbers, a message is one of a few fixed texts: it cannot quote or suggest a word.
    assert _numbers_hidden(caught.value.message) in MESSAGES
    return caught.value


def _numbers_hidden(message: str) -> str:
    return re.sub(r"shares #(, #)+", "shares #, #", re.sub(r"[0-9]+", "#", message))


shapes = st.integers(2, 16).flatmap(lambda count: st.tuples(st.integers(2, count), st.just(count)))


@settings(max_examples=40, deadline=None)
@given(value=st.binary(min_size=32, max_size=32), shape=shapes, seed=st.integers(0, 2**32))
def test_round_trip(value: bytes, shape: tuple[int, int], seed: int) -> None:
    """Any quorum of any set, in any order and with surplus, gives exactly the secret; one share less gives none."""
    threshold, count = shape
    secret = CeremonySecret(value=value)
    share_set = dealt(threshold=threshold, count=count, seed=seed, secret=secret)
    order = list(share_set.shares)
    order.sort(key=lambda share: (share.index * (seed | 1)) % 17)
    assert combine(order[:threshold], share_set.commitments) == secret
    assert combine(order, share_set.commitments) == secret
    assert refused(order[: threshold - 1], share_set.commitments).code == "share.too-few"


def test_every_quorum_by_the_public_way() -> None:
    """The proof inside the ceremony and the way custodians go later must agree on every quorum."""
    share_set = dealt()
    for quorum in itertools.combinations(share_set.shares, 3):
        typed = [parse_share(" ".join(word[:4] for word in share.words)) for share in quorum]
        assert combine(typed, share_set.commitments) == SECRET


def test_another_tool_recovers_the_secret() -> None:
    """If coldroot is gone in ten years, any SLIP-39 tool must still unlock the root from the sheets."""
    mnemonics = [" ".join(share.words) for share in dealt().shares[:3]]
    assert combine_mnemonics(mnemonics, b"") == SECRET.value


def test_proof_counts_and_reports_every_quorum() -> None:
    """The transcript states the number; a loop that skips some would state a falsehood."""
    steps: list[tuple[int, int]] = []
    assert prove_every_quorum(dealt(), SECRET, progress=lambda done, of: steps.append((done, of))) == 10
    assert steps == [(done, 10) for done in range(1, 11)]


def test_largest_set_is_proven() -> None:
    """The plan allows 8 of 16: its 12870 quorums must be provable in a ceremony's patience."""
    assert prove_every_quorum(dealt(threshold=8, count=16), SECRET) == 12870


def _with_share(share_set: ShareSet, place: int, share: Share) -> ShareSet:
    shares = list(share_set.shares)
    shares[place] = share
    return dataclasses.replace(share_set, shares=tuple(shares))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: _with_share(good, 4, dealt(seed=9).shares[4]),
        lambda good: _with_share(good, 4, good.shares[3]),
        lambda good: _with_share(
            good, 4, dataclasses.replace(good.shares[4], words=("academic", *good.shares[4].words[1:]))
        ),
        lambda good: dataclasses.replace(good, shares=good.shares[:4]),
        lambda good: dataclasses.replace(good, commitments=dataclasses.replace(good.commitments, secret="0" * 64)),
        lambda _: dealt(secret=CeremonySecret(value=bytes(32))),
    ],
    ids=["foreign share", "twice the same", "misprinted word", "one missing", "wrong commitment", "another secret"],
)
def test_bad_split_is_never_printed(spoil: Callable[[ShareSet], ShareSet]) -> None:
    """A set of which one quorum fails locks the root for ever, years later."""
    with pytest.raises(Fatal) as caught:
        prove_every_quorum(spoil(dealt()), SECRET)
    assert caught.value.code == "share.unproven"


def test_share_that_fits_alone_but_not_with_others_is_found() -> None:
    """A commitment proves what was printed, not that it was right: only recombining proves that."""
    good = dealt()
    foreign = dealt(seed=9)
    identifier = good.commitments.identifier
    # A share of another split, dressed as one of this set, with a commitment made for it.
    entered = dataclasses.replace(parse_share(" ".join(foreign.shares[4].words)), identifier=identifier)
    words = tuple(room._to_slip39(entered).words())
    commitment = commit(set_id=good.set_id, group=1, member=5, value=entered.value)
    forged = _with_share(good, 4, dataclasses.replace(good.shares[4], words=words, commitment=commitment))
    forged = dataclasses.replace(
        forged,
        commitments=dataclasses.replace(good.commitments, shares=(*good.commitments.shares[:4], commitment)),
    )
    with pytest.raises(Fatal) as caught:
        prove_every_quorum(forged, SECRET)
    assert caught.value.code == "share.unproven"
    assert refused([forged.shares[0], forged.shares[1], forged.shares[4]], forged.commitments).code == "share.digest"


@pytest.mark.parametrize(("threshold", "count"), [(1, 1), (1, 5), (0, 5), (6, 5), (2, 17), (17, 17), (-1, 3)])
def test_impossible_shapes(threshold: int, count: int) -> None:
    """A threshold of one is no sharing, and SLIP-39 ends at 16."""
    with pytest.raises(RequestRejected) as caught:
        dealt(threshold=threshold, count=count)
    assert caught.value.code == "share.bad-threshold"


@pytest.mark.parametrize(
    "rng",
    [bytes, lambda length: bytes(range(length)), lambda length: b"x" * (length - 1)],
    ids=["zeros", "repeats", "short"],
)
def test_stuck_generator_is_noticed(rng: Callable[[int], bytes]) -> None:
    """Shares made from a stuck generator let a single custodian compute the secret."""
    with pytest.raises(Fatal) as caught:
        split(SECRET, shape=one_group(threshold=3, count=5), rng=rng)
    assert caught.value.code == "share.bad-rng"


def test_split_gives_the_library_its_randomness_back() -> None:
    """A generator left in place would make somebody else's split predictable."""
    before = shamir.RANDOM_BYTES
    dealt()

    def failing(length: int) -> bytes:
        if length == 32:
            raise RuntimeError("the HSM is gone")
        return seeded(3)(length)

    with pytest.raises(RuntimeError):
        split(SECRET, shape=one_group(threshold=3, count=5), rng=failing)
    assert shamir.RANDOM_BYTES is before


def test_duplicate_is_named() -> None:
    """Two custodians reading the same sheet must be told which, not that something is wrong."""
    share_set = dealt()
    one, two, _, four, _ = share_set.shares
    error = refused([one, four, two, four], share_set.commitments)
    assert (error.code, error.message) == ("share.duplicate", "share 4 was entered twice")


@pytest.mark.parametrize(
    ("here", "message"),
    [
        (0, "too few shares are here (none); needed: 3 more of the custodians"),
        (1, "too few shares are here (share 1); needed: 2 more of the custodians"),
        (2, "too few shares are here (shares 1, 2); needed: 1 more of the custodians"),
    ],
)
def test_too_few_says_how_many_more(here: int, message: str) -> None:
    """The administrator has to know whom to call."""
    share_set = dealt()
    error = refused(list(share_set.shares[:here]), share_set.commitments)
    assert (error.code, error.message) == ("share.too-few", message)


@pytest.mark.parametrize(
    ("stranger", "message"),
    [
        (dealt(seed=9).shares[1], "entry 2 is share 2 of another set"),
        (
            dealt(threshold=4, count=5, seed=8).shares[1],
            "entry 2 is of a set that needs 4 custodians; this set needs 3",
        ),
        (
            dealt(count=9, seed=8).shares[8],
            "entry 2 says it is share 9, this set has only 5",
        ),
        (
            dealt(seed=8, secret=CeremonySecret(value=bytes(32))).shares[4],
            "entry 2 says it is share 5 of this set, and the published commitment says it is not",
        ),
    ],
    ids=["other set", "other threshold", "index too high", "same numbers, other secret"],
)
def test_share_of_another_set_is_named(stranger: Share, message: str) -> None:
    """Old sheets lie in the same safes: a mixed quorum must say which sheet to put back."""
    share_set = dealt()
    error = refused([share_set.shares[0], stranger, share_set.shares[2]], share_set.commitments)
    assert (error.code, error.message) == ("share.other-set", message)


def test_set_id_of_a_code_is_compared() -> None:
    """SLIP-39's own set number has 15 bits and can coincide; the code's 128 bits cannot."""
    share_set = dealt()
    entered = dataclasses.replace(parse_share(" ".join(share_set.shares[0].words)), set_id="0" * 32)
    with pytest.raises(RequestRejected) as caught:
        share_set.commitments.recognise(entered)
    assert caught.value.message == "this share is share 1 of another set"


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), place=st.integers(0, 32), word=st.sampled_from(WORDLIST))
def test_altered_words_never_recover(seed: int, place: int, word: str) -> None:
    """A share whose words were changed after it was read must not reach the mathematics."""
    share_set = dealt(seed=seed)
    bad = share_set.shares[0]
    if bad.words[place] == word:
        return
    bad = dataclasses.replace(bad, words=(*bad.words[:place], word, *bad.words[place + 1 :]))
    error = refused([bad, *share_set.shares[1:3]], share_set.commitments)
    assert error.code == "share.checksum"


def test_contradicting_commitments_stop_everything() -> None:
    """Right shares with a wrong secret commitment mean that the record was changed: no PIN is tried."""
    share_set = dealt()
    with pytest.raises(Fatal) as caught:
        combine(share_set.shares[:3], dataclasses.replace(share_set.commitments, secret="0" * 64))
    assert caught.value.code == "share.wrong-secret"


def test_commitment_is_the_documented_digest() -> None:
    """An auditor recomputes it with a one-liner; the formula must not drift."""
    share_set = dealt()
    value = parse_share(" ".join(share_set.shares[1].words)).value
    expected = hashlib.sha256(b"coldroot share commitment v2\0" + bytes.fromhex(share_set.set_id) + b"\1\2" + value)
    assert share_set.shares[1].commitment == share_set.commitments.shares[1] == expected.hexdigest()


def test_recognise_names_the_share_from_its_words() -> None:
    """A custodian checks a sheet alone, years later: words and published commitments must be enough."""
    share_set = dealt()
    for share in share_set.shares:
        assert share_set.commitments.recognise(parse_share(" ".join(share.words))) == share


def test_commitments_round_trip() -> None:
    """What the transcript records must come back as the same facts."""
    commitments = dealt().commitments
    assert commitments_from_json(commitments.to_json()) == commitments


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("set_id", "0" * 31),
        ("set_id", "G" * 32),
        ("set_id", 7),
        ("identifier", -1),
        ("identifier", 1 << 15),
        ("identifier", True),
        ("group_threshold", 0),
        ("group_threshold", 2),
        ("group_threshold", "1"),
        ("group_threshold", True),
        ("groups", 1),
        ("groups", [1]),
        ("groups", [{"name": "custodians", "threshold": 3}]),
        ("groups", [{"name": 7, "threshold": 3, "custodians": 5}]),
        ("groups", [{"name": "custodians", "threshold": 1, "custodians": 5}]),
        ("groups", [{"name": "custodians", "threshold": 3, "custodians": 4}]),
        ("groups", [{"name": "custodians", "threshold": 3, "custodians": True}]),
        ("shares", "x"),
        ("shares", ["0" * 64] * 5),
        ("shares", [1, 2, 3, 4, 5]),
        ("secret", "0" * 63),
        ("secret", None),
        ("more", 1),
    ],
)
def test_malformed_commitments(member: str, value: object) -> None:
    """A record that contradicts itself must not be used to judge shares."""
    with pytest.raises(RequestRejected) as caught:
        commitments_from_json({**dealt().commitments.to_json(), member: value})
    assert caught.value.code == "share.bad-commitments"


def test_published_facts_hold_no_share() -> None:
    """Everything in the transcript is public: no word and no value of a share may be among it."""
    share_set = dealt()
    published = repr(share_set.commitments) + str(share_set.commitments.to_json())
    for share in share_set.shares:
        assert parse_share(" ".join(share.words)).value.hex() not in published
        assert not [word for word in share.words if f"'{word}'" in published and word != "secret"]
    assert SECRET.value.hex() not in published
