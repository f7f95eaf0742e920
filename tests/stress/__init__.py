"""The writer and the collector together, by force: many processes, and anything that can go wrong.

python -m tests.stress.run --help
python -m tests.stress.kills --help
"""
