-- The audit record's chains: how each began, how far its shipped part reaches, how it ended.
-- Times are microseconds since 1970-01-01T00:00:00Z, digests are 32 bytes (SHA-256).
CREATE TABLE audit_chains (
    chain           TEXT    NOT NULL PRIMARY KEY,
    opened_at       INTEGER NOT NULL,
    -- The release that opened it.
    software        TEXT    NOT NULL,
    -- The public key (ed25519, 32 bytes) that signs its manifests; none = they are not signed.
    signing_key     BLOB    CHECK (length(signing_key) = 32),
    -- The latest head: number and digest of the last manifest, the last row it covers, that row's hash and time.
    head_manifest   INTEGER CHECK (head_manifest >= 0),
    manifest_sha256 BLOB    CHECK (length(manifest_sha256) = 32),
    head_seq        INTEGER CHECK (head_seq >= 0),
    row_hash        BLOB    CHECK (length(row_hash) = 32),
    watermark       INTEGER,
    -- The closing: when, and whether the owner closed it or another shipper that adopted it.
    closed_at       INTEGER,
    closed_by       TEXT    CHECK (closed_by IN ('owner', 'adopter')),
    CHECK ((head_manifest IS NULL) = (manifest_sha256 IS NULL)
       AND (head_manifest IS NULL) = (head_seq IS NULL)
       AND (head_manifest IS NULL) = (row_hash IS NULL)
       AND (head_manifest IS NULL) = (watermark IS NULL)),
    CHECK ((closed_at IS NULL) = (closed_by IS NULL))
) STRICT;
