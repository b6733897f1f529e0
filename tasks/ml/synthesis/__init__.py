"""Labelled training reports, written from a table of measurements."""
