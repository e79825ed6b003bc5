"""Clips made on the fly, with the truth about them."""
