from .project import project  # noqa: F401 (a fixture)
