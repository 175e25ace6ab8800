"""What is asked of SLURM for a job, without one."""

import pytest
import submitit
from omegaconf import OmegaConf

from pipeline.command.settings import CONF
from slurm import queue


@pytest.mark.parametrize(
    "gpus, devices, cpus, memory", [(0, 1, 1, "4096M"), (0, 2, 1, "8192M"), (1, 4, 4, "65536M"), (2, 1, 7, "28672M")]
)
def test_a_gpu_asks_for_memory_and_cores_of_its_own(monkeypatch, tmp_path, gpus, devices, cpus, memory):
    asked = {}

    class Stop(Exception):
        pass

    class Executor:
        def __init__(self, folder):
            pass

        def update_parameters(self, **parameters):
            asked.update(parameters)
            raise Stop

    monkeypatch.setattr(submitit, "SlurmExecutor", Executor)
    profile = OmegaConf.merge(OmegaConf.load(CONF / "hydra/launcher/slurm.yaml"), {"gpus": gpus})
    with pytest.raises(Stop):
        queue.submit(profile, tmp_path, {}, devices)
    assert asked["mem"] == memory and asked["cpus_per_task"] == cpus and f"--cpus-per-task={cpus}" in asked["srun_args"]
    assert asked["gpus_per_node"] == (gpus * devices or None)
