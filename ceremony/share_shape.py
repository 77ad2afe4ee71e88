"""The shape of a set of shares: its groups, how many of each count, and how many groups are a quorum.

A group whose threshold is one has one share, and each of its custodians a copy of it: SLIP-39 knows no 1-of-n
with different shares, and with equal ones it says who may be absent just as well.

Invariants:

* SLIP-39 can hold it: at most 16 groups of at most 16 shares;
* nobody unlocks alone: the smallest quorum has two shares;
* every quorum can be proven while people wait: there are at most 50 000.

A share has three names. Its *place* is what its words say: group and member, both from 1. Its *index* counts
through all groups from 1 and is what records use. People read ``share 2``, or ``share 2 of officers``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ceremony.transcript import Json
from shared.errors import RequestRejected

MOST_SHARES = 16
MOST_GROUPS = 16
LEAST_QUORUM = 2
MOST_QUORUMS = 50_000

_GROUP_MEMBERS = frozenset({"name", "threshold", "custodians"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupShape:
    """One group: how many of its shares count as the group.

    Raises:
        RequestRejected: ``share.bad-threshold``.
    """

    name: str
    threshold: int
    custodians: int
    """How many people hold a sheet."""

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable():
            raise _bad("a group has no visible name")
        if not 1 <= self.threshold <= self.custodians <= MOST_SHARES:
            raise _bad(
                f"{self.threshold} of {self.custodians} {self.name} is not possible: the threshold is 1 or more, at "
                f"most the number of custodians, which is at most {MOST_SHARES}"
            )

    @property
    def count(self) -> int:
        """How many different shares the group has."""
        return 1 if self.threshold == 1 else self.custodians

    @property
    def copies(self) -> int:
        """How many sheets show the same share: one, except in a group of threshold one."""
        return self.custodians if self.threshold == 1 else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SetShape:
    """The groups of a set, and how many of them are a quorum.

    Raises:
        RequestRejected: ``share.bad-threshold`` or ``share.too-many-quorums``.
    """

    group_threshold: int
    groups: tuple[GroupShape, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.group_threshold <= len(self.groups) <= MOST_GROUPS:
            raise _bad(
                f"{self.group_threshold} of {len(self.groups)} groups is not possible: at least 1, at most the number "
                f"of groups, which is at most {MOST_GROUPS}"
            )
        if len({group.name for group in self.groups}) != len(self.groups):
            raise _bad("two groups have the same name")
        least = sum(sorted(group.threshold for group in self.groups)[: self.group_threshold])
        if least < LEAST_QUORUM:
            raise _bad("one share alone would be a quorum: nobody may unlock the HSM alone")
        if self.quorums > MOST_QUORUMS:
            raise RequestRejected(
                "share.too-many-quorums",
                f"these groups have {self.quorums} different quorums; each is proven before a sheet is printed, and "
                f"more than {MOST_QUORUMS} take too long",
                hint="plan fewer custodians, fewer groups, or thresholds nearer to the number of custodians",
            )

    @property
    def count(self) -> int:
        """How many different shares the set has."""
        return sum(group.count for group in self.groups)

    @property
    def grouped(self) -> bool:
        """Whether there is more than one group, so that people must be told which."""
        return len(self.groups) > 1

    @property
    def quorums(self) -> int:
        """How many different quorums of exactly the needed shares there are."""
        ways = [math.comb(group.count, group.threshold) for group in self.groups]
        # The number of ways to take so many groups, each with its quorums: an elementary symmetric polynomial.
        taken = [1] + [0] * self.group_threshold
        for each in ways:
            for size in range(self.group_threshold, 0, -1):
                taken[size] += taken[size - 1] * each
        return taken[self.group_threshold]

    def every_quorum(self) -> Iterator[tuple[int, ...]]:
        """Yield each quorum as the ascending indexes of its shares."""
        for chosen in itertools.combinations(range(len(self.groups)), self.group_threshold):
            ways = [
                itertools.combinations(self.indexes_of(number + 1), self.groups[number].threshold) for number in chosen
            ]
            for parts in itertools.product(*ways):
                yield tuple(itertools.chain.from_iterable(parts))

    def indexes_of(self, group: int) -> range:
        """Return the indexes of a group's shares.

        Args:
            group: its number, from 1.
        """
        first = 1 + sum(each.count for each in self.groups[: group - 1])
        return range(first, first + self.groups[group - 1].count)

    def place(self, index: int) -> tuple[int, int]:
        """Return group and member number, from 1, of a share of this set.

        Raises:
            RequestRejected: ``share.no-such-share``.
        """
        for group in range(1, len(self.groups) + 1):
            indexes = self.indexes_of(group)
            if index in indexes:
                return group, index - indexes.start + 1
        raise RequestRejected("share.no-such-share", f"this set has no share {index}, only {self.count}")

    def name(self, index: int) -> str:
        """Return what people call a share: ``share 2``, or ``share 2 of officers``."""
        group, member = self.place(index)
        return f"share {member} of {self.groups[group - 1].name}" if self.grouped else f"share {member}"

    def names(self, indexes: Sequence[int]) -> str:
        """Return what people call several shares: ``shares 1, 3``, or ``share 1 of officers, share 1 of board``."""
        if self.grouped:
            return ", ".join(self.name(index) for index in indexes)
        return f"{'share' if len(indexes) == 1 else 'shares'} {', '.join(map(str, indexes))}"

    def sheets(self) -> tuple[tuple[int, int], ...]:
        """Return for each custodian, group by group, the index of their share, and which copy of it they hold."""
        return tuple(
            (index, copy)
            for number, group in enumerate(self.groups, start=1)
            for index in self.indexes_of(number)
            for copy in range(1, group.copies + 1)
        )

    def describe(self) -> str:
        """Say the rule in words: ``3 of 5 custodians``."""
        parts = [f"{group.threshold} of {group.custodians} {group.name}" for group in self.groups]
        if not self.grouped:
            return parts[0]
        return f"{self.group_threshold} of {len(parts)} groups ({', '.join(parts)})"

    def quorum(self, indexes: Collection[int]) -> tuple[int, ...]:
        """Pick exactly the needed shares out of those at hand; nothing when they are too few.

        Where several quorums are at hand, the first groups and the first of ``indexes`` in each are taken.
        """
        picked: list[int] = []
        groups = 0
        for number, group in enumerate(self.groups, start=1):
            here = list(dict.fromkeys(index for index in indexes if index in self.indexes_of(number)))[
                : group.threshold
            ]
            if len(here) == group.threshold and groups < self.group_threshold:
                picked += here
                groups += 1
        return tuple(sorted(picked)) if groups == self.group_threshold else ()

    def missing(self, indexes: Collection[int]) -> str:
        """Say what is missing for a quorum: ``1 more of the officers``; nothing when nothing is.

        Args:
            indexes: of the different shares at hand.
        """
        lacks: list[tuple[int, str]] = []
        for number, group in enumerate(self.groups, start=1):
            lack = group.threshold - len(set(indexes) & set(self.indexes_of(number)))
            if lack > 0:
                lacks.append((lack, f"{lack} more of the {group.name}"))
        groups = self.group_threshold - (len(self.groups) - len(lacks))
        if groups <= 0:
            return ""
        if groups == len(lacks):
            return " and ".join(text for _, text in lacks)
        # A choice: the groups that lack least come first, they are who to call.
        texts = [text for _, text in sorted(lacks, key=lambda lack: lack[0])]
        return f"{'one' if groups == 1 else groups} of these: {', or '.join(texts)}"

    def to_json(self) -> dict[str, Json]:
        """Return the shape for a transcript record."""
        return {
            "group_threshold": self.group_threshold,
            "groups": [
                {"name": group.name, "threshold": group.threshold, "custodians": group.custodians}
                for group in self.groups
            ],
        }


def one_group(*, threshold: int, count: int, name: str = "custodians") -> SetShape:
    """Return the shape of a set without groups: any ``threshold`` of ``count`` shares.

    Raises:
        RequestRejected: ``share.bad-threshold``.
    """
    return SetShape(group_threshold=1, groups=(GroupShape(name=name, threshold=threshold, custodians=count),))


def shape_from_json(group_threshold: object, groups: object) -> SetShape:
    """Read a recorded shape back, strictly.

    Raises:
        RequestRejected: ``share.bad-threshold`` or ``share.too-many-quorums``.
    """
    if not isinstance(groups, list):
        raise _bad("groups is not a list")
    return SetShape(group_threshold=_whole(group_threshold), groups=tuple(_group(group) for group in groups))


def _group(facts: object) -> GroupShape:
    if not isinstance(facts, Mapping) or set(facts) != _GROUP_MEMBERS:
        raise _bad("a group's members are missing or unknown")
    name = facts["name"]
    if not isinstance(name, str):
        raise _bad("a group's name is not text")
    return GroupShape(name=name, threshold=_whole(facts["threshold"]), custodians=_whole(facts["custodians"]))


def _whole(value: object) -> int:
    # bool is an int to Python; true is not a number to us.
    if not isinstance(value, int) or isinstance(value, bool):
        raise _bad("a threshold or number is not a whole number")
    return value


def _bad(why: str) -> RequestRejected:
    return RequestRejected("share.bad-threshold", why)
