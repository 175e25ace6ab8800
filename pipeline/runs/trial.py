"""A few training steps of a composed run that keep nothing, and what is to be seen of them."""

import math
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress

import pytorch_lightning as lightning
import torch
from omegaconf import DictConfig, open_dict
from torch import Tensor

from pipeline.command.refusal import Refusal
from pipeline.command.terminal import in_columns
from pipeline.datasets.data import load_data
from pipeline.learning.learning import Learning
from pipeline.runs.building import IN_TRAINING, initial_learning, refuse_too_large
from pipeline.runs.identity import size
from pipeline.runs.settling import rule_of, settle
from pipeline.runs.training import BARE, quiet

STEPS = 3
UNITS = ("B", "KiB", "MiB", "GiB")


def try_out(cfg: DictConfig, say: Callable[[str], None] = print) -> None:
    """Says of the composed run's model its parameters and the memory that they take, and of its first STEPS training
    steps shapes, losses, gradients, and the memory that backpropagation needs. Writes nothing.

    Raises Refusal for what cannot be trained, and at the first step that is not finite: where PyTorch's anomaly
    detection finds the operation that made it so, by its name.
    """
    if cfg.trainer.engine not in ("auto", "reference"):
        raise Refusal(
            f"trainer.engine={cfg.trainer.engine}: debug runs the plain loop, whose operations have names: leave it out"
        )
    quiet()
    data = load_data(cfg.data, cfg.paths.local)
    cfg = settle(cfg, data)
    with open_dict(cfg):
        cfg.trainer.devices = cfg.trainer.nodes = 1
        cfg.trainer.engine = "reference"
    refuse_too_large(cfg, data)
    learning, engine = initial_learning(cfg, data, 0)
    model = " ".join(filter(None, (cfg.model.name, size(cfg.model))))
    say(f"model={model}: reads {data.reads}, answers {data.answers}{', ' * bool(engine)}{engine}")
    say(parameters(learning))
    backward = rule_of(cfg).name == "gradient"
    watch = Watch(data.answers.units.loss, backward, say)
    trainer = lightning.Trainer(
        accelerator=cfg.trainer.accelerator,
        devices=1,
        max_epochs=-1,
        detect_anomaly=backward,  # it takes what torch.func does for wrong
        callbacks=[watch],
        **BARE,
    )
    try:
        trainer.fit(learning)
    except RuntimeError as error:
        if "returned nan values" not in str(error):
            raise
        why = str(error).rstrip(".")
        raise Refusal(f"step {watch.step + 1}: {why}: see the lines above, or take a smaller optimizer.lr") from None


def parameters(learning: Learning) -> str:
    """A table of the parameters, and the memory that they take."""
    network, rows = learning.network, [("parameter", "shape", "numbers", "mean", "std", "learned")]
    for name, one in network.named_parameters():
        spread = f"{one.std().item():.3g}" if one.numel() > 1 else "-"
        learned = "yes" if one.requires_grad else "no"
        rows.append((name, shape(one), f"{one.numel():,}", f"{one.mean().item():.3g}", spread, learned))
    count, each = network.count_parameters(), torch.finfo(network.dtype).bits // 8
    rows.append(("all", "", f"{count:,}", "", "", ""))
    kept = f"{readable(count * each)} of {network.dtype}".replace("torch.", "")
    trained = f", {readable(IN_TRAINING * count * each)} with gradients and an optimizer such as Adam"
    return f"{table(rows)}\n{kept}{trained * any(one.requires_grad for one in network.parameters())}"


class Watch(lightning.Callback):
    """Says what each of STEPS training steps was like, and ends after them.

    unit      of the loss
    backward  whether they are steps of backpropagation
    """

    def __init__(self, unit: str, backward: bool, say: Callable[[str], None]):
        self.unit, self.backward, self.say, self.step = unit, backward, say, 0
        self.before: dict[str, Tensor] = {}

    def on_train_batch_start(self, trainer: lightning.Trainer, learning: Learning, *more: object) -> None:
        batch = learning.batches.at(self.step).to(learning.device, learning.network.dtype)
        self.say(f"\nstep {self.step + 1}: inputs {shape(batch.inputs)}, targets {shape(batch.targets)}")
        for number, part in enumerate(batch.given):
            self.say(f"  given {number}: {shape(part)}")
        self.before = {name: one.detach().clone() for name, one in learning.network.named_parameters()}
        self.saved: dict[int, int] = {}
        own = {one.untyped_storage().data_ptr() for one in learning.network.parameters()}

        def note(one: Tensor) -> Tensor:
            with suppress(RuntimeError):  # of a tensor that stands for others while an operation is looked at
                storage = one.untyped_storage()
                if storage.data_ptr() not in own:
                    self.saved[storage.data_ptr()] = storage.nbytes()
            return one

        # torch.func, by which others than gradient learning differentiate, knows no such hooks.
        hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda one: one) if self.backward else nullcontext()
        self.open = ExitStack()
        self.open.enter_context(hooks)

    def on_train_batch_end(self, trainer: lightning.Trainer, learning: Learning, *more: object) -> None:
        self.open.close()
        self.step += 1
        loss, _ = learning.take_losses()
        self.say(f"  state {', '.join(map(shape, learning.state or ())) or 'none'}")
        kept = f"; kept for backpropagation: {readable(sum(self.saved.values()))}" if self.backward else ""
        self.say(f"  loss {loss:.4f} {self.unit}{kept}")
        if learning.device.type == "cuda":
            self.say(f"  most memory of the GPU so far: {readable(torch.cuda.max_memory_allocated())}")
        rows = [("parameter", "gradient", "change", "change / size")]
        for name, one in learning.network.named_parameters():
            gradient = "-" if one.grad is None else f"{one.grad.norm().item():.3g}"
            change, norm = (one.detach() - self.before[name]).norm().item(), self.before[name].norm().item()
            rows.append((name, gradient, f"{change:.3g}", f"{change / norm:.2g}" if norm else "-"))
        moved = any(row[1] != "-" or row[2] != "0" for row in rows[1:])
        self.say(table(rows) if moved else "  no parameter has changed yet")
        if not math.isfinite(loss):
            raise Refusal(
                f"step {self.step}: the loss is {loss}: take a smaller optimizer.lr, or look at the step before"
            )
        trainer.should_stop = self.step == STEPS


def shape(one: Tensor) -> str:
    return f"{list(one.shape)}"


def readable(count: float) -> str:
    """A number of bytes for people."""
    power = min(len(UNITS) - 1, int(math.log(max(count, 1), 1024)))
    return f"{count / 1024**power:.{min(power, 1)}f} {UNITS[power]}"


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns, with the head that the first row is."""
    return "\n".join(f"  {line}".rstrip() for line in in_columns(rows))
