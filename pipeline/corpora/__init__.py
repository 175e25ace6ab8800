"""Where text comes from and how it becomes symbols: one file per corpus, and what they share."""
