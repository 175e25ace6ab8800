"""Naive references, written from the papers' equations."""
