"""Planted truth: virtual listeners and viewers, and the speech and scenes that they are given."""
