"""A short run of every kind of model, for the devices that it is tried on."""

from pathlib import Path

from tests.conftest import ROOT
from tests.datasets.dictionary import prepared_dictionary

SMALL = ["scale=smoke", "tracking.uri=null", "trainer.sample.length=9", "trainer.sample.at=[]"]
STEPS = ["trainer.steps=2", "trainer.batch=4", "trainer.validation_symbols=40"]
TEXT = [*STEPS, "trainer.length=8"]
PASS = ["optimizer.passes=1", "trainer.batch=4", "trainer.length=300"]
SERIES = ["data=sunspots", "optimizer.passes=2", "trainer.batch=2", "trainer.length=50"]
EPISODES = [
    "data=attractors",
    "data.episodes=4",
    "data.held=4",
    "data.units=20",
    "data.patterns=2",
    "optimizer.passes=1",
    "trainer.batch=4",
]
SCENES = [f"hydra.searchpath=[file://{ROOT}/tests/conf]", "data=shift", *STEPS]
OFTEN = 10**6
# A run of each kind, and which functions wait for the device while it learns, how often at most.
RUNS = {
    "lstm": (["trainer.ema_decay=0.9", *TEXT], {}),
    "mrnn_full": (TEXT, {"cells/matrices.py:gradients": 4}),
    "gru": (
        ["optimizer=hessian_free", "optimizer.cg_steps=2", "trainer.validate_every=2", "model.hidden=4", *TEXT],
        {
            "learning/conjugate_gradient.py:_value": OFTEN,
            "learning/conjugate_gradient.py:conjugate_gradient": OFTEN,
            "learning/hessian_free.py:_gradient": OFTEN,
            "learning/hessian_free.py:_loss_at": OFTEN,
            "learning/hessian_free.py:_step": OFTEN,
        },
    ),
    "word_feedforward": (["readout=linear", "model.embedding=4", *TEXT], {}),
    "delay_taps": (["optimizer=adam", *TEXT], {}),
    "fully_recurrent": (TEXT, {}),
    "classifier": (TEXT, {}),
    "encoder_decoder": (STEPS, {}),
    "show_and_tell": (SCENES, {}),
    "hopfield": (EPISODES, {"models/hopfield.py:accumulate": 2, "models/hopfield.py:update": 1}),
    "hmm": (PASS, {"models/hmm.py:_observations": 3}),
    "lds": (SERIES, {"models/lds.py:_arrays": 28}),
    "echo_state": (
        PASS,
        {
            "models/echo_state.py:ridge_solution": 1,
            "models/echo_state.py:update": 1,
        },
    ),
    "ngram": (PASS, {"models/ngram.py:_build": 1}),
}


def overrides_of(model: str, text: list[str], folder: Path) -> list[str]:
    """Of a run of RUNS, on this prepared text where it is of text."""
    overrides, _ = RUNS[model]
    if model == "encoder_decoder":
        overrides = [*prepared_dictionary(folder / "words"), *overrides]
    elif not any(one.startswith("data=") for one in overrides):
        overrides = [*text, *overrides]
    return [f"model={model}", *overrides, *SMALL]
