"""The later acts in other circumstances: other keys, a next root of another name, people who say no, old backups."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from fakes.later_acts import Story, make_partner, plan_text
from fakes.rehearsal import no_hardening
from fakes.softhsm import needs_softhsm

from ceremony.conduct.cross import sign_cross
from ceremony.conduct.destroy import destroy
from ceremony.conduct.directory import CeremonyDirectory
from ceremony.conduct.setting import Setting
from ceremony.hsm import load_hsm_settings
from ceremony.records import Mode
from ceremony.terminal import Rehearsing
from shared.clock import SystemClock
from shared.errors import PolicyDenied
from shared.pem import load_certificate

pytestmark = needs_softhsm


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hardening(monkeypatch)


class Refusing(Rehearsing):
    """People who do not agree."""

    def compare(self, what: str, digest: bytes) -> None:
        """Refuse."""
        del digest
        raise PolicyDenied("digest.not-confirmed", f"the words of the {what} are others")

    def confirm(self, what: str) -> None:
        """Refuse."""
        raise PolicyDenied("people.refused", what)


def _story(base: Path, **options: object) -> Story:
    partner = make_partner()
    story = Story(base)
    story.begin(partner, plan_text(partner, **options))  # type: ignore[arg-type]
    done = story.alpha()
    assert done.exit_code == 0, done.stderr
    return story


def _setting(story: Story) -> Setting:
    return Setting(
        directory=CeremonyDirectory(path=story.directory),
        hsm=load_hsm_settings(story.base / "hsm.toml"),
        people=Refusing(story.words),
        clock=SystemClock(),
        rng=os.urandom,
        mode=Mode.REHEARSAL,
    )


@pytest.mark.parametrize("key", ["ed25519", "rsa"])
def test_other_kinds_of_key_and_another_name(tmp_path: Path, key: str) -> None:
    """Old and next root may be of different kinds and names; every program must still find the way over."""
    story = _story(tmp_path, key=key, backup=False, next_name="Example Root CA 2", acts=_WITHOUT_BACKUP)
    for command in (("crl", "yearly"), ("cross", "partner", str(story.other_root)), ("rollover", "next")):
        done = story.act(*command)
        assert done.exit_code == 0, done.stderr
    base = story.directory
    new, link = base / "rollover/next/root.crt", base / "rollover/next/old-with-new.crt"
    judged = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", new, "-untrusted", link, base / "alpha.crt"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stderr
    assert load_certificate(new.read_bytes()).subject != load_certificate((base / "root.crt").read_bytes()).subject
    destroyed = story.act("destroy")
    assert destroyed.exit_code == 0, destroyed.stderr
    verified = story.run("verify", base)
    assert verified.exit_code == 0, verified.stderr
    assert "cannot leave it" in verified.output


def test_people_who_do_not_agree(tmp_path: Path) -> None:
    """A wrong word stops the certificate, and a no stops the end: nothing is signed, nothing is destroyed."""
    story = _story(tmp_path, key="ec-p256")
    before = story.snapshot()
    with pytest.raises(PolicyDenied) as denied:
        sign_cross(_setting(story), "partner", story.other_root)
    assert denied.value.code == "digest.not-confirmed"
    assert story.snapshot() == before
    with pytest.raises(PolicyDenied) as denied:
        destroy(_setting(story))
    assert denied.value.code == "people.refused"
    assert story.act("inventory").exit_code == 0
    assert story.run("verify", story.directory).exit_code == 0


def test_a_key_that_the_token_cannot_wrap(tmp_path: Path) -> None:
    """Some devices wrap only some kinds of key: people must be told which it is, and the key must be as it was."""
    story = _story(tmp_path, key="ed25519")
    done = story.act("backup")
    assert (done.exit_code, "cannot wrap a key of this kind" in done.stderr) == (1, True)
    assert not list((story.directory / "backup").glob("*.json"))
    assert story.act("inventory").exit_code == 0


def test_a_backup_from_before_a_rotation(tmp_path: Path) -> None:
    """The old shares are dead for the HSM, but not for an old backup: it must be made anew, and destroyed."""
    acts = 'acts = ["root", "intermediate:alpha", "backup", "restore-test", "rotate:new"]'
    extra = '\n[[rotation]]\nname = "new"\nthreshold = 2\ncustodians = ["Dora", "Emil", "Fritz"]\n'
    story = _story(tmp_path, key="ec-p256", acts=acts, extra=extra)
    assert story.act("backup").exit_code == 0
    new_words = tmp_path / "new-words.txt"
    rotated = story.act("rotate", "--new-words-file", new_words, "new")
    assert rotated.exit_code == 0, rotated.stderr
    story.words.unlink()
    new_words.rename(story.words)
    done = story.act("restore-test")
    assert (done.exit_code, "make a new backup, and destroy this one" in done.stderr) == (1, True)
    again = story.act("backup")
    assert again.exit_code == 0, again.stderr
    tried = story.act("restore-test")
    assert (tried.exit_code, "backup-2.json restores" in tried.output) == (0, True)
    verified = story.run("verify", story.directory)
    assert verified.exit_code == 0, verified.stderr


_WITHOUT_BACKUP = (
    'acts = ["root", "intermediate:alpha", "crl:yearly", "cross:partner", "rollover:next", "crl:revoking", "destroy"]'
)
