"""Superduper's surface, and the import of what its versions wrote."""
