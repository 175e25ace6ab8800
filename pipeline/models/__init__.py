"""What maps a sequence to predictions."""
