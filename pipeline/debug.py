"""Tries three training steps and shows what goes on in them; keeps nothing.

Shown are the parameters with their shapes and the memory that they take; of each step the shapes of inputs, targets and
state, the loss, what is kept for backpropagation, and the gradient and change of each parameter. PyTorch's anomaly
detection names the operation that makes a gradient NaN, since the recurrence is run by the plain loop.

Examples:
  lab debug model=lstm data=shakespeare
  lab debug model=gru data=adding model.hidden=8 trainer.batch=4
  lab debug model=rnn optimizer=sgd optimizer.lr=1e6 trainer.clip_value=null
  lab debug model=show_and_tell data=scenes
"""

from omegaconf import DictConfig

from pipeline.command.terminal import meanwhile
from pipeline.command.verb import end_if_interrupted, refuse_study, verb


def debug(cfg: DictConfig) -> None:
    """Prints what the first steps of the composed run are like."""
    refuse_study(cfg)
    with meanwhile("loading ..."):
        from pipeline.runs.trial import try_out

    end_if_interrupted()
    try_out(cfg)


ASKED = (
    "model",
    "data",
    "optimizer",
    "initialization",
    "scale",
    "seed",
    "model.hidden",
    "model.layers",
    "optimizer.lr",
    "trainer.batch",
    "trainer.length",
    "trainer.clip_value",
    "trainer.dtype",
    "trainer.accelerator",
)
main = verb(debug, ASKED)

if __name__ == "__main__":
    main()
