"""From a Plan to its effects: the lock, the journal, one step after the other or side by side, each one proven."""
