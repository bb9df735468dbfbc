"""Keeping a fitted transformer: as arrays and plain values, and as one file of them."""
