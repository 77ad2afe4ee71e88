"""Signatures under the transcript: the program's own at the end of each act, and people's over a head."""
