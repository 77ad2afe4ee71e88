"""How the tables of one version become those of the next: one file a version, by Alembic's operations.

A file that was released is never changed: databases are on their way through it. Its name begins with the version
that it leads to, and it says nothing of ``online.store.schema``, which tells of today only.
"""
