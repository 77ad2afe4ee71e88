"""HAProxy and nginx as in the examples, two nodes over one PostgreSQL behind them, and one that dies under load."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.crowd import Crowd
from fakes.fronts import PROXIES, in_front
from fakes.nodes import kill, nodes_over
from fakes.postgresql_pair import MISSING, postgresql
from fakes.servers import clusters

pytestmark = clusters(MISSING)


@pytest.mark.parametrize("kind", PROXIES)
def test_a_node_that_dies_behind_a_proxy_costs_a_retry(kind: str, tmp_path: Path) -> None:
    """Without this, what a proxy sends to a dead node could be lost to clients that do nothing wrong."""
    with postgresql() as server:
        block = {"type": "postgresql", "dataSource": server.data_source}
        with nodes_over(tmp_path, [block, block]) as nodes:
            with in_front(kind, tmp_path, root=nodes.client.home.root, ports=nodes.ports) as port:
                crowd = Crowd(client=nodes.client, ports=[port])
                with crowd.at_work():
                    crowd.wait_for_more(80)
                    kill(nodes.running[0])
                    crowd.wait_for_more(80)
            # Broken are only the connections that led to the node while its processes died, which they do one by one:
            # one of each client, and a second one where a client was back before the last of them was gone.
            assert crowd.statuses[503] == 0, crowd.statuses
            assert crowd.statuses[0] <= 8, crowd.statuses
            assert max(crowd.tries) <= 3, crowd.statuses
            nodes.check(crowd, server.sql, ports=nodes.ports[1:])
