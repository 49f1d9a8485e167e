"""Loops, and what the runner needs around them."""
