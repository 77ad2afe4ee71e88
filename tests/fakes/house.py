"""A housekeeper for a world of tests."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from fakes.hierarchy import World

from online.accesslog import Log
from online.archive import Archive
from online.housekeeping import Chores, Housekeeper
from online.lineage import DEFAULT, Succession
from online.store import Store

BACKDATE = timedelta(minutes=1)


def housekeeper(
    world: World,
    *,
    store: Store | None = None,
    succession: Succession = DEFAULT,
    archive: Path = Path("/nowhere"),
    archive_after: timedelta | None = None,
    revoked: list[str] | None = None,
) -> Housekeeper:
    """Return one for the world's clock, and its own store unless another is given; ``revoked`` hears of revocations."""
    heard = revoked if revoked is not None else []
    chores = Chores(succession=succession, backdate=BACKDATE, archive=Archive(archive), archive_after=archive_after)
    return Housekeeper(
        store or world.store, chores, clock=world.clock, log=Log(world.clock), revoked=lambda: heard.append("revoked")
    )
