"""From a tally to what Prometheus reads. The only module that knows the prometheus_client package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from online.metrics.meter import (
    BOUNDS,
    COMMITS,
    CRL_END,
    FORKED,
    HANDSHAKES_REFUSED,
    ISSUER_END,
    OWN_END,
    REFUSED,
    REKEYED,
    RENEWED,
    REQUESTS,
    REVOKED,
    SIGNED,
    Tally,
)
from online.store.protocol import Census

_BY_PROVISIONER = ("provisioner", "success")
# What is counted under step-ca's own names keeps its dashboards working.
_COUNTERS = {
    SIGNED: ("Certificates signed.", _BY_PROVISIONER),
    RENEWED: ("Certificates renewed.", _BY_PROVISIONER),
    REKEYED: ("Certificates rekeyed.", _BY_PROVISIONER),
    REVOKED: ("Certificates revoked.", _BY_PROVISIONER),
    FORKED: ("Certificates renewed again long after their first renewal: perhaps by a thief.", ("provisioner",)),
    REFUSED: ("Tokens refused, by the code of the reason.", ("cause",)),
    HANDSHAKES_REFUSED: ("TLS handshakes that came to nothing.", ("reason",)),
}
_HISTOGRAMS = {
    REQUESTS: ("Time from the end of a request's headers to its answer.", ("endpoint", "status")),
    COMMITS: ("Time that a write waited for its commit.", ("outcome",)),
}
_GAUGES = {
    OWN_END: "End of the node's own TLS certificate; of the worker whose ends first.",
    ISSUER_END: "End of the certificate that signs leaves.",
    CRL_END: "nextUpdate of the revocation list that is served.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All that is shown at one moment."""

    tally: Tally
    workers: int
    uptime: float
    """Seconds since the node was started."""
    version: str
    census: Census | None
    """``None`` when the store could not be asked; the series are then absent, not zero."""


def expose(picture: Picture, accept: str) -> tuple[bytes, str]:
    """Write a picture down.

    Args:
        picture: what to show.
        accept: the ``Accept`` header, which may ask for OpenMetrics.

    Returns:
        The text and its content type.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shown(picture))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Shown(Collector):
    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def collect(self) -> Iterator[Metric]:
        """Yield all families; prometheus_client calls this."""
        picture = self._picture
        yield from _counters(picture.tally)
        yield from _histograms(picture.tally)
        for name, text in _GAUGES.items():
            value = picture.tally.gauges.get((name,))
            if value is not None:
                yield GaugeMetricFamily(name, text, value=value)
        yield GaugeMetricFamily("coldroot_workers", "Processes that answer.", value=picture.workers)
        yield GaugeMetricFamily("step_ca_uptime_seconds", "Time since the node was started.", value=picture.uptime)
        built = GaugeMetricFamily("coldroot_build_info", "Always 1; the version is a label.", labels=["version"])
        built.add_metric([picture.version], 1)
        yield built
        if picture.census is not None:
            yield from _certificates(picture.census)


def _counters(tally: Tally) -> Iterator[Metric]:
    for name, (text, labels) in _COUNTERS.items():
        family = CounterMetricFamily(name, text, labels=labels)
        for key in sorted(key for key in tally.counts if key[0] == name):
            family.add_metric(key[1:], tally.counts[key])
        yield family


def _histograms(tally: Tally) -> Iterator[Metric]:
    for name, (text, labels) in _HISTOGRAMS.items():
        family = HistogramMetricFamily(name, text, labels=labels)
        for key in sorted(key for key in tally.times if key[0] == name):
            times = tally.times[key]
            running, buckets = 0, []
            for bound, count in zip((*map(str, BOUNDS), "+Inf"), times.counts, strict=True):
                running += count
                buckets.append((bound, float(running)))
            family.add_metric(key[1:], buckets, times.total)
        yield family


def _certificates(census: Census) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "coldroot_certificates_live", "Certificates that are neither expired nor revoked.", value=census.live
    )
    soon = GaugeMetricFamily(
        "coldroot_certificates_expiring",
        "Live certificates without a successor that end within the time of the label.",
        labels=["within"],
    )
    for span, count in census.expiring.items():
        soon.add_metric([span], count)
    yield soon
    yield GaugeMetricFamily(
        "coldroot_certificates_overdue",
        "Live certificates that were renewed before, should have been again, and were not.",
        value=census.overdue,
    )
