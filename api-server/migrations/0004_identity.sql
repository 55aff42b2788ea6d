-- Whose certificate is a server's: known by its public key, since a certificate may be signed again for the same key.
ALTER TABLE servers ADD COLUMN identity_generation BIGINT NOT NULL DEFAULT 0;
-- SHA-256 of the newest key a certificate was given for; null where none is known.
ALTER TABLE servers ADD COLUMN key_hash {BLOB};
-- Somebody has shown a certificate of the newest key.
ALTER TABLE servers ADD COLUMN key_proven BOOLEAN NOT NULL DEFAULT FALSE;
-- The key before it; good until the newest one is proven.
ALTER TABLE servers ADD COLUMN previous_key_hash {BLOB};
-- Since when no certificate is good; null where nobody revoked them.
ALTER TABLE servers ADD COLUMN revoke_time BIGINT;
-- What was enrolled before this column was there.
UPDATE servers SET key_hash = (
    SELECT t.key_hash FROM enrollment_tokens t WHERE t.server_id = servers.id AND t.key_hash IS NOT NULL
    ORDER BY t.create_time DESC LIMIT 1
);
