-- Whether the newest restart goes from instance to instance.
ALTER TABLE daemons ADD COLUMN restart_rolling BOOLEAN NOT NULL DEFAULT FALSE;
