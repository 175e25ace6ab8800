"""Settings of a class that a command line replaces."""

import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from pipeline.command import composition
from pipeline.command.refusal import Refusal
from pipeline.command.settings import CONF

GRU = "model.cell._target_=pipeline.cells.gru.GRU"


def cell_of(*words: str) -> dict:
    with composition.composed(*words) as cfg:
        return OmegaConf.to_container(cfg.model.cell)


@pytest.mark.parametrize("model", ["neuraltalk", "show_and_tell", "relu_rnn", "lstm_chrono", "mrnn", "encoder_decoder"])
def test_another_cell_goes_without_the_settings_that_it_lacks(model):
    found = cell_of(f"model={model}", GRU)
    assert found.pop("recurrent_bias", False) is False
    assert found == {"_target_": "pipeline.cells.gru.GRU", "_partial_": True}


def test_what_it_has_is_kept_and_what_is_said_of_it_is_taken_or_refused():
    other = "model.cell._target_=pipeline.cells.vanilla_lstm.VanillaLSTM"
    assert cell_of("model=neuraltalk", "model.cell.recurrent_bias=true", other)["recurrent_bias"] is True
    assert "identity" in cell_of("model=neuraltalk", "model.cell._target_=pipeline.cells.rnn.ReluRNN")
    with pytest.raises(Refusal, match="^model.cell.identity: there is no such setting"):
        cell_of("model=neuraltalk", GRU, "model.cell.identity=2")
    with pytest.raises(Refusal, match="^model.cell._target_=pipeline.cells.gru.GUR: there is no such class"):
        cell_of("model=neuraltalk", GRU.replace("GRU", "GUR"))


def test_runs_of_a_sweep_over_cells_are_those_composed_alone():
    targets = [GRU, "model.cell._target_=pipeline.cells.rnn.ReluRNN", "model.cell._target_=pipeline.cells.mut.MUT1"]
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        jobs = [["model=neuraltalk", target] for target in targets]
        found = list(composition.compose_jobs(jobs))
        assert found == [composition.compose_job(job) for job in jobs]
    assert ["identity" in cfg.model.cell for cfg in found] == [False, True, False]
