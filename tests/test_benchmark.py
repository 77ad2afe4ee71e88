"""What ``scripts/bench`` reckons with, and that its load generator believes no answer by itself."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest
from cryptography import x509
from fakes.servers import descendants
from fakes.step_ca import Answer, FakeCa, serving

from online.jose.jwk import PrivateJwk
from shared import keys
from shared.keys import KeyKind, PublicKey, generate
from shared.keystore import private_key_pem
from shared.pem import certificate_pem

ROOT = Path(__file__).resolve().parents[1]
BENCHMARK = ROOT / "scripts" / "benchmark"
needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed: no load generator")


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ...]:
    """The program's modules, which are not in a package."""
    monkeypatch.syspath_prepend(str(BENCHMARK))
    names = ("works", "goals", "report", "picture")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tuple(__import__(name) for name in names)


def test_verdicts_follow_from_medians(parts: tuple[ModuleType, ...]) -> None:
    """A goal that is counted from the wrong side, or from a single round, would praise what is slow."""
    works, goals, report, picture = parts

    def reading(cpu: float, seconds: float) -> object:
        return works.Reading(
            requests=1000, failed=0, seconds=seconds, p50=1.0, p99=cpu, node_cpu=cpu, database_cpu=0.0, client_cpu=0.1,
            node_memory=100.0, node_resident=150.0,
        )  # fmt: skip

    eight, many = (
        next(each for each in works.MATRIX if (each.database, each.kind, each.connections) == ("embedded", "sign", c))
        for c in (8, 32)
    )
    readings = {
        ("coldroot", eight): [reading(cpu, 1.0) for cpu in (0.5, 9.0, 0.4)],
        ("step-ca", eight): [reading(cpu, 1.0) for cpu in (1.0, 0.9, 1.1)],
        ("coldroot", many): [reading(0.7, 1.0)],
        ("step-ca", many): [reading(1.0, 1.5)],
    }
    outcome = works.Outcome(readings=readings, starts={"coldroot": [0.5, 0.3, 0.3]})
    seen = {(goal.what, goal.unit): goal for goal in goals.GOALS}
    cpu = seen["sign, connection kept, C=8", "CPU s/1000"]
    assert cpu.value(outcome) == pytest.approx(0.5)
    assert cpu.met(outcome) is True
    assert seen["sign, connection kept, C=32", "CPU s/1000"].met(outcome) is False
    rate = seen["sign, connection kept, C=32", "answers/s"]
    assert rate.value(outcome) == pytest.approx(1.5)
    assert rate.met(outcome) is False
    assert seen["renew (mTLS, new connection), C=8", "CPU s/1000"].met(outcome) is None
    assert seen["start to the first healthy answer", "s"].met(outcome) is True
    table = report.verdicts(outcome)
    assert table.count("**missed**") == 2
    assert table.count("not measured") == 5
    drawn = ET.fromstring(picture.draw(outcome, goals.GOALS, heading="a < b"))  # noqa: S314 (our own)
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}path")) == 2 * 4 + 2


def test_the_page_has_a_place_for_each_table(parts: tuple[ModuleType, ...], tmp_path: Path) -> None:
    """A run of many minutes that then cannot be kept would have been for nothing."""
    report = parts[2]
    page = tmp_path / "performance.md"
    shutil.copy(ROOT / "docs" / "performance.md", page)
    for name in ("figures", "budget", "profile", "growth", "renewals"):
        report.put(page, name, f"the table of {name}")
        report.put(page, name, f"the new table of {name}")
        assert page.read_text().count(f"table of {name}\n") == 1


class _Prefixed(FakeCa):
    """As a CA that is asked by the longer paths."""

    def answer(self, path: str, body: dict[str, object], peer: x509.Certificate | None) -> Answer:
        return super().answer(path.removeprefix("/1.0"), body, peer)


@needs_go
def test_the_load_generator_counts_wrong_answers(tmp_path: Path) -> None:
    """A node that is fast because it hands out anything would win."""
    loadgen = _built(tmp_path)
    ca = _Prefixed()
    signer = PrivateJwk.of(generate(KeyKind.EC_P256))
    (tmp_path / "root.pem").write_bytes(certificate_pem(ca.root))
    (tmp_path / "key.pem").touch(mode=0o600)
    (tmp_path / "key.pem").write_bytes(private_key_pem(signer.key, None))
    tries = 0

    def sometimes(chain: tuple[x509.Certificate, ...]) -> tuple[x509.Certificate, ...]:
        nonlocal tries
        tries += 1
        other: PublicKey = generate(KeyKind.EC_P256).public_key()
        own = keys.certificate_key(chain[0])
        name = chain[0].subject.rfc4514_string().removeprefix("CN=")
        return {
            1: ca.leaf(other, name),
            2: ca.leaf(own, "other.example.com"),
            3: ca.leaf(own, name, begin=chain[0].not_valid_before_utc - timedelta(days=3)),
            4: (chain[0], ca.root),
        }.get(tries % 6, chain)

    with serving(ca, tmp_path):
        command: list[str | Path] = [
            loadgen, "-url", ca.url.replace("127.0.0.1", "localhost"), "-root", tmp_path / "root.pem",
            "-provisioner-key", tmp_path / "key.pem", "-kid", signer.kid, "-work", "sign-new",
            "-connections", "1", "-requests", "12", "-warmup", "0",
        ]  # fmt: skip
        fair = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert fair.returncode == 0, fair.stdout
        ca.tamper = sometimes
        foul = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert json.loads(fair.stdout)["failed"] == 0
    assert foul.returncode == 1
    assert json.loads(foul.stdout)["failed"] == 8


@needs_go
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_running(number: signal.Signals, tmp_path: Path) -> None:
    """Servers that survive the benchmark would spoil the next one, and whatever else the machine is for."""
    command = [sys.executable, "-I", str(BENCHMARK), "--quick", "--only-ours", "--databases", "embedded"]
    with (tmp_path / "log").open("wb") as log:
        bench = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        until = time.monotonic() + 60
        while not any("serve" in _command_line(pid) for pid in descendants(bench.pid)):
            assert bench.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.02)
        started = descendants(bench.pid)
        bench.send_signal(number)
        assert bench.wait(60) != 0
        assert "Traceback" not in (tmp_path / "log").read_text()
        assert [pid for pid in started if "coldroot-bench" in _command_line(pid)] == []
    finally:
        bench.kill()
        bench.wait()


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def _built(directory: Path) -> Path:
    program = directory / "loadgen"
    subprocess.run(["go", "build", "-o", program, "."], cwd=BENCHMARK / "loadgen", check=True, timeout=120)
    return program
