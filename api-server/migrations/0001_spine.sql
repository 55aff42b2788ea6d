-- Times are Unix milliseconds. Ids are texts `h:…`. {BLOB} and {KEY} differ per database: bytes, and a text whose order
-- is the order of its bytes (pages are cut by it).

CREATE TABLE users (
    id {KEY} PRIMARY KEY,
    name TEXT NOT NULL,
    operator BOOLEAN NOT NULL,
    create_time BIGINT NOT NULL
);
-- One platform operator.
CREATE UNIQUE INDEX users_operator ON users (operator) WHERE operator;

CREATE TABLE tokens (
    id {KEY} PRIMARY KEY,
    user_id {KEY} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    secret_hash {BLOB} NOT NULL,
    create_time BIGINT NOT NULL,
    expire_time BIGINT,
    last_used_time BIGINT,
    revoke_time BIGINT
);
CREATE INDEX tokens_user ON tokens (user_id, create_time, id);

CREATE TABLE teams (
    id {KEY} PRIMARY KEY,
    name TEXT NOT NULL,
    owner_user_id {KEY} NOT NULL REFERENCES users (id),
    create_time BIGINT NOT NULL
);
CREATE INDEX teams_time ON teams (create_time, id);

-- The owner has a row too.
CREATE TABLE members (
    team_id {KEY} NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    user_id {KEY} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    permissions TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    PRIMARY KEY (team_id, user_id)
);
CREATE INDEX members_user ON members (user_id);

CREATE TABLE servers (
    id {KEY} PRIMARY KEY,
    team_id {KEY} NOT NULL REFERENCES teams (id),
    name TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    config_epoch TEXT NOT NULL,
    revision BIGINT NOT NULL,
    acked_revision BIGINT NOT NULL,
    session_epoch BIGINT NOT NULL,
    agent_version TEXT NOT NULL,
    last_seen_time BIGINT,
    UNIQUE (team_id, name)
);
CREATE INDEX servers_time ON servers (team_id, create_time, id);

CREATE TABLE enrollment_tokens (
    id {KEY} PRIMARY KEY,
    server_id {KEY} NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    secret_hash {BLOB} NOT NULL,
    create_time BIGINT NOT NULL,
    expire_time BIGINT NOT NULL,
    -- SHA-256 of the public key that used it.
    key_hash {BLOB}
);
CREATE INDEX enrollment_tokens_server ON enrollment_tokens (server_id);

CREATE TABLE daemons (
    id {KEY} PRIMARY KEY,
    server_id {KEY} NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    -- The label; null where there is none.
    name TEXT,
    -- JSON, without the environment.
    spec TEXT NOT NULL,
    -- Sealed; empty where there is none.
    environment {BLOB} NOT NULL,
    -- JSON list.
    environment_names TEXT NOT NULL,
    desired_running BOOLEAN NOT NULL,
    intent_generation BIGINT NOT NULL,
    restart_generation BIGINT NOT NULL,
    -- What the host is told: `restart_generation`, unless that one expired.
    host_restart_generation BIGINT NOT NULL,
    -- What the host is told once `restart_generation` has expired.
    fallback_restart_generation BIGINT NOT NULL,
    -- The revision of the newest restart; the host has it once it acknowledged that.
    restart_revision BIGINT NOT NULL,
    restart_not_after BIGINT,
    changed_revision BIGINT NOT NULL,
    -- Deleted in this revision; the row stays until the host reports that it is gone.
    deleted_revision BIGINT,
    version BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);
CREATE INDEX daemons_time ON daemons (server_id, create_time, id);
CREATE UNIQUE INDEX daemons_name ON daemons (server_id, name) WHERE deleted_revision IS NULL;

CREATE TABLE daemon_status (
    daemon_id {KEY} PRIMARY KEY REFERENCES daemons (id) ON DELETE CASCADE,
    session_epoch BIGINT NOT NULL,
    -- zhylon.agent.v1.DaemonReport.
    report {BLOB} NOT NULL,
    reported_time BIGINT NOT NULL,
    -- Raised by every report that says something new.
    version BIGINT NOT NULL
);
