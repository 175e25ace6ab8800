"""Bad input, a line each in bad_input.tsv, and what runs it: `python -m tests.cases [id ...]`."""
