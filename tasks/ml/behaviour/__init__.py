"""Minimal pairs: what one changed word should do to a model's answer, and whether it does."""
