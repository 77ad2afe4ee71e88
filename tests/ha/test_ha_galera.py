"""Two nodes, each at another member of a Galera cluster of three: every member takes writes, and any may die."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from fakes.crowd import race
from fakes.galera import DATABASE, NO_CLUSTER, MariaDb, galera
from fakes.nodes import Nodes, nodes_over
from fakes.servers import clusters

pytestmark = clusters(NO_CLUSTER)
_BOUND = 30.0
"""Seconds within which a client must have an answer, if only that there is none."""


@dataclass(frozen=True, kw_only=True)
class House:
    """Two nodes and the three members; the nodes speak to the first two."""

    members: tuple[MariaDb, ...]
    nodes: Nodes

    def sql(self, statement: str) -> str:
        """Ask the first member, after all that the others have committed."""
        return self.members[0].sql(f"SET SESSION wsrep_sync_wait = 1; USE {DATABASE}; {statement}")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One for all: each test leaves three members in step behind."""
    with galera() as members:
        blocks = [{"type": "mysql", "dataSource": each.data_source, "database": DATABASE} for each in members[:2]]
        with nodes_over(tmp_path_factory.mktemp("galera"), blocks) as nodes:
            yield House(members=members, nodes=nodes)


def test_a_token_gives_one_certificate_whichever_member_it_reaches(house: House) -> None:
    """Without this, two members could each take the same token, and only one of them would notice."""
    assert race(house.nodes.client, house.nodes.ports, threads=12, tokens=40) == [Counter({401: 11, 201: 1})] * 40
    assert house.sql("SELECT count(*) FROM certificate WHERE subject LIKE 'CN=race-%'") == "40"


def test_a_revocation_holds_at_once_at_the_other_member(house: House) -> None:
    """Without this, a member that lags behind would let a revoked certificate be renewed for a moment."""
    one, other = house.nodes.ports
    for number in range(30):
        leaf = house.nodes.client.leaf(one, f"revoked-{number}.example.com")
        assert house.nodes.client.revoke(one, leaf) == 200
        assert house.nodes.client.renew(other, leaf) == 401
        one, other = other, one


def test_a_member_that_dies_costs_a_retry_and_comes_back(house: House) -> None:
    """Without this, a member's end would lose what it acknowledged, or need its node restarted."""
    crowd = house.nodes.crowd()
    with crowd.at_work():
        crowd.wait_for_more(40)
        house.members[1].kill()
        crowd.wait_for(503, seconds=_BOUND)
        crowd.wait_for_more(40)
        house.members[1].start()
        _until_healthy(house)
        crowd.wait_for_more(40)
    house.nodes.check(crowd, house.sql, ports=house.nodes.ports)


def test_a_frozen_member_is_an_answer_in_time_and_no_end(house: House) -> None:
    """Without this, clients would hang as long as the member does."""
    crowd = house.nodes.crowd()
    with crowd.at_work():
        crowd.wait_for_more(40)
        house.members[1].freeze()
        crowd.wait_for(503, seconds=_BOUND)
        # These clients go on asking its node in turn, and wait for that each time.
        crowd.wait_for_more(8)
        house.members[1].thaw()
        _until_healthy(house)
        crowd.wait_for_more(40)
    house.nodes.check(crowd, house.sql, ports=house.nodes.ports)


def test_a_member_without_a_majority_issues_nothing(house: House) -> None:
    """Without this, two halves of a torn cluster would each take the same token."""
    crowd = house.nodes.crowd()
    with crowd.at_work():
        crowd.wait_for_more(20)
        for member in house.members[1:]:
            member.kill()
        for _ in range(4):
            crowd.wait_for(503, seconds=_BOUND)
        acknowledged = len(crowd.issued)
        crowd.wait_for(503, seconds=_BOUND)
        assert len(crowd.issued) == acknowledged
        # Somebody who knows that the others are dead lets the survivor go on alone.
        house.members[0].sql("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'")
        crowd.wait_for_more(20)
        for member in house.members[1:]:
            member.start()
        _until_healthy(house)
        crowd.wait_for_more(20)
    house.nodes.check(crowd, house.sql, ports=house.nodes.ports)


def _until_healthy(house: House) -> None:
    until = time.monotonic() + _BOUND
    while house.nodes.health() != [200, 200]:
        assert time.monotonic() < until, house.nodes.health()
        time.sleep(0.1)
