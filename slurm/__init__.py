"""Runs as SLURM jobs: the launcher for sweeps, submit, status and cancel, batch scripts, a cluster for tests."""
