"""The node's configuration: step-ca's ca.json, read strictly, and written by ``online init``."""

from __future__ import annotations

from online.config.load import load_config, parse_config
from online.config.render import render_config
from online.config.settings import (
    Config,
    CrlSettings,
    DatabaseSettings,
    LoggerSettings,
    RateLimitSettings,
    TlsEngine,
    TlsSettings,
    TlsVersion,
)

__all__ = [
    "Config",
    "CrlSettings",
    "DatabaseSettings",
    "LoggerSettings",
    "RateLimitSettings",
    "TlsEngine",
    "TlsSettings",
    "TlsVersion",
    "load_config",
    "parse_config",
    "render_config",
]
