"""Shares of another tool: read as that tool reads them, and told what cannot be told from them."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from ceremony.cli import cli
from ceremony.share_legacy import _PRIMES, Alphabet, recover_legacy
from shared import terminal
from shared.errors import RequestRejected

# The examples that the package's own documentation prints; 2 of 3 each.
HEX_SECRET = "c4bbcb1fbec99d65bf59d85c8cb62ee2db963f0fe106f483d9afa73bd4e39a8a"
HEX_SHARES = [
    "1-58cbd30524507e7a198bdfeb69c8d87fd7d2c10e8d5408851404f7d258cbcea7",
    "2-ecdbdaea89d75f8e73bde77a46db821cd40f430d39a11c864e5a4868dcb403ed",
    "3-80ebe2cfef5e40a2cdefef0923ee2bb9d04bc50be5ee308788af98ff609c380a",
]
TEXT_SHARES = [
    "1-7da6b11af146449675780434f6589230a3435d9ab59910354205996f508b8d0d",
    "2-fb4d6235e28c892cea70367c15ec3cbfed4cf4a417bd01e9812980f3ac97ddc8",
    "3-78f41350d3d2cdc35f6868c3357fe74f37568bad79e0f39dc04d687808a42d5a",
]


def split(number: int, needed: int, count: int, seed: int = 1) -> list[str]:
    """Share a number as the package does: its prime is the smallest of its list that holds number and count."""
    prime = next(each for each in _PRIMES if each >= max(number, count))
    rng = random.Random(seed)  # noqa: S311 (repeatable on purpose)
    factors = [number, *(rng.randrange(prime) for _ in range(needed - 1))]
    return [
        f"{x:x}-{sum(factor * pow(x, power, prime) for power, factor in enumerate(factors)) % prime:x}"
        for x in range(1, count + 1)
    ]


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 2), (1, 2), (2, 0)])
def test_published_examples(first: int, second: int) -> None:
    """A reader that only understands its own shares is of no use to anybody who has the package's."""
    assert recover_legacy([HEX_SHARES[first], HEX_SHARES[second]], Alphabet.HEX).text == HEX_SECRET
    found = recover_legacy([TEXT_SHARES[first], TEXT_SHARES[second].upper()], Alphabet.TEXT)
    assert found.text == "correct horse battery staple"
    assert not found.agree


@settings(max_examples=60)
@given(text=st.text(string.printable, min_size=25, max_size=80), needed=st.integers(2, 6), more=st.integers(0, 4))
def test_round_trip_of_texts(text: str, needed: int, more: int) -> None:
    """Any PIN comes back, its lost zeros too when its length is known; a share to spare shows that all agree."""
    number = 0
    for symbol in text:
        number = number * 100 + string.printable.index(symbol)
    shares = split(number, needed, needed + more)
    found = recover_legacy(shares, Alphabet.TEXT, length=len(text))
    assert found.text == text
    assert found.agree is (more > 0)
    assert found.text not in repr(found)


def test_lost_zeros_are_put_back() -> None:
    """A PIN that begins with 0 comes back shorter from the package, and opens nothing."""
    shares = split(int("00ab12", 16), 2, 3)
    assert recover_legacy(shares, Alphabet.HEX).text == "ab12"
    assert recover_legacy(shares, Alphabet.HEX, length=6).text == "00ab12"
    with pytest.raises(RequestRejected) as refused:
        recover_legacy(shares, Alphabet.HEX, length=3)
    assert refused.value.code == "legacy-share.length"


def test_one_wrong_digit_is_seen_only_with_a_share_to_spare() -> None:
    """This is what the format cannot do: without a spare share a wrong secret looks like a right one."""
    shares = split(int(HEX_SECRET, 16), 2, 4)
    spoilt = [shares[0], shares[1][:-1] + ("0" if shares[1][-1] != "0" else "1"), *shares[2:]]
    assert recover_legacy(shares, Alphabet.HEX).agree
    assert not recover_legacy(spoilt, Alphabet.HEX).agree
    assert recover_legacy(spoilt[:2], Alphabet.HEX).text != HEX_SECRET


def test_the_prime_of_short_secrets_is_a_guess() -> None:
    """For a short PIN the package itself recovers wrongly now and then; the right one must then be among the others."""
    wrong = 0
    for seed in range(300):
        shares = split(0x2A5F3, 2, 3, seed)[:2]
        found = recover_legacy(shares, Alphabet.HEX)
        if found.text != "2a5f3":
            wrong += 1
            assert "2a5f3" in found.others
    assert 0 < wrong < 60
    assert recover_legacy(HEX_SHARES[:2], Alphabet.HEX).others == ()


@pytest.mark.parametrize(
    ("shares", "code"),
    [
        ([], "legacy-share.count"),
        (HEX_SHARES[:1], "legacy-share.count"),
        (HEX_SHARES * 30, "legacy-share.count"),
        ([HEX_SHARES[0], HEX_SHARES[0]], "legacy-share.duplicate"),
        ([HEX_SHARES[0], "0-ab"], "legacy-share.malformed"),
        ([HEX_SHARES[0], "2"], "legacy-share.malformed"),
        ([HEX_SHARES[0], "2-"], "legacy-share.malformed"),
        ([HEX_SHARES[0], "2-xyz"], "legacy-share.malformed"),
        ([HEX_SHARES[0], "2-" + "f" * 321], "legacy-share.malformed"),
        ([HEX_SHARES[0], "2-" + "f" * 320], "legacy-share.malformed"),
        ([HEX_SHARES[0], "²-ab"], "legacy-share.malformed"),
    ],
)
def test_what_is_no_share(shares: list[str], code: str) -> None:
    """The share's number is told, never its digits."""
    with pytest.raises(RequestRejected) as refused:
        recover_legacy(shares, Alphabet.HEX)
    assert refused.value.code == code
    assert not [share for share in shares if len(share) > 3 and share in refused.value.message]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret is shown only to whoever asks for it, and never without saying how little is sure."""
    answers = iter(TEXT_SHARES[:2])
    monkeypatch.setattr(terminal, "ask_secret", lambda _: next(answers).encode())
    hidden = _run("--shares", "2")
    assert (hidden.exit_code, hidden.stdout) == (0, "a secret of 28 symbols; --reveal prints it\n")
    assert "correct horse" not in hidden.output
    assert "nothing shows that this is the secret" in hidden.stderr
    file = tmp_path / "shares"
    file.write_text("\n".join(HEX_SHARES) + "\n")
    exposed = _run("--file", str(file), "--alphabet", "hex")
    assert (exposed.exit_code, "file.exposed" in exposed.stderr) == (1, True)
    file.chmod(0o600)
    shown = _run("--file", str(file), "--alphabet", "hex", "--reveal", "--length", "64")
    assert (shown.exit_code, shown.stdout, shown.stderr) == (0, f"{HEX_SECRET}\n", "")
    assert _run().exit_code == 2
    file.write_text("\n".join(split(0x1234, 2, 2)))
    unsure = _run("--file", str(file), "--alphabet", "hex", "--reveal")
    assert len(unsure.stdout.splitlines()) > 1
    assert "possibility 1" in unsure.stderr


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["share", "import-legacy", *arguments])
