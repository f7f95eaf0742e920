"""Stored files and directories: their members, their checkouts, and what they cost to fetch."""
