"""Groups: which sets of shares are a quorum, what is missing, and that nobody else can tell a share from another."""

from __future__ import annotations

import itertools

import pytest
from fakes.randomness import seeded
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shamir_mnemonic import combine_mnemonics

from ceremony.plan import EXAMPLE, load_plan
from ceremony.secret import CeremonySecret
from ceremony.share_shape import MOST_QUORUMS, GroupShape, SetShape, one_group, shape_from_json
from ceremony.shares import ShareSet, combine, commitments_from_json, envelope, parse_share, prove_every_quorum, split
from shared.errors import Fatal, RequestRejected

SECRET = CeremonySecret(value=seeded(7)(32))


def group(name: str, threshold: int, custodians: int) -> GroupShape:
    return GroupShape(name=name, threshold=threshold, custodians=custodians)


OFFICERS = group("officers", 2, 3)
RECOVERY = group("recovery", 1, 2)
BOARD = group("board", 2, 2)
BOTH = SetShape(group_threshold=2, groups=(OFFICERS, RECOVERY))
TWO_OF_THREE = SetShape(group_threshold=2, groups=(OFFICERS, RECOVERY, BOARD))


def dealt(shape: SetShape = BOTH, seed: int = 8) -> ShareSet:
    return split(SECRET, shape=shape, rng=seeded(seed))


@st.composite
def shapes(draw: st.DrawFn) -> SetShape:
    groups = []
    for number in range(draw(st.integers(1, 4))):
        custodians = draw(st.integers(1, 5))
        groups.append(group(f"g{number}", draw(st.integers(1, custodians)), custodians))
    needed = draw(st.integers(1, len(groups)))
    assume(sum(sorted(each.threshold for each in groups)[:needed]) > 1)
    return SetShape(group_threshold=needed, groups=tuple(groups))


@settings(max_examples=40, deadline=None)
@given(shape=shapes(), seed=st.integers(0, 2**32))
def test_what_is_a_quorum(shape: SetShape, seed: int) -> None:
    """Shares recover the secret exactly when nothing is missing, whatever else lies on the table."""
    share_set = dealt(shape, seed)
    at_hand = [share for share in share_set.shares if seeded(seed + share.index)(1)[0] % 3]
    indexes = [share.index for share in at_hand]
    if shape.missing(indexes):
        assert shape.quorum(indexes) == ()
        with pytest.raises(RequestRejected) as caught:
            combine(at_hand, share_set.commitments)
        assert caught.value.code == "share.too-few"
    else:
        assert set(shape.quorum(indexes)) <= set(indexes)
        assert combine(at_hand, share_set.commitments) == SECRET


@settings(max_examples=40, deadline=None)
@given(shape=shapes())
def test_quorums_are_counted_as_they_are(shape: SetShape) -> None:
    """The number in the transcript is computed by the verifier with a formula: it must be the number proven."""
    every = list(shape.every_quorum())
    assert len(every) == len(set(every)) == shape.quorums
    for quorum in every:
        assert shape.quorum(quorum) == quorum
        for absent in quorum:
            assert shape.missing(set(quorum) - {absent})


def test_every_set_of_quorums_is_proven() -> None:
    """2 of 3 groups of 3, 1 and 1 quorums: 3+3+1 ways, each by the public way too and by another tool."""
    share_set = dealt(TWO_OF_THREE)
    assert prove_every_quorum(share_set, SECRET) == TWO_OF_THREE.quorums == 7
    for quorum in TWO_OF_THREE.every_quorum():
        chosen = [share_set.shares[index - 1] for index in quorum]
        assert combine(chosen, share_set.commitments) == SECRET
        assert combine_mnemonics([" ".join(share.words) for share in chosen], b"") == SECRET.value


def test_a_bad_group_is_never_printed() -> None:
    """One group's shares from another split, each well-formed: only putting them together tells."""
    good, foreign = dealt(), dealt(seed=9)
    entered = parse_share(" ".join(foreign.shares[3].words))
    assert entered.place == "2.1"
    spoilt = ShareSet(commitments=good.commitments, shares=(*good.shares[:3], foreign.shares[3]))
    with pytest.raises(Fatal) as caught:
        prove_every_quorum(spoilt, SECRET)
    assert caught.value.code == "share.unproven"


def test_copies_are_one_share() -> None:
    """Both of a group of one hold the same words; together they are no more than one of them."""
    share_set = dealt()
    assert BOTH.sheets() == ((1, 1), (2, 1), (3, 1), (4, 1), (4, 2))
    assert (BOTH.count, len(share_set.shares)) == (4, 4)
    copy = share_set.shares[3]
    with pytest.raises(RequestRejected) as caught:
        combine([copy, copy, share_set.shares[0]], share_set.commitments)
    assert caught.value.message == "share 1 of recovery was entered twice"


def test_groups_alone_are_not_enough() -> None:
    """All officers together, or the recovery share alone, must not unlock."""
    share_set = dealt()
    for here, said in (
        ((1, 2, 3), "(share 1 of officers, share 2 of officers, share 3 of officers); needed: 1 more of the recovery"),
        ((4,), "(share 1 of recovery); needed: 2 more of the officers"),
        ((2, 4), "needed: 1 more of the officers"),
        ((), "(none); needed: 2 more of the officers and 1 more of the recovery"),
    ):
        with pytest.raises(RequestRejected) as caught:
            combine([share_set.shares[index - 1] for index in here], share_set.commitments)
        assert caught.value.message.endswith(said)


@pytest.mark.parametrize(
    ("here", "said"),
    [
        ((1, 2), "one of these: 1 more of the recovery, or 2 more of the board"),
        ((1, 4), "one of these: 1 more of the officers, or 2 more of the board"),
        ((), "2 of these: 1 more of the recovery, or 2 more of the officers, or 2 more of the board"),
        ((1, 2, 4), ""),
    ],
)
def test_the_nearest_help_is_named_first(here: tuple[int, ...], said: str) -> None:
    """Where a choice of groups would do, the administrator must know all of it."""
    assert TWO_OF_THREE.missing(here) == said


def test_a_share_of_another_shape_is_named() -> None:
    """Sheets of before a rotation lie in the same safes; what differs is said."""
    here = dealt().commitments
    alone = split(SECRET, shape=one_group(threshold=2, count=3), rng=seeded(8))
    larger = dealt(SetShape(group_threshold=2, groups=(group("officers", 3, 3), RECOVERY)))
    more = dealt(SetShape(group_threshold=2, groups=(group("officers", 2, 4), RECOVERY)))
    other = split(CeremonySecret(value=bytes(32)), shape=BOTH, rng=seeded(8))
    for share, said in (
        (alone.shares[0], "this share is of a set that needs 1 of 1 groups; this set needs 2 of 2"),
        (larger.shares[0], "this share is of a set that needs 3 officers; this set needs 2"),
        (more.shares[3], "this share says it is share 4 of group 1, this set has only 3"),
        (other.shares[0], "this share says it is share 1 of officers of this set, and the published commitment says"),
        (dealt(seed=9).shares[3], "this share is share 1 of group 2 of another set"),
    ):
        with pytest.raises(RequestRejected) as caught:
            here.recognise(parse_share(" ".join(share.words)))
        assert caught.value.code == "share.other-set"
        assert caught.value.message.startswith(said)


def test_place_travels_with_the_code() -> None:
    """A QR code says group and member; one that contradicts its words is refused."""
    share_set = dealt()
    text = envelope(share_set.shares[3], set_id=share_set.set_id)
    assert ":2.1:" in text
    assert share_set.commitments.recognise(parse_share(text)) == share_set.shares[3]
    with pytest.raises(RequestRejected) as caught:
        parse_share(text.replace(":2.1:", ":1.1:"))
    assert caught.value.code == "share.bad-envelope"


def test_commitments_bind_the_group() -> None:
    """The same value under another group's number must not pass for that group's share."""
    commitments = dealt().commitments
    assert commitments_from_json(commitments.to_json()) == commitments
    assert shape_from_json(2, commitments.to_json()["groups"]) == BOTH
    assert len(set(commitments.shares)) == 4
    assert commitments.opening_words == dealt().shares[0].words[:2] == dealt().shares[3].words[:2]


@pytest.mark.parametrize(
    ("needed", "groups", "code"),
    [
        (1, (RECOVERY,), "share.bad-threshold"),
        (1, (OFFICERS, RECOVERY), "share.bad-threshold"),
        (0, (OFFICERS,), "share.bad-threshold"),
        (3, (OFFICERS, BOARD), "share.bad-threshold"),
        (2, (OFFICERS, OFFICERS), "share.bad-threshold"),
        (17, tuple(group(str(number), 1, 1) for number in range(17)), "share.bad-threshold"),
        (2, (group("a", 8, 16), group("b", 2, 4)), "share.too-many-quorums"),
        (16, tuple(group(str(number), 8, 16) for number in range(16)), "share.too-many-quorums"),
    ],
)
def test_impossible_shapes(needed: int, groups: tuple[GroupShape, ...], code: str) -> None:
    """One person who is a quorum, and a proof that outlasts the day, are both refused before anything is made."""
    with pytest.raises(RequestRejected) as caught:
        SetShape(group_threshold=needed, groups=groups)
    assert caught.value.code == code


def test_largest_shapes_are_allowed() -> None:
    """The limit must not refuse what can be proven in a minute."""
    assert SetShape(group_threshold=2, groups=(group("a", 8, 16), group("b", 1, 16))).quorums == 12870 < MOST_QUORUMS
    every = SetShape(group_threshold=16, groups=tuple(group(str(number), 1, 1) for number in range(16)))
    assert prove_every_quorum(dealt(every), SECRET) == 1


@pytest.mark.parametrize("index", [0, -1, 5])
def test_no_such_share(index: int) -> None:
    """An index from a damaged record must not name somebody else's share."""
    with pytest.raises(RequestRejected) as caught:
        BOTH.name(index)
    assert caught.value.code == "share.no-such-share"
    assert BOTH.quorum([1, 1, 4]) == ()
    assert list(itertools.chain(BOTH.indexes_of(1), BOTH.indexes_of(2))) == [1, 2, 3, 4]


def test_a_plan_of_impossible_groups_is_refused() -> None:
    """What cannot be dealt must be noticed while the plan is read, not when the people have come."""
    groups = """group_threshold = 2
[[shares.group]]
name = "officers"
threshold = 8
custodians = [%s]
[[shares.group]]
name = "board"
threshold = 2
custodians = [%s]
"""
    many = groups % (", ".join(f'"A{number}"' for number in range(16)), '"B1", "B2", "B3", "B4"')
    start, _, _ = EXAMPLE.partition("threshold = 3")
    with pytest.raises(RequestRejected) as caught:
        load_plan((start + many).encode())
    assert "shares.group: these groups have 77220 different quorums" in caught.value.message
    alone = many.replace("threshold = 8", "threshold = 1").replace("group_threshold = 2", "group_threshold = 1")
    with pytest.raises(RequestRejected) as caught:
        load_plan((start + alone).encode())
    assert "nobody may unlock the HSM alone" in caught.value.message
