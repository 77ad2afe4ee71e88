"""What an agent decides about one pair, under a clock that a test moves: when, how often, and never the last time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from fakes.step_ca import FakeCa

from online.client import AskedToWait
from online.renewal.hooks import Hooks, Renewed
from online.renewal.install import install_pair
from online.renewal.keeper import Keeper, Moment, Work, in_turn
from online.renewal.outputs import Outputs
from online.renewal.pair import Pair
from online.renewal.status import StatusFile, describe, summary
from shared import durable, keys
from shared.errors import PeerFailed, Unauthenticated
from shared.keys import KeyKind
from shared.keystore import private_key_pem
from shared.pem import certificate_pem

CA = FakeCa()
KEY = keys.generate(KeyKind.EC_P256)
HOUR = 3600.0
DAY = 24 * HOUR
BEGIN = datetime(2026, 11, 24, 8, tzinfo=UTC)


@dataclass
class Scene:
    """A pair on disk, a CA that answers or not, and two clocks."""

    directory: Path
    chance: float = 0.5
    wall: float = BEGIN.timestamp()
    elapsed: float = 1000.0
    answer: Callable[[], None] = lambda: None
    """Raises when the CA shall refuse."""
    deaf: tuple[str, ...] = ()
    owed: Renewed | None = None
    """What an earlier process did not tell."""
    said: list[str] = field(default_factory=list)
    renewals: int = 0
    told: int = 0
    refreshed: int = 0

    def __post_init__(self) -> None:
        self.write(self.leaf())

    @property
    def pair(self) -> Pair:
        return Pair(name="foo", certificate=self.directory / "foo.crt", key=str(self.directory / "foo.key"))

    def leaf(self, life: timedelta = timedelta(hours=24)) -> tuple[x509.Certificate, ...]:
        return CA.leaf(KEY.public_key(), "foo.local", begin=datetime.fromtimestamp(int(self.wall), UTC), life=life)

    def write(self, chain: tuple[x509.Certificate, ...]) -> None:
        crt, key = self.directory / "foo.crt", self.directory / "foo.key"
        install_pair(crt, key, chain, private_key_pem(KEY, None), overwrite=crt.exists())

    def moment(self) -> Moment:
        return Moment(self.wall, self.elapsed)

    def keeper(self, pair: Pair | None = None, *, force: bool = False) -> Keeper:
        return Keeper(pair or self.pair, self._work(), force=force)

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.elapsed += seconds

    def step(self, keeper: Keeper) -> bool:
        """Do what the loop does once; say whether there was an attempt."""
        keeper.look(self.moment())
        if not keeper.is_ready(self.moment()):
            return False
        keeper.begin(self.moment())
        assert not keeper.is_ready(self.moment())
        keeper.act()
        return True

    def run(self, keeper: Keeper, seconds: float) -> int:
        """Let time pass as the loop would: to the next moment or half a minute on, and count the attempts."""
        until, attempts = self.elapsed + seconds, 0
        while self.elapsed < until:
            attempts += self.step(keeper)
            keeper.look(self.moment())
            self.pass_time(min(max(keeper.ready_in(self.moment()), 0.01), 30.0, until - self.elapsed + 0.01))
        return attempts

    def _work(self) -> Work:
        return Work(
            renew=self._renew,
            refresh=self._refresh,
            tell=self._tell,
            owed=lambda _: self.owed,
            now=self.moment,
            chance=lambda: self.chance,
            say=self.said.append,
        )

    def _renew(self, pair: Pair, now: datetime) -> Renewed:
        assert now.timestamp() == pytest.approx(self.wall)
        self.answer()
        old, chain = x509.load_pem_x509_certificate(pair.certificate.read_bytes()), self.leaf()
        durable.replace(pair.certificate, certificate_pem(*chain))
        self.renewals += 1
        return Renewed(certificate=pair.certificate, key=pair.key, old=old, new=chain[0], rekeyed=pair.rekey)

    def _refresh(self, pair: Pair) -> None:
        assert pair.outputs
        self.refreshed += 1

    def _tell(self, pair: Pair, renewed: Renewed) -> tuple[str, ...]:
        del pair, renewed
        self.told += 1
        return self.deaf


@pytest.fixture(name="scene")
def _scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def refuse(code: str = "ca.unreachable") -> Callable[[], None]:
    def answer() -> None:
        raise PeerFailed(code, "no")

    return answer


def test_a_month_passes(scene: Scene) -> None:
    """The whole point: nobody looks for 30 days, and it was renewed each time at two thirds of life."""
    keeper = scene.keeper()
    attempts = scene.run(keeper, 30 * DAY)
    # Two thirds of 24 h, less half of a twentieth of 24 h.
    assert attempts == scene.renewals == scene.told == int(30 * DAY / (15.4 * HOUR))
    assert keeper.error is None
    assert keeper.leaf is not None
    assert keeper.leaf.not_valid_after_utc.timestamp() > scene.wall


@pytest.mark.parametrize("hours", [1, 7, 8])
@pytest.mark.parametrize("chance", [0.0, 0.3, 0.999])
def test_an_outage_shorter_than_a_third_of_life_is_survived(scene: Scene, hours: float, chance: float) -> None:
    """The CA is away from the moment of the renewal on; whatever is drawn, there is an attempt in time."""
    scene.chance = chance
    keeper = scene.keeper()
    keeper.look(scene.moment())
    scene.pass_time(keeper.ready_in(scene.moment()))
    scene.answer = refuse()
    scene.run(keeper, hours * HOUR - 60)
    assert scene.renewals == 0
    assert keeper.failures > 0
    end = keeper.leaf.not_valid_after_utc.timestamp() if keeper.leaf else 0.0
    scene.answer = lambda: None
    while not scene.renewals:
        scene.run(keeper, 1)
    assert scene.wall < end
    assert (keeper.failures, keeper.error) == (0, None)


def test_it_never_stops_trying(scene: Scene) -> None:
    """An agent that gives up after the end is one more thing to start again by hand; the CA may allow it still."""
    keeper = scene.keeper()
    scene.answer = refuse()
    scene.run(keeper, 5 * DAY)
    assert any("ENDED" in line for line in scene.said)
    assert 50 < keeper.failures < 500
    scene.answer = lambda: None
    scene.run(keeper, HOUR)
    assert scene.renewals == 1


def test_a_busy_ca_is_left_alone(scene: Scene) -> None:
    """Retry-After is the least, for whoever comes earlier keeps it busy."""

    def busy() -> None:
        raise AskedToWait("ca.busy", "later", hint=None, seconds=600)

    keeper = scene.keeper(force=True)
    scene.answer = busy
    assert scene.step(keeper)
    assert scene.run(keeper, 599) == 0
    assert scene.run(keeper, 30) == 1


def test_sleep_and_a_set_clock_do_not_make_it_late(scene: Scene) -> None:
    """A timer that counts seconds of being awake oversleeps; a clock that is put right moves the moment with it."""
    keeper = scene.keeper()
    keeper.look(scene.moment())
    # The machine sleeps for 20 hours.
    scene.pass_time(20 * HOUR)
    assert scene.step(keeper)
    assert scene.renewals == 1
    # The clock is set forward over the moment of renewal, then back.
    scene.wall += 16 * HOUR
    assert keeper.is_ready(scene.moment())
    scene.wall -= 16 * HOUR
    assert not keeper.is_ready(scene.moment())
    # Waiting after a failure does not depend on that clock.
    scene.answer = refuse()
    keeper.hasten()
    scene.step(keeper)
    scene.wall -= 365 * DAY
    assert keeper.ready_in(scene.moment()) <= 5


def test_a_replaced_pair_is_noticed(scene: Scene) -> None:
    """step keeps the old pair in memory and goes on with a key that was replaced for a reason."""
    keeper = scene.keeper()
    scene.answer = refuse()
    scene.pass_time(17 * HOUR)
    scene.step(keeper)
    assert keeper.failures == 1
    scene.write(scene.leaf())
    keeper.look(scene.moment())
    assert (keeper.failures, keeper.error) == (0, None)
    assert keeper.ready_in(scene.moment()) == pytest.approx(15.4 * HOUR, abs=2)
    assert "was replaced" in scene.said[-1]
    # Touched, not replaced: nothing is said and nothing is forgotten.
    said = len(scene.said)
    scene.pair.certificate.touch()
    keeper.look(scene.moment())
    assert len(scene.said) == said


def test_a_certificate_that_is_away_for_a_moment_is_waited_for(scene: Scene) -> None:
    """Whoever replaces it by hand deletes it first."""
    keeper = scene.keeper()
    content = scene.pair.certificate.read_bytes()
    scene.pair.certificate.unlink()
    keeper.look(scene.moment())
    assert keeper.error is not None
    assert keeper.error.code == "file.missing"
    scene.pair.certificate.write_bytes(content)
    keeper.look(scene.moment())
    assert keeper.error is None
    assert keeper.ready_in(scene.moment()) > HOUR


def test_who_was_not_told_is_told_again(scene: Scene) -> None:
    """A server that was not reloaded goes on with the old certificate until that expires."""
    keeper = scene.keeper(force=True)
    scene.deaf = ("nginx exited with 1",)
    scene.step(keeper)
    assert scene.renewals == 1
    assert keeper.not_told == scene.deaf
    assert keeper.error is not None
    assert describe(keeper, scene.moment())["not_told"] == ["nginx exited with 1"]
    scene.run(keeper, 60)
    assert scene.told > 2
    scene.deaf = ()
    scene.run(keeper, HOUR)
    assert keeper.error is None
    assert not keeper.not_told
    # All that time the certificate was fresh, and nobody asked the CA again.
    assert scene.renewals == 1


@pytest.mark.parametrize("said", [{"expires_in": "30h"}, {"period": timedelta(hours=30)}], ids=["window", "period"])
def test_a_life_too_short_for_what_was_said(scene: Scene, said: dict[str, Any]) -> None:
    """When the CA gives shorter lives, an agent must neither renew without end nor leave the server untold."""
    keeper = scene.keeper(replace(scene.pair, **said), force=True)
    assert scene.step(keeper)
    assert (scene.renewals, scene.told) == (1, 1)
    assert any("two thirds" in line for line in scene.said)
    assert scene.run(keeper, 15 * HOUR) == 0
    assert scene.run(keeper, HOUR) == 1
    assert (scene.renewals, scene.told) == (2, 2)


def test_everybody_gets_a_turn(scene: Scene) -> None:
    """Of 200 pairs, the first ten of which hang in their attempts again and again, the last is renewed too."""
    keepers, served = [scene.keeper() for _ in range(6)], set()
    for _ in range(3):
        for keeper in in_turn(keepers)[:2]:
            keeper.begin(scene.moment())
            served.add(keeper)
            assert keeper not in in_turn(keepers)
        scene.pass_time(60)
        for keeper in served:
            keeper.busy_since = None
    assert served == set(keepers)


def test_hasten_renews_now(scene: Scene) -> None:
    """SIGHUP after the CA was repaired must not wait for the end of a long pause."""
    keeper = scene.keeper()
    scene.answer = refuse()
    scene.pass_time(17 * HOUR)
    scene.run(keeper, 2 * HOUR)
    scene.answer = lambda: None
    keeper.hasten()
    assert scene.step(keeper)
    assert scene.renewals == 1
    assert not scene.step(keeper)


def test_a_refusal_and_a_surprise_are_failures_like_any_other(scene: Scene) -> None:
    """Neither a 401, which an operator may lift, nor a fault in the program may end the agent."""
    keeper = scene.keeper(force=True)

    def revoked() -> None:
        raise Unauthenticated("ca.unauthenticated", "no")

    def surprise() -> None:
        raise ZeroDivisionError("with a secret")

    for failures, answer in enumerate((revoked, surprise), 1):
        scene.answer = answer
        keeper.hasten()
        scene.step(keeper)
        assert keeper.failures == failures
        assert keeper.busy_since is None
    assert "secret" not in "".join(scene.said)
    assert keeper.error is not None
    assert keeper.error.code == "internal.unexpected"


def test_further_files_are_looked_after_at_the_start(scene: Scene) -> None:
    """A run that was killed between the pair and its PKCS#12 file leaves the old one there."""
    pair = Pair(
        name="foo",
        certificate=scene.pair.certificate,
        key=scene.pair.key,
        outputs=Outputs(combined=scene.directory / "foo.pem"),
    )
    keeper = scene.keeper(pair)
    assert scene.step(keeper)
    assert (scene.refreshed, scene.renewals) == (1, 0)
    assert not scene.step(keeper)


def test_an_attempt_that_hangs_is_noticed(scene: Scene) -> None:
    """The watchdog is not fed for an agent whose attempt never ends; long commands are given their time."""
    pair = Pair(
        name="foo", certificate=scene.pair.certificate, key=scene.pair.key, hooks=Hooks(commands=(("x",), ("y",)))
    )
    for keeper, honest in ((scene.keeper(), 590), (scene.keeper(pair), 1000)):
        assert not keeper.is_stuck(scene.moment())
        keeper.busy_since = scene.elapsed
        assert not keeper.is_stuck(Moment(scene.wall, scene.elapsed + honest))
        assert keeper.is_stuck(Moment(scene.wall, scene.elapsed + 2000))


def test_the_status_is_written_when_something_changed(scene: Scene) -> None:
    """Monitoring reads the file: it must be whole, true and not rewritten each half minute for nothing."""
    file = scene.directory / "status.json"
    status, keeper = StatusFile(file), scene.keeper()
    keeper.look(scene.moment())
    assert status.update([keeper], scene.moment()) is None
    first = file.stat().st_mtime_ns, file.read_text()
    assert '"failures": 0' in first[1]
    scene.pass_time(30)
    status.update([keeper], scene.moment())
    assert (file.stat().st_mtime_ns, file.read_text()) == first
    scene.pass_time(300)
    status.update([keeper], scene.moment())
    assert file.read_text() != first[1]
    assert summary([keeper], scene.moment()).startswith("1 certificates, 0 failing, next at 2026-11-24T")
    # A disk that fails is told once.
    broken = StatusFile(scene.directory / "missing" / "status.json")
    assert broken.update([keeper], scene.moment()) is not None
    assert broken.update([keeper], scene.moment()) is None


def test_what_an_earlier_agent_did_not_tell_is_told_at_once(scene: Scene, tmp_path: Path) -> None:
    """Without this, a restart of the agent would make a server keep its old certificate until the next renewal."""
    old, new = scene.leaf()[0], x509.load_pem_x509_certificate(scene.pair.certificate.read_bytes())
    scene.owed = Renewed(certificate=scene.pair.certificate, key=scene.pair.key, old=old, new=new, rekeyed=False)
    scene.deaf = ("nginx: not running",)
    keeper = scene.keeper()
    assert scene.step(keeper)
    assert (scene.told, scene.renewals, keeper.not_told) == (1, 0, scene.deaf)
    scene.deaf = ()
    scene.run(keeper, 60)
    assert (scene.told, scene.renewals, keeper.not_told, keeper.error) == (2, 0, (), None)
    combined = replace(scene.pair, outputs=Outputs(combined=tmp_path / "foo.pem"))
    second = scene.keeper(combined)
    assert scene.step(second)
    assert (scene.refreshed, scene.told) == (1, 2), "the files that are read by whoever is told come first"
    assert scene.step(second)
    assert scene.told == 3
