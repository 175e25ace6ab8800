"""Initializations act on parameters by their roles, whatever model they are in."""

import copy

import pytest
import torch
from torch import nn

from pipeline.command.settings import CONF
from pipeline.datasets.space import Image, Reals, Symbols
from pipeline.learning.initializations import gaussian, uniform
from pipeline.models.captioner import Captioner
from pipeline.models.encoder_decoder import EncoderDecoder
from pipeline.models.model import SequenceModel
from pipeline.runs.settling import build, model_of
from tests.conftest import composed

MODELS = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))
BY_GRADIENT = [name for name in MODELS if "gradient" in model_of(composed(f"model={name}")).learned_by]
READOUTS = [
    [],
    ["readout=tied", "model.embedding=8"],
    ["readout=adaptive", "readout.cutoffs=[3,5]", "readout.factor=2", "model.embedding=4"],
    ["readout=sampled", "readout.samples=3", "model.skip_connections=true"],
]


class Data:
    reads = answers = Symbols(9)
    given = ()


def network(model: str, *overrides: str, given: tuple = ()) -> SequenceModel:
    sizes = ["scale.layers=2"] if model != "feedforward_lm" else []
    cfg = composed(f"model={model}", "scale.hidden=8", *sizes, *overrides)
    data = Data()
    data.given = given
    if model in ("cnn", "frame_tagger"):
        data.reads = Image(shape=(1, 16, 16))
    return build(cfg.model, data).double()


def given_to(model: str) -> tuple:
    kind = model_of(composed(f"model={model}"))
    if issubclass(kind, EncoderDecoder):
        return (Symbols(7),)
    return (Reals(3),) if "lstm" in model or issubclass(kind, Captioner) else ()


def expected(name: str) -> str:
    """The role of a parameter as people would tell it from its name."""
    for part, role in (
        ("initial", "state"),
        ("bias", "bias"),
        ("peephole", "peephole"),
        ("recurrent", "recurrent"),
        ("embedding", "embedding"),
        ("of_source", "embedding"),
        ("frames", "input"),
        ("features", "embedding"),
        ("readout", "output"),
        ("output", "output"),
        ("direct", "output"),
        ("input_weight", "input"),
        ("bare_weight", "input"),
        ("hidden", "input"),
        ("conditions", "input"),
        ("places", "input"),
        ("image", "input"),
        ("summarize", "input"),
        ("begin", "input"),
        ("second", "input"),
        ("multimodal", "input"),
        ("reconstruction", "output"),
    ):
        if part in name:
            return role
    return {"weight": "output"}[name]  # of delay taps


def case(model: str, *overrides: str):
    return pytest.param(model, overrides, id=" ".join([model, *overrides[:1]]))


def with_readouts() -> list:
    return [case("lstm_peephole", *readout) for readout in READOUTS]


@pytest.mark.parametrize("model, overrides", [*map(case, BY_GRADIENT), *with_readouts()])
def test_every_parameter_has_its_role_and_its_place(model, overrides):
    more = ["model.learned_initial_state=true", "model.cell.recurrent_bias=true"] if "lstm" in model else []
    net = network(model, *overrides, *more, given=given_to(model))
    wanted = [(expected(name), parameter) for name, parameter in net.named_parameters() if parameter.requires_grad]
    wanted = [(role, parameter) for role, parameter in wanted if role != "state"]
    found = list(net.parameters_by_role())
    assert [role for role, _ in found] == [role for role, _ in wanted]
    assert all(one is other for (_, one), (_, other) in zip(found, wanted))


@pytest.mark.parametrize(
    "model, overrides", [*map(case, ("rnn", "mut1", "mrnn_full", "delay_taps", "feedforward_lm")), *with_readouts()]
)
def test_draws_are_those_of_a_loop_over_names(model, overrides):
    more = ["model.learned_initial_state=true", "model.initial_state=0.25"] if "lstm" in model else []
    drawn = network(model, *overrides, *more)
    by_hand = copy.deepcopy(drawn)
    for draw, one in (
        (lambda net: gaussian(net, 0.3), lambda name, p: p.zero_() if "bias" in name else p.normal_(0.0, 0.3)),
        (lambda net: uniform(net, 0.2), lambda name, p: p.uniform_(-0.2, 0.2)),
    ):
        torch.manual_seed(5)
        draw(drawn)
        torch.manual_seed(5)
        with torch.no_grad():
            for name, parameter in by_hand.named_parameters():
                if "initial" not in name:
                    one(name, parameter)
        for (name, ours), theirs in zip(drawn.named_parameters(), by_hand.parameters()):
            assert torch.equal(ours, theirs), name
            assert "initial" not in name or (ours == (0.25 if more else 0)).all()


def test_a_parameter_without_a_role_is_told():
    class Forgetful(SequenceModel):
        roles = {"known": "input", "kept": "state"}

        def __init__(self):
            super().__init__(Symbols(3), Symbols(3))
            self.known, self.kept, self.strange = (nn.Parameter(torch.zeros(2)) for _ in range(3))

    net = Forgetful()
    with pytest.raises(TypeError, match="Forgetful does not say the role of its parameter strange: see"):
        list(net.parameters_by_role())
    net.strange.requires_grad_(False)  # nothing draws what is not learned by gradient
    assert [role for role, _ in net.parameters_by_role()] == ["input"]
