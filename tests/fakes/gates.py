"""Gates in a fake writer's way: a test opens them when it has seen what it wanted to see."""

from __future__ import annotations

import threading

from shared.errors import StoreFailed

LIMIT = 30.0
"""Seconds that anything waits at a gate."""


class GatedCommits:
    """The commits of a writer of numbers; what was written in between is a list."""

    def __init__(self) -> None:
        self.turn_gate = threading.Event()
        self.commit_gate = threading.Event()
        self.committing = threading.Event()
        self.batches: list[list[int]] = []
        self.written: list[int] = []
        self.commit_failures: list[Exception] = []
        self.turn_gate.set()
        self.commit_gate.set()

    def commit(self) -> None:
        self.committing.set()
        self.commit_gate.wait(LIMIT)
        written, self.written = self.written, []
        if self.commit_failures:
            raise self.commit_failures.pop()
        if written:
            self.batches.append(written)

    def may_retry(self, failure: StoreFailed) -> bool:
        return failure.code == "store.conflict"
