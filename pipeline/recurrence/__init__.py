"""The one loop over time that every cell shares, and the ways to run it."""
