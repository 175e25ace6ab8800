"""How parameters are found."""
