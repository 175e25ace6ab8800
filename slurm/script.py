"""The batch script of a submission."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.command.settings import CONF, check_choice, nearest
from pipeline.command.sweep import SLURM
from slurm.times import minutes

SEVERAL = "slurm.several"  # what trains the runs of a group


def resources(profile: DictConfig, cfg: DictConfig) -> DictConfig:
    """The resources of a run: those that `where` has for its settings, one after another, over the others."""
    found = OmegaConf.to_container(profile)
    for setting, values in found.pop("where").items():
        _refuse_unknown(cfg, setting, values)
        has = OmegaConf.select(cfg, setting)
        has = has.name if isinstance(has, DictConfig) and "name" in has else has
        for value, more in values.items() if isinstance(values, dict) else [(values, None)]:
            if not isinstance(more, dict):
                raise Refusal(
                    f"hydra.launcher.where.{setting}: {value}: take a mapping from values of {setting} to settings, "
                    "such as {model: {lstm: {memory: 8}}}"
                )
            if str(has) == str(value):
                found |= more
    target = {"_target_": SLURM, "where": {}}
    check_choice("hydra.launcher", found | target)
    return OmegaConf.create(found)


def _refuse_unknown(cfg: DictConfig, setting: str, values: object) -> None:
    """Refusal: no run has such a setting, or such a choice of a group. (Some settings only some of the runs have.)"""
    where, group = "hydra.launcher.where", CONF / setting
    first = setting.partition(".")[0]
    if first not in cfg:
        raise Refusal(f"{where}.{setting}: there is no such setting: {nearest(first, map(str, cfg))}")
    known = [file.stem for file in group.glob("*.yaml")]
    for value in values if known and isinstance(values, dict) else ():
        if value not in known:
            raise Refusal(f"{where}.{setting}.{value}: there is no such choice: {nearest(str(value), known)}")


def options(profile: DictConfig, name: str, devices: int, nodes: int) -> dict[str, object]:
    """What sbatch is asked for: the resources of the `profile` (conf/hydra/launcher/slurm.yaml) for each device.

    Refusal: they make no sense.
    """
    time = minutes(profile.time)
    if profile.notice >= 60 * time:
        raise Refusal(
            f"hydra.launcher.notice={profile.notice} seconds before the limit of "
            f"hydra.launcher.time={profile.time} leave no time to train"
        )
    asked = {
        "job-name": name,
        "time": time,
        "nodes": nodes,
        "ntasks-per-node": devices,
        "cpus-per-task": cores(profile),
        "mem": f"{round(1024 * (profile.memory + profile.gpus * profile.gpu_memory) * devices)}M",
        "gpus-per-node": profile.gpus * devices or None,
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "signal": f"USR1@{profile.notice}",
        "requeue": True,
        "open-mode": "append",
    }
    more = {key.replace("_", "-"): value for key, value in OmegaConf.to_container(profile.more).items()}
    return {key: value for key, value in (asked | more).items() if value is not None and value is not False}


def cores(profile: DictConfig) -> int:
    """For each device."""
    return profile.cpus + profile.gpus * profile.gpu_cpus


def script(
    profile: DictConfig,
    folder: Path,
    code: Path,
    jobs: Sequence[Sequence[Sequence[str]]],
    devices: int,
    nodes: int,
    at_once: int,
) -> str:
    """A script for sbatch: a job, or an array of `jobs`, each of which trains runs, one after another: the words of
    `python -m pipeline.train`.

    folder   where its logs go: of job 12, or 12_3 of an array, and rank 0: 12_0_log.out, 12_3_0_log.out
    code     the copy of the code that it runs, now and after SLURM has put it back
    at_once  jobs of the array that run at a time at most
    """
    id = "%j" if len(jobs) == 1 else "%A_%a"
    asked = options(profile, folder.name, devices, nodes)
    if len(jobs) > 1:
        asked["array"] = f"0-{len(jobs) - 1}%{at_once}"
    asked["output"] = str(folder / f"{id}_0_log.out")
    grouped = any(len(runs) > 1 for runs in jobs)
    lines = ["#!/bin/bash"]
    lines += [f"#SBATCH --{key}" + ("" if value is True else f"={_quoted(value)}") for key, value in asked.items()]
    lines += [
        f"export RESTARTS={profile.restarts} JOB_LOGS={shlex.quote(str(folder))} PYTHON={shlex.quote(sys.executable)}",
        # Before what lies in the folder that it is submitted from.
        f"export PYTHONSAFEPATH=1 PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}",
        f". {shlex.quote(str(code / 'slurm' / 'job.sh'))}",
        *map(str, profile.setup),
        "case ${SLURM_ARRAY_TASK_ID:-0} in",
    ]
    for number, runs in enumerate(jobs):
        words = [shlex.join(run) for run in runs] if grouped else runs[0]
        lines.append(f"    {number}) set -- {shlex.join(words)} ;;")
    log = shlex.quote(str(folder / f"{id}_%t_log.out"))
    module = SEVERAL if grouped else "pipeline.train"
    lines += [
        "esac",
        f"srun --kill-on-bad-exit=1 --cpus-per-task={cores(profile)} --open-mode=append --output={log} \\",
        f'    "$PYTHON" -m {module} "$@"',
    ]
    return "\n".join(lines) + "\n"


def _quoted(value: object) -> str:
    text = str(value)
    return f'"{text}"' if " " in text else text
