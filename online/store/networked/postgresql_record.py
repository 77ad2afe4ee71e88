"""Recording a batch of certificates in PostgreSQL by one statement, whatever their number.

Invariants: what is decided here is decided as ``online.store.operations.record_certificate`` decides it; a unique key
decides who uses a token; rows are inserted in the order of their keys, so that batches of several nodes wait for each
other and seldom block each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from online.store.networked import refusals
from online.store.networked.engine import Issue, Recorded
from online.store.networked.rows import older_than, searchable
from online.store.rows import certificate_values, token_values

# 1. What is asked for, a row each.
# 2. A revoked parent, a compromised key, a parent that was renewed before (as often as ``MOST_COUNTED`` at the most).
# 3. The tokens are used, where nobody was quicker.
# 4. The certificates are recorded.
# 5. The names that they are searched by: those that are known, those that are not, and what belongs to what. A name
#    that another node adds in this very moment is waited for, and then taken by the update that changes nothing.
RECORD = """
WITH asked AS MATERIALIZED (
  SELECT * FROM unnest(
    $1::text[], $2::bytea[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::bigint[], $16::boolean[]
  ) WITH ORDINALITY AS a(
    serial, der, subject, sans, not_before, not_after, key_digest, provisioner_id, provisioner_name,
    parent, kind, token_provisioner, token_digest, token_expires, older_than, newest_only, place
  )
), judged AS MATERIALIZED (
  SELECT a.*,
    EXISTS (SELECT FROM revocation r WHERE r.serial = a.parent) AS revoked,
    EXISTS (SELECT FROM compromised_key k WHERE k.key_digest = a.key_digest) AS compromised,
    CASE WHEN a.older_than IS NULL THEN 0
      ELSE (SELECT count(*) FROM (SELECT FROM certificate c
        WHERE c.parent = a.parent AND c.not_before < a.older_than LIMIT 100) s) END AS others
  FROM asked a
), allowed AS MATERIALIZED (
  SELECT * FROM judged WHERE NOT revoked AND NOT compromised AND NOT (newest_only AND others > 0)
), used AS (
  INSERT INTO used_token (provisioner_id, digest, expires)
  SELECT token_provisioner, token_digest, token_expires FROM allowed WHERE token_digest IS NOT NULL ORDER BY 1, 2
  ON CONFLICT DO NOTHING RETURNING provisioner_id, digest
), issued AS (
  INSERT INTO certificate (serial, der, subject, sans, not_before, not_after, key_digest, provisioner_id,
    provisioner_name, parent, kind)
  SELECT serial, der, subject, sans, not_before, not_after, key_digest, provisioner_id, provisioner_name, parent, kind
  FROM allowed a
  WHERE token_digest IS NULL
    OR EXISTS (SELECT FROM used u WHERE u.provisioner_id = a.token_provisioner AND u.digest = a.token_digest)
  ORDER BY place
  RETURNING number, serial
), wanted AS MATERIALIZED (
  SELECT i.number, n.text FROM unnest($17::text[], $18::text[]) AS n(serial, text) JOIN issued i USING (serial)
), known AS MATERIALIZED (
  SELECT id, text FROM name WHERE text = ANY ($18::text[])
), fresh AS (
  INSERT INTO name (text)
  SELECT DISTINCT w.text FROM wanted w WHERE NOT EXISTS (SELECT FROM known k WHERE k.text = w.text) ORDER BY 1
  ON CONFLICT (text) DO UPDATE SET text = EXCLUDED.text RETURNING id, text
), linked AS (
  INSERT INTO certificate_name (name_id, number)
  SELECT f.id, w.number FROM wanted w JOIN (SELECT * FROM known UNION ALL SELECT * FROM fresh) f USING (text)
)
SELECT j.revoked, j.compromised, j.others, i.number IS NOT NULL AS issued,
  (SELECT max(version) FROM coldroot_schema) AS version
FROM judged j LEFT JOIN issued i USING (serial) ORDER BY j.place
"""

_COLUMNS = (
    "serial", "der", "subject", "sans", "not_before", "not_after", "key_digest", "provisioner_id",
    "provisioner_name", "parent", "kind",
)  # fmt: skip
_TOKEN = ("provisioner_id", "digest", "expires")


def arguments(batch: Sequence[Issue]) -> list[list[Any]]:
    """Return the parameters of ``RECORD``: a list a column."""
    rows = [certificate_values(each.certificate) for each in batch]
    tokens: list[Mapping[str, Any]] = [{} if each.token is None else token_values(each.token) for each in batch]
    names = [
        (row["serial"], name) for each, row in zip(batch, rows, strict=True) for name in searchable(each.certificate)
    ]
    return [
        *([row[column] for row in rows] for column in _COLUMNS),
        *([token.get(column) for token in tokens] for column in _TOKEN),
        [older_than(each.certificate, each.lineage) for each in batch],
        [each.lineage is not None and each.lineage.newest_only for each in batch],
        [serial for serial, _ in names],
        [name for _, name in names],
    ]


def outcomes(batch: Sequence[Issue], rows: Sequence[Mapping[str, Any]]) -> list[Recorded]:
    """Read the rows that ``RECORD`` yields, one for each that was asked for."""
    return [_outcome(each, row) for each, row in zip(batch, rows, strict=True)]


def _outcome(issue: Issue, row: Mapping[str, Any]) -> Recorded:
    if row["issued"]:
        return 1 + int(row["others"])
    if row["revoked"]:
        return refusals.revoked()
    if row["compromised"]:
        return refusals.compromised()
    if row["others"] and issue.lineage is not None and issue.lineage.newest_only:
        return refusals.superseded()
    return refusals.used()
