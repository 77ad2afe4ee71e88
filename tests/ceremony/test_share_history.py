"""Which set of shares lives, told from records alone; and stories that cannot be."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from fakes.randomness import seeded

from ceremony.records import Kind, Retirement
from ceremony.secret import CeremonySecret
from ceremony.share_commitments import ShareCommitments
from ceremony.share_history import REPLACE_PINS, ShareHistory
from ceremony.shares import one_group, split
from ceremony.transcript import Json, Record
from shared.errors import RequestRejected

Story = list[tuple[Kind, Mapping[str, Json]]]


def _set(seed: int) -> ShareCommitments:
    secret = CeremonySecret(value=seeded(seed)(32))
    return split(secret, shape=one_group(threshold=2, count=3), rng=seeded(seed + 100)).commitments


FIRST, SECOND, THIRD = (_set(seed) for seed in range(3))


def deal(dealt: ShareCommitments, act: str = "root") -> tuple[Kind, Mapping[str, Json]]:
    return Kind.SHARES_DEALT, dealt.to_json() | {"quorums_proven": 3, "act": act}


def intent(before: ShareCommitments, after: ShareCommitments) -> tuple[Kind, Mapping[str, Json]]:
    return Kind.HSM_INTENT, {"operation": REPLACE_PINS, "from_set": before.set_id, "to_set": after.set_id}


def replaced(before: ShareCommitments, after: ShareCommitments) -> tuple[Kind, Mapping[str, Json]]:
    return Kind.PINS_REPLACED, {"from_set": before.set_id, "to_set": after.set_id}


def retired(dealt: ShareCommitments, why: Retirement | str) -> tuple[Kind, Mapping[str, Json]]:
    return Kind.SHARES_RETIRED, {"set_id": dealt.set_id, "reason": str(why)}


def history(*story: tuple[Kind, Mapping[str, Json]]) -> ShareHistory:
    return ShareHistory(
        [
            Record(
                seq=seq, prev="", time=datetime(2026, 1, 1, tzinfo=UTC), kind=kind, body=body,
                digest=hashlib.sha256(bytes([seq])).digest(),
            )
            for seq, (kind, body) in enumerate(story)
        ]
    )  # fmt: skip


ROTATION: Story = [
    deal(FIRST),
    deal(SECOND, "rotate:second"),
    intent(FIRST, SECOND),
    replaced(FIRST, SECOND),
    retired(FIRST, Retirement.REPLACED),
]


def _live(found: ShareHistory) -> str:
    assert found.live is not None
    return found.live.set_id


def test_the_living_set_through_a_rotation() -> None:
    """Who asks for shares one record too early or too late asks the wrong people."""
    assert history().live is None
    assert [_live(history(*ROTATION[:length])) for length in range(1, 6)] == [
        FIRST.set_id, FIRST.set_id, FIRST.set_id, SECOND.set_id, SECOND.set_id,
    ]  # fmt: skip
    assert [history(*ROTATION[:length]).replacing is not None for length in range(6)] == [
        False, False, False, True, False, False,
    ]  # fmt: skip
    assert [len(history(*ROTATION[:length]).superseded()) for length in range(6)] == [0, 0, 0, 0, 1, 0]
    assert [len(history(*ROTATION[:length]).unborn()) for length in range(6)] == [0, 0, 1, 0, 0, 0]
    whole = history(*ROTATION)
    live = [whole.live_at(seq) for seq in range(5)]
    assert [each.set_id for each in live if each] == [FIRST.set_id] * 3 + [SECOND.set_id] * 2


def test_an_attempt_that_was_given_up() -> None:
    """Sheets of an abandoned attempt must never be asked for, nor come back."""
    given_up: Story = [*ROTATION[:2], retired(SECOND, Retirement.ABANDONED)]
    assert _live(history(*given_up)) == FIRST.set_id
    assert history(*given_up).unborn() == []
    # Also when it is taken back in the middle of the replacement.
    taken_back = history(*ROTATION[:3], retired(SECOND, Retirement.ABANDONED))
    assert (_live(taken_back), taken_back.replacing) == (FIRST.set_id, None)
    with pytest.raises(RequestRejected):
        history(*given_up, intent(FIRST, SECOND))
    anew = history(*given_up, deal(THIRD, "rotate:second"), intent(FIRST, THIRD), replaced(FIRST, THIRD))
    assert _live(anew) == THIRD.set_id


@pytest.mark.parametrize(
    "story",
    [
        [deal(FIRST), deal(FIRST)],
        [deal(FIRST), intent(FIRST, SECOND)],
        [deal(FIRST), intent(FIRST, FIRST)],
        [deal(FIRST), deal(SECOND), replaced(FIRST, SECOND)],
        [deal(FIRST), deal(SECOND), deal(THIRD), intent(FIRST, SECOND), replaced(FIRST, THIRD)],
        [deal(FIRST), deal(SECOND), intent(SECOND, FIRST)],
        [intent(FIRST, SECOND)],
        [*ROTATION, intent(SECOND, FIRST)],
        [*ROTATION, retired(FIRST, Retirement.REPLACED)],
        [*ROTATION[:4], retired(FIRST, Retirement.ABANDONED)],
        [*ROTATION[:4], retired(SECOND, Retirement.REPLACED)],
        [*ROTATION[:4], retired(FIRST, "tired")],
        [deal(FIRST), retired(FIRST, Retirement.REPLACED)],
        [deal(FIRST), deal(SECOND), retired(SECOND, Retirement.REPLACED)],
        [deal(FIRST), retired(THIRD, Retirement.ABANDONED)],
        [(Kind.SHARES_DEALT, FIRST.to_json() | {"quorums_proven": 3})],
        [(Kind.SHARES_DEALT, FIRST.to_json() | {"quorums_proven": True, "act": "root"})],
    ],
)
def test_stories_that_cannot_be(story: Story) -> None:
    """A record that names a dead or unknown set is a forgery or a fault; nobody may be asked for shares by it."""
    with pytest.raises(RequestRejected) as refused:
        history(*story)
    assert refused.value.code == "share.bad-history"
