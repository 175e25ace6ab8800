"""Figures, tables and galleries: what people look at."""
