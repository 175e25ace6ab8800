"""The small problems of tests/runs/test_kinds.py, in a folder of their own."""

from tests.runs.test_kinds import folder, within  # noqa: F401
