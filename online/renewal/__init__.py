"""Renewal: when it is due (pure), what a CA may answer, and how the answer replaces the old files."""
