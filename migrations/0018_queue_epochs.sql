-- What the queue's server was when it was last seen: another epoch means that it lost what it held.
CREATE TABLE queue_epochs (
    name TEXT PRIMARY KEY,
    epoch TEXT NOT NULL
);
