"""What frameworks need; each module imports its own."""
