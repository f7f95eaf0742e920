"""Code that type checkers accept or, where it says so, reject; it is checked and never run."""
