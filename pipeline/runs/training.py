"""A run's training by Lightning: from its last checkpoint to its last step, or to where it is asked to stop."""

import logging
import os
import warnings
from datetime import timedelta

import pytorch_lightning as lightning
import torch
from omegaconf import DictConfig

from pipeline.learning.learning import Learning
from pipeline.runs import scheduler
from pipeline.runs.building import on_gpu
from pipeline.runs.checkpoints import AtomicCheckpointIO
from pipeline.runs.directory import RunDirectory
from pipeline.runs.gpus import own_gpu
from pipeline.runs.recorder import Recorder

# What Lightning leaves to this project.
BARE = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}


def quiet() -> None:
    """Keeps from people what Lightning says of itself."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=name)


def fit(cfg: DictConfig, run: RunDirectory, learning: Learning, recorder: Recorder) -> None:
    """Trains from the last checkpoint, or from step 0. Raises Diverged."""
    if (
        not torch.cuda.is_available()
    ):  # which some optimizers ask at each step: Lightning has it open NVML anew every time
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    settings = cfg.trainer
    several = settings.devices * settings.nodes > 1
    chosen = not several and on_gpu(cfg) and torch.cuda.device_count() > 1
    trainer = lightning.Trainer(
        accelerator=settings.accelerator,
        devices=[own_gpu()] if chosen else settings.devices,
        num_nodes=settings.nodes,
        strategy=learning.strategy(timedelta(seconds=scheduler.WAIT)) if several else "auto",
        max_epochs=-1,  # the recorder ends it
        plugins=[AtomicCheckpointIO(learning), *scheduler.plugins()],
        callbacks=[recorder],
        **BARE,
    )
    trainer.fit(learning, ckpt_path=run.last if run.last.exists() else None)
