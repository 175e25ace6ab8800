"""How a verb starts and ends."""

import signal
import subprocess
import sys

import pytest

from pipeline.command.settings import CONF

# `python -m pipeline.train ...`, interrupted as it imports a module.
CODE = """
import os, runpy, signal, sys
module, *words = sys.argv[1:]
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(100): pass
sys.meta_path.insert(0, Interrupt())
sys.argv = ["-m", *words]
runpy.run_module("pipeline.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("module", ["hydra", "pydantic", "torch", "numpy", "pytorch_lightning", "pipeline.cells.cell"])
def test_an_early_interrupt_ends_it_without_a_word(tmp_path, module):
    words = [module, "data=sine", "scale=smoke", "tracking.uri=null", f"paths.runs={tmp_path}"]
    done = subprocess.run([sys.executable, "-c", CODE, *words], cwd=CONF.parent, capture_output=True, text=True)
    assert done.returncode in (130, -signal.SIGINT) and done.stderr + done.stdout == ""
