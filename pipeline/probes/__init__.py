"""What a trained model knows or does."""
