"""The budget of one sign, renew and rekey, step by step: the core alone, without HTTP, TLS and database.

    python scripts/benchmark/core.py [--requests N] [--tree DIR]

Prints a table for a Markdown page: microseconds of each step, the least and the median of all requests, one after the
other on one core. Times of steps inside a step are taken out of it, so that the columns add up. What the cryptography
takes by itself, with nothing around it, stands below.

``--tree`` measures another checkout, to compare: run both by turns, for neighbours on the machine change the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import importlib
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

# What is measured: how it is called, the module, the function. One that a checkout does not have is left out.
STEPS = (
    ("request parsed", "shared.pem", "load_csr"),
    ("peer's certificate parsed", "shared.pem", "load_certificate_der"),
    ("token taken apart", "online.jose.jws", "split_unverified"),
    ("token's signature", "online.jose.jws", "verify"),
    ("token's claims", "online.tokens.verified", "verified_token"),
    ("old leaf is ours: its signature", "online.issued", "check_ours"),
    ("names, request against token", "online.csr", "names_for"),
    ("names, request against token", "online.csr", "accept_csr"),
    ("possession of the key", "shared.keys", "csr_key"),
    ("validity", "online.claims", "choose_validity"),
    ("leaf decided: template, policy, profile", "online.leaf", "signed_leaf"),
    ("leaf decided: template, policy, profile", "online.leaf", "renewed_leaf"),
    ("draft built", "shared.issue", "prepare"),
    ("draft linted", "shared.issue", "lint_certificate"),
    ("signed", "shared.issue", "sign_whole"),
    ("compared, signature verified", "shared.issue", "issue"),
    ("compared, signature verified", "shared.issue", "issue_encoded"),
    ("answer in PEM", "shared.pem", "chain_pem"),
)
REST = "row for the store, and the rest"
_KEYS = 50


class Watch:
    """Takes the time of each step, less that of the steps inside it."""

    def __init__(self) -> None:
        self.requests: list[dict[str, int]] = []
        self._inside = [0]

    async def request(self, operation: Awaitable[None]) -> None:
        """Take the time of one request; what no step has is the rest."""
        self.requests.append(defaultdict(int))
        self._inside = [0]
        begun = time.perf_counter_ns()
        await operation
        self.requests[-1][REST] = time.perf_counter_ns() - begun - self._inside[0]

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose calls are a step."""

        @functools.wraps(function)
        def timed(*arguments: Any, **keywords: Any) -> Any:
            inside = self._inside
            inside.append(0)
            begun = time.perf_counter_ns()
            answer = function(*arguments, **keywords)
            took = time.perf_counter_ns() - begun
            self.requests[-1][name] += took - inside.pop()
            inside[-1] += took
            return answer

        return timed


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="The budget of one sign, renew and rekey, step by step.")
    parser.add_argument("--requests", type=int, default=1500, help="of each kind (default: %(default)s)")
    parser.add_argument("--tree", type=Path, default=Path(__file__).resolve().parents[2], help="another checkout")
    options = parser.parse_args()
    sys.path[:0] = [str(options.tree), str(options.tree / "tests")]
    budgets = asyncio.run(_measure(options.requests))
    print(_table(budgets))
    print()
    print(_limits())


async def _measure(count: int) -> dict[str, list[dict[str, int]]]:
    from fakes.hierarchy import make_csr, make_world, peer  # noqa: PLC0415 (from the tree that was asked for)

    from shared import keys, pem  # noqa: PLC0415

    world, watch, budgets = make_world(), Watch(), {}
    private = [keys.generate(keys.KeyKind.EC_P256) for _ in range(_KEYS)]
    csrs = [pem_of(make_csr(f"{number}.example.com", key=key)) for number, key in enumerate(private)]
    chains = [
        await world.authority.sign(pem.load_csr(csr), world.token(f"{number}.example.com"))
        for number, csr in enumerate(csrs)
    ]
    leaves = [pem.certificate_der(chain[0]) for chain in chains]
    known = dict(world.store.certificates)
    _instrument(watch)

    async def sign(number: int) -> None:
        pem.chain_pem((await world.authority.sign(pem.load_csr(csrs[number]), tokens.pop()))[:1])

    async def renew(number: int) -> None:
        pem.chain_pem((await world.authority.renew(peer((pem.load_certificate_der(leaves[number]),))))[:1])

    async def rekey(number: int) -> None:
        proof = peer((pem.load_certificate_der(leaves[number]),))
        pem.chain_pem((await world.authority.rekey(proof, pem.load_csr(csrs[number - 1])))[:1])

    kinds: dict[str, Callable[[int], Awaitable[None]]] = {"sign": sign, "renew": renew, "rekey": rekey}
    for kind, operation in kinds.items():
        for _ in range(-(-count // _KEYS)):
            tokens = [world.token(f"{number}.example.com") for number in reversed(range(_KEYS))]
            for number in range(_KEYS):
                await watch.request(operation(number))
                # The store in memory looks at all that it has; a database does not.
                world.store.certificates = dict(known)
        # The first ones warm up.
        budgets[kind], watch.requests = watch.requests[_KEYS:] or watch.requests, []
    return budgets


def pem_of(csr: Any) -> bytes:
    """Return a request as it comes over the wire."""
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    encoded: bytes = csr.public_bytes(Encoding.PEM)
    return encoded


def _instrument(watch: Watch) -> None:
    for name, module, attribute in STEPS:
        function = getattr(importlib.import_module(module), attribute, None)
        if function is None:
            continue
        timed = watch.wrap(name, function)
        for each in list(sys.modules.values()):
            if getattr(each, "__name__", "").partition(".")[0] in {"online", "shared"}:
                for known, value in list(vars(each).items()):
                    if value is function:
                        setattr(each, known, timed)


def _table(budgets: dict[str, list[dict[str, int]]]) -> str:
    steps = [*dict.fromkeys(name for name, _, _ in STEPS), REST]
    lines = [
        f"| µs, least / median | {' | '.join(budgets)} |",
        f"|---|{'---|' * len(budgets)}",
        *(f"| {name} | {' | '.join(_cell(many, name) for many in budgets.values())} |" for name in steps),
        f"| **all** | {' | '.join(_cell(many, None) for many in budgets.values())} |",
    ]
    return "\n".join(lines)


def _cell(many: list[dict[str, int]], name: str | None) -> str:
    figures = [(sum(each.values()) if name is None else each.get(name, 0)) / 1000 for each in many]
    return f"{min(figures):.0f} / {statistics.median(figures):.0f}" if any(figures) else ""


def _limits() -> str:
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key, scheme, data = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256()), bytes(600)
    public, signature = key.public_key(), key.sign(data, scheme)
    found = {
        "one P-256 signature": _fastest(lambda: key.sign(data, scheme)),
        "one verification": _fastest(lambda: public.verify(signature, data, scheme)),
    }
    return "Cryptography by itself, over and over: " + ", ".join(
        f"{name} {took:.0f} µs" for name, took in found.items()
    )


def _fastest(function: Callable[[], object]) -> float:
    took = []
    for _ in range(500):
        begun = time.perf_counter_ns()
        function()
        took.append(time.perf_counter_ns() - begun)
    return min(took) / 1000


if __name__ == "__main__":
    main()
