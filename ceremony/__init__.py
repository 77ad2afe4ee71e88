"""The root key ceremony: offline, no network, no database."""
