"""Small programs that tests run in processes of their own: `python -m tests.programs.<name>`."""
