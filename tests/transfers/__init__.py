"""The ways in and out of SQLAlchemy, each on the five drivers: what is transferred at once."""
