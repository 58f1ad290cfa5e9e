-- The local ledger. application_id is "disi" in ASCII: a file without it is not a ledger of ours.
PRAGMA application_id = 1684632425;
PRAGMA user_version = 1;

CREATE TABLE claims (
    action_id TEXT PRIMARY KEY,
    version   INTEGER NOT NULL CHECK (version > 0),
    claim     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The last version given out. Versions are never used twice, so that a claim that was released
-- and made anew is not mistaken for the old one.
CREATE TABLE counter (
    only  INTEGER PRIMARY KEY CHECK (only = 1),
    value INTEGER NOT NULL
) STRICT;

INSERT INTO counter (only, value) VALUES (1, 0);
