"""Fuzzers: harnesses in C (*.c) and Python (python_*.py), their corpora, who runs them (__main__.py)."""
