"""Uploads, HTTP responses and archives."""
