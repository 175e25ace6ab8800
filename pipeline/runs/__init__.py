"""Identity of a run, its record, its resumption and its tracking."""
