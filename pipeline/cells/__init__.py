"""Recurrence formulas, each written as in its paper: one time step, no loop."""
