"""The writes of one process: a batch a transaction, certificates first.

Invariants:

* those who bring the same token, or renew the same certificate, are done one after the other, so that a batch never
  decides between its own members;
* a batch that fails for one of its members fails for that one only;
* what a COMMIT that nobody confirmed was about is told so, all of it, and nothing of it is tried again.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import suppress

from online.store.networked import failures, refusals
from online.store.networked.engine import Engine, Gate, Issue, Recorded, Session
from online.store.networked.failures import Fate, Verdict
from online.store.networked.gather import Gather
from online.store.networked.link import Link, TransactionFailedError
from online.store.networked.operations import Operation, withdraw
from shared.errors import StoreFailed

Write = Issue | Operation
_Outcomes = list[Recorded | None]

# Failures that may be one member's fault.
_INDIVIDUAL = frozenset({Fate.AGAIN, Fate.TAKEN, Fate.REFUSED})


class Writing:
    """Has writes committed over one connection."""

    def __init__(self, engine: Engine, *, seconds: float, transaction_seconds: float) -> None:
        """Make a writer.

        Args:
            engine: the kind of server.
            seconds: how long a caller waits at most.
            transaction_seconds: how long a transaction may take, with all that is tried again; less than that.
        """
        self._engine = engine
        self._link = Link(engine, seconds=transaction_seconds)
        self._writes = Gather[Write, int](self._run, seconds=seconds)

    async def submit(self, write: Write) -> int:
        """Have something written and committed.

        Raises:
            ColdrootError: as ``Gather.submit``, and the refusal.
        """
        return await self._writes.submit(write)

    async def close(self) -> None:
        """Finish what was accepted, and let go of the connection."""
        await self._writes.close()
        await self._link.drop()

    async def _run(self, batch: Sequence[Write]) -> Sequence[Recorded]:
        outcomes: _Outcomes = [None] * len(batch)
        failed = StoreFailed("store.failed", "the database did not answer")
        try:
            await self._issue(batch, outcomes)
            for gate in (Gate.SHARED, Gate.EXCLUSIVE):
                places = [at for at, each in enumerate(batch) if isinstance(each, Operation) and each.gate is gate]
                await self._operate(gate, batch, places, outcomes)
        except StoreFailed as failure:
            # About the database as a whole: it is not asked again for those who are left.
            failed = failure
        return [
            StoreFailed(failed.code, failed.message, hint=failed.hint) if each is None else each for each in outcomes
        ]

    async def _issue(self, batch: Sequence[Write], outcomes: _Outcomes) -> None:
        waiting = [(at, each) for at, each in enumerate(batch) if isinstance(each, Issue)]
        spent: set[Hashable] = set()
        while waiting:
            chosen: list[tuple[int, Issue]] = []
            later: list[tuple[int, Issue]] = []
            keys: set[Hashable] = set()
            for at, each in waiting:
                token, parent = _token(each), each.certificate.parent
                if token is not None and token in spent:
                    outcomes[at] = refusals.used()
                elif keys.isdisjoint({token, parent} - {None}):
                    keys |= {token, parent}
                    chosen.append((at, each))
                else:
                    later.append((at, each))
            await self._record(chosen, outcomes)
            spent |= {_token(each) for at, each in chosen if isinstance(outcomes[at], int)}
            waiting = later

    async def _record(self, chosen: Sequence[tuple[int, Issue]], outcomes: _Outcomes) -> None:
        """Record certificates that have nothing to do with each other."""
        if not chosen:
            return
        issues = [each for _, each in chosen]
        try:
            done = await self._link.transaction(Gate.SHARED, lambda session: self._engine.record(session, issues))
        except TransactionFailedError as failed:
            if self._settles([at for at, _ in chosen], failed.verdict, outcomes):
                return
            for each in chosen:
                await self._record((each,), outcomes)
            return
        for (at, _), outcome in zip(chosen, done, strict=True):
            outcomes[at] = outcome
        await self._recheck([(at, each) for at, each in chosen if isinstance(outcomes[at], int)], outcomes)

    async def _recheck(self, issued: Sequence[tuple[int, Issue]], outcomes: _Outcomes) -> None:
        """Refuse after all what was revoked on another server meanwhile; nobody has it yet."""
        issues = [each for _, each in issued]
        try:
            found = await self._link.read(lambda session: self._engine.recheck(session, issues))
        except TransactionFailedError:
            for at, _ in issued:
                outcomes[at] = failures.UNKNOWN.error
            return
        late = [(at, each, refusal) for (at, each), refusal in zip(issued, found, strict=True) if refusal is not None]
        for at, _, refusal in late:
            outcomes[at] = refusal
        if late:
            # So that nobody takes the rows for living certificates. If it fails, they are nobody's all the same.
            withdrawal = withdraw([each.certificate for _, each, _ in late])
            with suppress(TransactionFailedError):
                await self._link.transaction(
                    Gate.EXCLUSIVE, lambda session: session.connection.run_sync(withdrawal.run)
                )

    async def _operate(self, gate: Gate, batch: Sequence[Write], places: Sequence[int], outcomes: _Outcomes) -> None:
        """Do operations, in their order, in one transaction."""
        if not places:
            return

        async def run(session: Session) -> list[Recorded]:
            await self._engine.check(session)
            chosen = [each for each in (batch[at] for at in places) if isinstance(each, Operation)]
            return [await session.connection.run_sync(each.run) for each in chosen]

        try:
            done = await self._link.transaction(gate, run)
        except TransactionFailedError as failed:
            if self._settles(places, failed.verdict, outcomes):
                return
            for at in places:
                await self._operate(gate, batch, (at,), outcomes)
            return
        for at, outcome in zip(places, done, strict=True):
            outcomes[at] = outcome

    @staticmethod
    def _settles(places: Sequence[int], verdict: Verdict, outcomes: _Outcomes) -> bool:
        """Take a failure for the outcome of all that it is about; ``False`` when each shall be tried alone.

        Raises:
            StoreFailed: it is about the database as a whole, and nothing of this was done.
        """
        if verdict is not failures.UNKNOWN and verdict.fate not in _INDIVIDUAL:
            raise verdict.error
        if verdict is not failures.UNKNOWN and len(places) > 1:
            return False
        for at in places:
            outcomes[at] = verdict.error
        return True


def _token(issue: Issue) -> Hashable:
    return None if issue.token is None else (issue.token.provisioner_id, issue.token.digest)
