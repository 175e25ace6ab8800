"""From pictures to features: numbers that a network is given."""
