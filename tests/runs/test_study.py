from omegaconf import OmegaConf

from pipeline.runs.study import labels


def run_of(**cell):
    model = {"name": "lstm", "layers": 1, "hidden": 8, "cell": {"forget_bias": 0.0, "recurrent_bias": False} | cell}
    return OmegaConf.create({"data": {"name": "latch"}, "model": model, "optimizer": {"name": "adam"}})


def test_settings_of_a_cell_are_words_of_a_label_as_on_the_command_line():
    found = labels([run_of(), run_of(forget_bias=5.0)])
    assert found == [("lstm 1x8 cell.forget_bias=0.0", "latch"), ("lstm 1x8 cell.forget_bias=5.0", "latch")]
    assert labels([run_of()]) == [("lstm 1x8", "latch")]
