"""How the verbs start, and how they refuse."""
