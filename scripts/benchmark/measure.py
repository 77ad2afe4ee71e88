"""The load generator, built and run; the matrix, round by round."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from nodes import House, Node
from programs import Failed
from works import OURS, Reading, Work

_SOURCE = Path(__file__).parent / "loadgen"
_PATIENCE = 300.0


def build(directory: Path) -> Path:
    """Build the load generator.

    Args:
        directory: takes the program.

    Raises:
        Failed: Go is missing, or does not build it.
    """
    go = shutil.which("go")
    if go is None:
        raise Failed("Go is not installed, and the load generator is written in it (Debian: golang-go, 1.21 or newer)")
    program = directory / "loadgen"
    built = subprocess.run(
        [go, "build", "-o", program, "."], cwd=_SOURCE, capture_output=True, text=True, check=False, timeout=_PATIENCE
    )
    if built.returncode:
        raise Failed(f"the load generator was not built:\n{built.stderr.strip()}")
    return program


def run(program: Path, house: House, node: Node, work: Work) -> Reading:
    """Put one load on a node.

    Args:
        program: the load generator.
        house: whose names and keys are used.
        node: takes the load.
        work: the load.

    Raises:
        Failed: an answer was wrong, or the load generator gave up.
    """
    command: list[str | Path] = [
        program, "-url", node.url, "-root", house.home.root, "-provisioner-key", house.provisioner_key,
        "-kid", house.kid, "-work", work.kind, "-connections", str(work.connections),
        "-requests", str(max(work.requests, work.connections)), "-warmup", str(max(100, 4 * work.connections)),
        "-watch", f"node={node.pid}",
    ]  # fmt: skip
    if node.database_pid is not None:
        command += ["-watch", f"database={node.database_pid}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    if not done.stdout:
        raise Failed(f"{node.product}, {work.name}: {done.stderr.strip()}")
    seen = json.loads(done.stdout)
    at_node, at_database = seen["watched"]["node"], seen["watched"].get("database", {"cpu_seconds": 0.0})
    reading = Reading(
        requests=seen["requests"],
        failed=seen["failed"],
        seconds=seen["seconds"],
        p50=seen["latency_ms"]["p50"],
        p99=seen["latency_ms"]["p99"],
        node_cpu=at_node["cpu_seconds"],
        database_cpu=at_database["cpu_seconds"],
        client_cpu=seen["client_cpu_seconds"],
        node_memory=at_node["own_mib"],
        node_resident=at_node["resident_mib"],
    )
    if reading.failed and node.product == OURS:
        complaints = "; ".join(seen["complaints"])
        raise Failed(f"{reading.failed} of {reading.requests} answers were wrong ({work.name}): {complaints}")
    return reading
