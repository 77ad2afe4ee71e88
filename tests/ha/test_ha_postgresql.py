"""Two nodes over PostgreSQL with a synchronous standby: what was acknowledged stays, whatever dies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.crowd import race
from fakes.nodes import Nodes, kill, nodes_over
from fakes.postgresql_pair import MISSING, Pair, postgresql_pair
from fakes.servers import clusters

pytestmark = clusters(MISSING)
_BOUND = 30.0
"""Seconds within which a client must have an answer, if only that there is none."""


@dataclass(frozen=True, kw_only=True)
class House:
    """Two nodes and their database."""

    pair: Pair
    nodes: Nodes


@contextmanager
def _house(directory: Path) -> Iterator[House]:
    with postgresql_pair() as pair:
        block = {"type": "postgresql", "dataSource": pair.data_source}
        with nodes_over(directory, [block, block]) as nodes:
            yield House(pair=pair, nodes=nodes)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """All of it new: what these tests do to it cannot be undone."""
    with _house(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One for those who break nothing."""
    with _house(tmp_path_factory.mktemp("unharmed")) as made:
        yield made


def test_a_token_gives_one_certificate_whichever_nodes_it_reaches(unharmed: House) -> None:
    """Without this, a token that leaks could be used once at each node, at the same moment."""
    assert race(unharmed.nodes.client, unharmed.nodes.ports, threads=12, tokens=40) == [Counter({401: 11, 201: 1})] * 40
    assert unharmed.pair.primary.sql("SELECT count(*) FROM certificate WHERE subject LIKE 'CN=race-%'") == "40"


def test_a_revocation_holds_at_once_at_the_other_node(unharmed: House) -> None:
    """Without this, whoever stole a key would renew at the node that has not heard of it yet."""
    one, other = unharmed.nodes.ports
    for number in range(15):
        leaf = unharmed.nodes.client.leaf(one, f"revoked-{number}.example.com")
        assert unharmed.nodes.client.revoke(one, leaf) == 200
        assert unharmed.nodes.client.renew(other, leaf) == 401
        one, other = other, one


def test_a_node_that_dies_takes_nothing_with_it(house: House) -> None:
    """Without this, certificates could be in use that no node knows of, and so none can revoke."""
    crowd = house.nodes.crowd()
    with crowd.at_work():
        crowd.wait_for_more(60)
        kill(house.nodes.running[0])
        crowd.wait_for_more(60)
    assert 503 not in crowd.statuses
    # Asked again at the other node, each got its certificate: two nodes, so at most every other attempt fails.
    assert max(crowd.tries) <= 3
    house.nodes.check(crowd, house.pair.primary.sql, ports=house.nodes.ports[1:])


def test_a_standby_that_dies_costs_no_fact(house: House) -> None:
    """Without this, a commit that nobody else has seen could be acknowledged, and be lost with its machine."""
    crowd = house.nodes.crowd()
    with crowd.at_work():
        crowd.wait_for_more(40)
        house.pair.standby.kill()
        begun = time.monotonic()
        crowd.wait_for(503, seconds=_BOUND)
        # What was being committed may have been acknowledged by the standby just before; from here on nothing is.
        acknowledged = len(crowd.issued)
        crowd.wait_for(503, seconds=_BOUND)
        assert len(crowd.issued) == acknowledged
        assert time.monotonic() - begun < 2 * _BOUND
        house.pair.do_without_standby()
        crowd.wait_for_more(40)
    house.nodes.check(crowd, house.pair.primary.sql, ports=house.nodes.ports)


def test_a_primary_that_dies_is_followed_to_its_successor(house: House) -> None:
    """Without this, a fail-over would need every node restarted, or would forget tokens and revocations."""
    crowd = house.nodes.crowd()
    with crowd.at_work():
        crowd.wait_for_more(60)
        house.pair.primary.kill()
        crowd.wait_for(503, seconds=_BOUND)
        successor = house.pair.promote()
        crowd.wait_for_more(60)
    house.nodes.check(crowd, successor.sql, ports=house.nodes.ports)
    assert house.nodes.health() == [200, 200]


def test_a_frozen_database_is_an_answer_in_time_and_no_end(house: House) -> None:
    """Without this, clients would hang as long as the database does, and the nodes would need a restart afterwards."""
    crowd = house.nodes.crowd()
    with crowd.at_work():
        crowd.wait_for_more(40)
        house.pair.primary.freeze()
        begun = time.monotonic()
        for _ in range(4):
            crowd.wait_for(503, seconds=_BOUND)
        assert time.monotonic() - begun < 2 * _BOUND
        assert house.nodes.health() == [503, 503]
        house.pair.primary.thaw()
        crowd.wait_for_more(40)
    house.nodes.check(crowd, house.pair.primary.sql, ports=house.nodes.ports)
