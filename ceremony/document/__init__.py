"""Paper: pages drawn and written so that the same facts give the same bytes, on every machine."""
