"""What a batch is."""
