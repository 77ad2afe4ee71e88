"""The tests themselves: every process must find the same ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_process_collects_the_same_tests() -> None:
    """A parameter named by random bytes, by the clock or by a set's order stops any run by several processes."""
    collecting = [
        subprocess.Popen(
            [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider", "tests"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for seed in ("1", "2")
    ]
    found = []
    for process in collecting:
        said = process.communicate()[0]
        assert process.returncode == 0, said[-2000:]
        found.append([line for line in said.splitlines() if "::" in line])
    first, second = found
    assert len(first) > 1000
    assert sorted(set(first) ^ set(second)) == []
    assert first == second
