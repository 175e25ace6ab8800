"""Mutation testing: which changes of a file do its tests not notice? `python -m tests.mutants FILE ...`"""
