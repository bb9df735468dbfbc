"""Checks of what the user passes as X, y and sensitive features."""
