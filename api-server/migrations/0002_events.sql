-- What happened to daemons. Not tied to `daemons`: the events of a deleted daemon say who deleted it.
CREATE TABLE daemon_events (
    daemon_id {KEY} NOT NULL,
    -- Counts the daemon's events in the order in which they were stored.
    place BIGINT NOT NULL,
    id {KEY} NOT NULL,
    server_id {KEY} NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    -- When it happened, or `record_time` where that is earlier: a clock that is ahead must not stay on top for ever.
    order_time BIGINT NOT NULL,
    record_time BIGINT NOT NULL,
    -- Not shown after this time; gone with the next write after it.
    expire_time BIGINT NOT NULL,
    -- What the host knows it by; null where no host told it.
    boot_id TEXT,
    sequence BIGINT,
    -- zhylon.daemons.v1.DaemonEvent, without what the other columns say.
    event {BLOB} NOT NULL,
    PRIMARY KEY (daemon_id, place)
);
CREATE INDEX daemon_events_time ON daemon_events (daemon_id, order_time, place);
CREATE UNIQUE INDEX daemon_events_host ON daemon_events (server_id, boot_id, sequence);
CREATE INDEX daemon_events_expire ON daemon_events (expire_time);
