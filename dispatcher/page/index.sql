-- What the page needs to list runs quickly. Derived from git; deleting the file only costs time.
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- Files of actions and results, wherever they are.
CREATE TABLE places (
  path TEXT PRIMARY KEY,
  id TEXT NOT NULL,
  is_result INTEGER NOT NULL,
  blob TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX places_of_id ON places (id, is_result);

-- Ids whose result has changed and is not read yet.
CREATE TABLE unread (id TEXT PRIMARY KEY, path TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX unread_newest ON unread (path);

CREATE TABLE runs (
  id TEXT PRIMARY KEY,
  verdict TEXT NOT NULL,
  formula TEXT NOT NULL,
  tier TEXT NOT NULL,
  at REAL NOT NULL,
  exit_code INTEGER,
  duration_s REAL,
  reason TEXT NOT NULL,
  words TEXT NOT NULL -- id and reason, casefolded, for the search
) WITHOUT ROWID;
-- Has all that a filter compares: a filter that matches nothing reads this from end to end, and no row of the table.
CREATE INDEX runs_newest ON runs (at DESC, id DESC, verdict, formula, words);
CREATE INDEX runs_by_formula ON runs (formula);
CREATE INDEX runs_by_day ON runs (at, verdict);

-- Who claims to have written an action.
CREATE TABLE authors (id TEXT PRIMARY KEY, author TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX authors_by_name ON authors (author, id);
