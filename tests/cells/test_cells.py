"""Every cell against the equations, and every way of running it against every other."""

import inspect

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from pipeline.cells.mrnn import FullMultiplicativeRNN, MultiplicativeRNN
from pipeline.cells.rnn import TanhRNN
from pipeline.command.settings import CONF
from pipeline.recurrence import compilable, compiled, engines, native
from pipeline.recurrence.library import in_torch
from pipeline.recurrence.passes import by_program
from tests.conftest import composed, lacks, needs_steps
from tests.oracles import cells as oracle

NAMES = sorted(file.stem for file in (CONF / "model").glob("*.yaml") if "base/recurrent" in file.read_text())
WAYS = [
    (name, engine)
    for name in NAMES
    for engine in ("reference", "deferred", "fused")
    if engine != "fused" or native.library()
]
T, B, H = 13, 3, 4


def make(name, inputs, hidden=H, **options):
    torch.manual_seed(0)
    cell = instantiate(composed(f"model={name}").model.cell)(inputs, hidden, **options).double()
    cell.finish_initialization()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return cell


def state_of(cell, batch=B, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.rand(batch, width, dtype=torch.double, generator=generator) - 0.5 for width in cell.state.values()
    )


def numbers(cell):
    return {name: parameter.detach().numpy() for name, parameter in cell.named_parameters()}


def dense(inputs, seed=2):
    return torch.randn(T, B, inputs, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def symbols(inputs, seed=3):
    x = torch.randint(0, inputs + 1, (T, B), generator=torch.Generator().manual_seed(seed))
    x[0, 0] = inputs  # unknown: a zero input
    return x


def one_hot(x, inputs):
    return nn.functional.one_hot(x, inputs + 1)[..., :inputs].double()


@pytest.mark.parametrize("name, engine", WAYS)
@pytest.mark.parametrize("inputs", [5, H])  # MUT1 and MUT2 read inputs of size H bare
def test_cell_is_its_papers_equations(name, inputs, engine):
    if name not in oracle.STEPS:
        lacks(name, "write its step in NumPy, from the paper, into STEPS of tests/oracles/cells.py")
    cell, x = make(name, inputs), dense(inputs)
    outputs, state = engines.run(cell, x, state_of(cell), engine)
    for b in range(B):
        expected, end = oracle.run(
            name, numbers(cell), x[:, b].numpy(), tuple(part[b].numpy() for part in state_of(cell))
        )
        np.testing.assert_allclose(outputs[:, b].detach(), expected, rtol=1e-12, atol=1e-13)
        for part, wanted in zip(state, end, strict=True):
            np.testing.assert_allclose(part[b].detach(), wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_symbols_are_one_hot_inputs(name):
    cell, x = make(name, 5), symbols(5)
    ours, ends = engines.run(cell, x, state_of(cell), "reference")
    theirs, expected = engines.run(cell, one_hot(x, 5), state_of(cell), "reference")
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    for part, wanted in zip(ends, expected, strict=True):
        torch.testing.assert_close(part, wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [dense, symbols])
def test_a_cell_is_an_ordinary_module_of_one_step(name, kind):
    cell, x = make(name, 5), kind(5)
    state, outputs = state_of(cell), []
    for x_t in x:
        state = cell(x_t, state)
        outputs.append(state[0])
    wanted, ends = engines.run(cell, x, state_of(cell), "deferred")
    for ours, theirs in zip((torch.stack(outputs), *state), (wanted, *ends), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    zeros = tuple(torch.zeros_like(part) for part in state)
    for ours, theirs in zip(cell(x[0]), cell(x[0], zeros), strict=True):
        assert torch.equal(ours, theirs)


def test_one_step_is_pytorchs_with_copied_weights_and_other_shapes_are_refused():
    cell, theirs = make("lstm", 5, recurrent_bias=True), nn.LSTMCell(5, H).double()
    with torch.no_grad():
        for ours, copied in zip(cell.parameters(), ("weight_ih", "bias_ih", "weight_hh", "bias_hh"), strict=True):
            getattr(theirs, copied).copy_(ours)
    for ours, expected in zip(cell(dense(5)[0], state_of(cell)), theirs(dense(5)[0], state_of(cell)), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-13)
    with pytest.raises(ValueError, match=r"x of torch.float64, \[13, 3, 5\]: LSTM reads numbers \[B, 5\] or symbols"):
        cell(dense(5))
    with pytest.raises(ValueError, match=r"x of torch.int64, \[13, 3\]: LSTM reads"):
        cell(symbols(5))
    with pytest.raises(ValueError, match=r"state of \[\[3, 4\]\]: the state of LSTM is \[\[3, 4\], \[3, 4\]\]"):
        cell(dense(5)[0], state_of(cell)[:1])


def everything(cell, x, engine):
    """Outputs, final states, and the gradients of a loss over all of them by parameters, input and initial state."""
    state = tuple(part.requires_grad_() for part in state_of(cell))
    x = x.clone().requires_grad_() if x.is_floating_point() else x
    outputs, ends = engines.run(cell, x, state, engine)
    generator = torch.Generator().manual_seed(4)
    loss = sum(
        (part * torch.randn(part.shape, dtype=torch.double, generator=generator)).sum() for part in (outputs, *ends)
    )
    wanted = [*cell.parameters(), *state, *([x] if x.is_floating_point() else [])]
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    assert all(gradient is not None for gradient in gradients[: len(list(cell.parameters()))])
    return [outputs, *ends, *(torch.zeros(()) if gradient is None else gradient for gradient in gradients)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [dense, symbols])
def test_all_ways_agree_to_1e10(name, kind):
    cell, x = make(name, 5), kind(5)
    expected = everything(cell, x, "reference")
    for engine in [engine for its, engine in WAYS if its == name and engine != "reference"] + ["library"] * bool(
        in_torch(cell)
    ):
        for ours, theirs in zip(everything(cell, x, engine), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_compiled_agrees_to_1e10(name):
    cell, x = make(name, 5), symbols(5)
    for ours, theirs in zip(everything(cell, x, "compiled"), everything(cell, x, "reference"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name, engine", WAYS)
def test_chunked_equals_whole_and_sequences_are_independent(name, engine):
    cell, x = make(name, 5), dense(5)
    whole, end = engines.run(cell, x, state_of(cell), engine)
    first, state = engines.run(cell, x[:6], state_of(cell), engine)
    second, state = engines.run(cell, x[6:], state, engine)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-13)
    alone, _ = engines.run(cell, x[:, 1:2], tuple(part[1:2] for part in state_of(cell)), engine)
    torch.testing.assert_close(alone, whole[:, 1:2], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name, engine", WAYS)
def test_gradients_are_those_of_differences(name, engine):
    cell = make(name, 3, hidden=2)
    x = dense(3)[:4, :2].requires_grad_()
    state = tuple(part[:, :].requires_grad_() for part in state_of(cell, batch=2))
    parameters = list(cell.parameters())

    def outputs(x, *rest):
        return engines.run(cell, x, rest[: len(state)], engine)[0]

    assert torch.autograd.gradcheck(outputs, (x, *state, *parameters), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_differentiates_forward(name):
    cell, x = make(name, 5), dense(5)
    direction = torch.randn(x.shape, dtype=torch.double, generator=torch.Generator().manual_seed(5))

    def outputs(x):
        return engines.run(cell, x, state_of(cell), "reference")[0]

    _, forward = torch.func.jvp(outputs, (x,), (direction,))
    differences = (outputs(x + 1e-6 * direction) - outputs(x - 1e-6 * direction)) / 2e-6
    torch.testing.assert_close(forward, differences.detach(), rtol=1e-6, atol=1e-8)


def test_a_compiler_that_errs_is_found_out(monkeypatch):
    def wrong(graph, examples):
        right = fuse(graph, examples)

        def function(*tensors):
            right(*tensors)
            tensors[-1].mul_(1.01)

        return function

    fuse = compiled.fuse
    monkeypatch.setattr(compiled, "fuse", wrong)
    monkeypatch.setattr(compilable, "_verdicts", {})
    cell, x = make("mut3", 5), symbols(5)
    with pytest.warns(UserWarning, match="the compiler gives wrong numbers for MUT3: it runs uncompiled"):
        found = everything(cell, x, "compiled")
    for ours, theirs in zip(found, everything(cell, x, "reference"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_what_cannot_be_compiled_on_this_machine_is_said_once(monkeypatch, recwarn):
    def passes(cell, x, state, weights, engine):
        if engine == "fused":
            raise RuntimeError("no C compiler")
        return by_program(cell, x, state, weights, engine)

    monkeypatch.setattr(compilable, "by_program", passes)
    monkeypatch.setattr(compilable, "_verdicts", {})
    cell, x = make("gru", 5), symbols(5)
    assert [compilable.is_right(engine, cell, x, state_of(cell)) for engine in ("fused", "fused", "deferred")] == [
        False,
        False,
        True,
    ]
    assert [str(warning.message) for warning in recwarn] == [
        "GRU cannot be compiled here (no C compiler): it runs uncompiled, more slowly"
    ]


def test_without_a_compiler_it_goes_on_with_one_warning(monkeypatch, recwarn):
    def none(*arguments, **options):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", none)
    compilable.can_compile.cache_clear()
    cell, x = make("gru", 5), symbols(5)
    for _ in range(3):
        found = everything(cell, x, "compiled")
    compilable.can_compile.cache_clear()
    assert [str(warning.message).split(":")[0] for warning in recwarn if "compiled" in str(warning.message)] == [
        "nothing can be compiled here (no C++ compiler)"
    ]
    for ours, theirs in zip(found, everything(cell, x, "reference"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_where_the_compiler_fails_for_a_step_it_goes_on_with_one_warning(monkeypatch, recwarn):
    """As on a GPU where something can be compiled for the CPU."""

    def fuse(*arguments):
        raise RuntimeError("no kernel image\nand more")

    monkeypatch.setattr(compiled, "fuse", fuse)
    monkeypatch.setattr(compilable, "_verdicts", {})
    cell, x = make("gru", 5), symbols(5)
    for _ in range(3):
        found = everything(cell, x, "compiled")
    said = [str(warning.message) for warning in recwarn if "compiled" in str(warning.message)]
    assert said == ["GRU cannot be compiled here (no kernel image): it runs uncompiled, more slowly"]
    for ours, theirs in zip(found, everything(cell, x, "reference"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_whether_anything_can_be_compiled_is_asked_of_the_device(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function: lambda x: asked.append(x.device.type))
    compilable.can_compile.cache_clear()
    assert compilable.can_compile("meta") and compilable.can_compile("cpu") and asked == ["meta", "cpu"]
    compilable.can_compile.cache_clear()


class Erf(TanhRNN):
    """A step that steps.cpp has no instruction for, nor PyTorch a kernel."""

    activation = staticmethod(torch.erf)


@needs_steps
def test_engines_are_chosen_and_refused():
    lstm, gru, mut, erf = [make("lstm", 5)], [make("gru_reset_after", 5)], [make("mut1", 5)], [Erf(5, H)]
    assert [
        engines.choose_engine("auto", cells, device, 1e9)
        for cells in (lstm, gru, mut, erf)
        for device in ("cpu", "cuda")
    ] == ["fused", "library", "fused", "library", "fused", "fused", "deferred", "deferred"]
    assert engines.choose_engine("auto", [make("lstm", 5, hidden=200)], "cuda") == "fused"
    assert [
        engines.choose_engine("auto", erf, device, work)
        for device, work in (("cpu", 1e12), ("cpu", 1e13), ("cuda", 1e13), ("cuda", 1e15))
    ] == ["deferred", "compiled", "deferred", "compiled"]
    assert [engines.choose_engine("auto", erf, "cpu", 1e15, seconds) for seconds in (30, 3600)] == [
        "deferred",
        "compiled",
    ]
    assert engines.choose_engine("reference", lstm, "cpu") == "reference"
    for chosen, cells, device, message in (
        ("fast", lstm, "cpu", "=fast: take auto, reference, fused, deferred, compiled, library"),
        ("library", mut, "cpu", "=library: PyTorch has no kernel for this cell"),
        ("fused", erf, "cpu", "=fused: aten.erf.default in a step: take auto, compiled"),
        (
            "fused",
            [make("gru", 5).to(torch.bfloat16)],
            "cpu",
            "=fused: it runs float32 and float64 on a CPU, not torch.bfloat16: take",
        ),
        ("fused", erf, "cuda", "=fused: aten.erf.default in a step: take auto, compiled"),
    ):
        with pytest.raises(ValueError, match=f"trainer.engine{message}"):
            engines.choose_engine(chosen, cells, device)


@needs_steps
def test_where_nothing_was_compiled_training_goes_on_and_says_so(monkeypatch):
    lstm, gru = make("lstm", 5), make("gru", 5)
    expected = everything(gru, symbols(5), "fused")
    monkeypatch.setattr(native, "library", lambda: None)
    with pytest.warns(
        UserWarning,
        match="steps.cpp was not compiled at installation; "
        "install a C\\+\\+ compiler .g\\+\\+. and the project again: until",
    ):
        assert [engines.choose_engine("auto", [cell], "cpu") for cell in (lstm, gru)] == ["library", "deferred"]
    # Chosen where it was compiled.
    for ours, theirs in zip(everything(gru, symbols(5), "fused"), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


COUNTS = {name: lambda D, H: H * (D + H + 1) for name in ("rnn", "sigmoid_rnn", "relu_rnn")}
COUNTS |= {name: lambda D, H: 4 * H * (D + H + 1) for name in ("lstm", "lstm_forget_bias", "lstm_chrono", "lstm_np")}
COUNTS |= {name: lambda D, H: 4 * H * (D + H + 1) + 3 * H for name in ("lstm_peephole", "lstm_niaf", "lstm_noaf")}
COUNTS |= {name: lambda D, H: 3 * H * (D + H + 1) + 2 * H for name in ("lstm_nig", "lstm_nfg", "lstm_nog", "lstm_cifg")}
COUNTS |= {
    "lstm_fgr": lambda D, H: 4 * H * (D + H + 1) + 3 * H + 9 * H * H,
    "gru": lambda D, H: 3 * H * (D + H + 1),
    "gru_reset_after": lambda D, H: 3 * H * (D + H + 2),
    "mut1": lambda D, H: 2 * H * (D + H) + 3 * H + H * D * (D != H),
    "mut2": lambda D, H: 2 * H * D + 3 * H * H + 3 * H + H * D * (D != H),
    "mut3": lambda D, H: 3 * H * (D + H + 1),
    "mrnn": lambda D, H: H * (D + H) + H * (H + D + 1),
    "mrnn_full": lambda D, H: D * H * H + H * (D + 1),
    "mlstm": lambda D, H: H * (D + H) + 4 * H * (D + H + 1),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("inputs, hidden", [(7, 5), (6, 6)])
def test_parameter_counts(name, inputs, hidden):
    if name not in COUNTS:
        lacks(name, "write the number of its parameters, of D and H, into COUNTS of tests/cells/test_cells.py")
    assert sum(parameter.numel() for parameter in make(name, inputs, hidden).parameters()) == COUNTS[name](
        inputs, hidden
    )


def same(ours, theirs, x=None):
    """Two cells give the same outputs from the same h and c."""
    x = dense(5) if x is None else x
    outputs = [engines.run(cell, x, state_of(cell), "reference")[0] for cell in (ours, theirs)]
    torch.testing.assert_close(*outputs, rtol=1e-11, atol=1e-12)


def copy(target, source, matrix, order, blocks):
    """The rows of source's blocks, in this order, into target's matrix."""
    for ours, theirs in zip(
        (target.input_weight, target.input_bias, target.recurrent[matrix]),
        (source.input_weight, source.input_bias, next(iter(source.recurrent.values()))),
    ):
        parts = theirs.data.chunk(blocks)
        ours.data.copy_(torch.cat([parts[k] for k in order]))


def test_vanilla_with_zero_peepholes_is_np_and_np_is_the_lstm():
    vanilla, np_, lstm = make("lstm_peephole", 5), make("lstm_np", 5), make("lstm", 5)
    copy(np_, vanilla, "block", (0, 1, 2, 3), 4)
    vanilla.peephole.data.zero_()
    same(vanilla, np_)
    copy(lstm, np_, "gates", (0, 1, 3, 2), 4)
    same(lstm, np_)


@pytest.mark.parametrize("name, missing, gate", [("lstm_nig", 0, "i"), ("lstm_nfg", 1, "f"), ("lstm_nog", 2, "o")])
def test_a_missing_gate_is_one_that_is_always_open(name, missing, gate):
    vanilla, variant = make("lstm_peephole", 5), make(name, 5)
    kept = [k for k in range(4) if k != missing]
    copy(variant, vanilla, "block", kept, 4)
    variant.peephole.data.copy_(vanilla.peephole.data[kept[:-1]])
    vanilla.input_bias.data[missing * H : (missing + 1) * H] = 1e3
    same(vanilla, variant)


def test_cifg_is_the_lstm_whose_forget_gate_is_one_minus_its_input_gate():
    cifg, vanilla = make("lstm_cifg", 5), make("lstm_peephole", 5)
    copy(vanilla, cifg, "block", (0, 0, 1, 2), 3)  # f = s(-a_i) = 1 - s(a_i)
    for part in (vanilla.input_weight, vanilla.input_bias, vanilla.recurrent["block"]):
        part.data[H : 2 * H] *= -1
    vanilla.peephole.data.copy_(torch.stack([cifg.peephole.data[0], -cifg.peephole.data[0], cifg.peephole.data[1]]))
    same(cifg, vanilla)


@pytest.mark.parametrize("name, scale", [("lstm_niaf", "input"), ("lstm_noaf", "output")])
def test_a_missing_activation_is_tanh_of_small_numbers(name, scale):
    """tanh(a) = a to third order: with sums (or cells) a million times smaller
    the variant and the vanilla LSTM agree."""
    vanilla, variant = make("lstm_peephole", 5), make(name, 5)
    variant.load_state_dict(vanilla.state_dict())
    for cell in (vanilla, variant):
        for part in (cell.input_weight, cell.input_bias, cell.recurrent["block"]):
            part.data[3 * H :] *= 1e-6
    small = lambda cell: tuple(1e-6 * part for part in state_of(cell))
    outputs = [engines.run(cell, dense(5), small(cell), "reference")[0] for cell in (vanilla, variant)]
    torch.testing.assert_close(*outputs, rtol=1e-9, atol=0)
    assert not torch.allclose(
        *(engines.run(cell, 1e7 * dense(5), state_of(cell), "reference")[0] for cell in (vanilla, variant))
    )


def test_fgr_without_its_matrix_is_the_vanilla_lstm():
    fgr, vanilla = make("lstm_fgr", 5), make("lstm_peephole", 5)
    fgr.recurrent["gates"].data.zero_()
    copy(vanilla, fgr, "block", (0, 1, 2, 3), 4)
    vanilla.peephole.data.copy_(fgr.peephole.data)
    same(fgr, vanilla)


def test_a_forget_bias_is_one_more_in_the_bias_of_f():
    torch.manual_seed(0)
    plain = instantiate(composed("model=lstm").model.cell)(5, H)
    torch.manual_seed(0)
    biased = instantiate(composed("model=lstm_forget_bias").model.cell)(5, H)
    biased.finish_initialization()
    difference = (biased.input_bias - plain.input_bias).detach()
    assert torch.equal(difference.round(decimals=5), torch.tensor([0.0] * H + [1.0] * H + [0.0] * 2 * H))


def test_chrono_spreads_memories_from_one_step_to_the_longest():
    """f / (1 - f) = u, and i = 1 - f, where nothing but the biases counts: u uniform in 1..T - 1."""
    torch.manual_seed(0)
    cell = instantiate(composed("model=lstm_chrono", "model.cell.chrono=200").model.cell)(5, 4000).double()
    cell.input_bias.data.zero_()
    cell.finish_initialization()
    i, f, g, o = torch.sigmoid(cell.input_bias.detach()).chunk(4)
    torch.testing.assert_close(i, 1 - f)
    assert (g == 0.5).all() and (o == 0.5).all()
    u = np.sort((f / (1 - f)).numpy())
    np.testing.assert_allclose(u, np.linspace(1, 199, 4000), atol=5)


def test_rectified_rnn_starts_as_the_identity():
    cell = instantiate(composed("model=relu_rnn").model.cell)(5, H)
    cell.finish_initialization()
    state = (torch.rand(B, H),)
    outputs, _ = engines.run(cell, torch.full((T, B), 5), state, "reference")
    assert torch.equal(outputs, state[0].expand(T, B, H))


def test_grus_agree_where_the_reset_gate_is_open_and_mut3_is_a_gru_with_tanh_before_z():
    before, after = make("gru", 5), make("gru_reset_after", 5)
    after.recurrent_bias["state"].data.zero_()
    after.input_weight.data.copy_(before.input_weight.data)
    after.input_bias.data.copy_(before.input_bias.data)
    after.recurrent["state"].data.copy_(torch.cat([before.recurrent["gates"].data, before.recurrent["candidate"].data]))
    for cell in (before, after):
        cell.input_bias.data[:H] = 1e3
    same(before, after)
    mut3 = make("mut3", 5)  # z and 1 - z are exchanged; without Whz the tanh does not matter
    z, r, candidate = (part.data for part in mut3.input_weight.chunk(3))
    before.input_weight.data.copy_(torch.cat([r, -z, candidate]))
    z, r, candidate = (part.data for part in mut3.input_bias.chunk(3))
    before.input_bias.data.copy_(torch.cat([r, -z, candidate]))
    mut3.recurrent["z"].data.zero_()
    before.recurrent["gates"].data.copy_(torch.cat([mut3.recurrent["r"].data, torch.zeros(H, H)]))
    before.recurrent["candidate"].data.copy_(mut3.recurrent["h"].data)
    same(before, mut3)


def test_mut2_is_a_gru_whose_reset_gate_reads_x_bare():
    mut2, gru = make("mut2", 5), make("gru", 5)
    z, candidate = (part.data for part in mut2.input_weight.chunk(2))
    gru.input_weight.data.copy_(torch.cat([mut2.bare_weight.data, -z, candidate]))
    z, candidate = (part.data for part in mut2.input_bias.chunk(2))
    gru.input_bias.data.copy_(torch.cat([mut2.reset_bias.data, -z, candidate]))
    z, r = (part.data for part in mut2.recurrent["zr"].chunk(2))
    gru.recurrent["gates"].data.copy_(torch.cat([r, -z]))
    gru.recurrent["candidate"].data.copy_(mut2.recurrent["h"].data)
    same(mut2, gru)


def test_mut1_is_a_gru_whose_update_gate_ignores_the_state_and_whose_candidate_reads_tanh_x():
    mut1, gru = make("mut1", H), make("gru", H)  # D = H: x is read bare
    x = dense(H)
    z, r = (part.data for part in mut1.input_weight.chunk(2))
    bz, br = (part.data for part in mut1.input_bias.chunk(2))
    state = state_of(mut1)
    outputs, _ = engines.run(mut1, x, state, "reference")
    gru.input_weight.data.copy_(torch.cat([r, -z, torch.zeros(H, H)]))
    gru.input_bias.data.copy_(torch.cat([br, -bz, mut1.candidate_bias.data]))
    gru.recurrent["gates"].data.copy_(torch.cat([mut1.recurrent["r"].data, torch.zeros(H, H)]))
    gru.recurrent["candidate"].data.copy_(mut1.recurrent["h"].data)
    for t in range(T):  # what tanh(x) adds is given as the candidate's bias
        projected = gru.project(x[t : t + 1])
        projected["candidate"] = projected["candidate"] + torch.tanh(x[t : t + 1])
        gru.project, kept = (lambda _, given=projected: given), gru.project
        one, state = engines.run(gru, x[t : t + 1], state, "reference")
        gru.project = kept
        torch.testing.assert_close(one[0], outputs[t], rtol=1e-11, atol=1e-12)


def test_the_factored_mrnn_is_the_full_one_whose_tensor_has_that_rank():
    torch.manual_seed(0)
    factored = MultiplicativeRNN(5, H, factors=2).double()
    full = FullMultiplicativeRNN(5, H).double()
    full.recurrent["h"].data.copy_(
        torch.einsum("if,fd,fj->dij", factored.recurrent["h"], factored.input_weight[H:], factored.recurrent["state"])
    )
    full.input_weight.data.copy_(factored.input_weight.data[:H])
    full.input_bias.data.copy_(factored.input_bias.data)
    same(factored, full)
    same(factored, full, symbols(5))


def test_mlstm_with_a_constant_factor_is_an_lstm_of_a_product_of_matrices():
    mlstm, lstm = make("mlstm", 5), make("lstm", 5)
    mlstm.input_weight.data[4 * H :] = 0
    mlstm.input_weight.data[4 * H :, 0] = 1  # x_0 = 1 below, so that Wmx x = 1
    x = dense(5)
    x[..., 0] = 1
    order = (0, 1, 3, 2)
    lstm.input_weight.data.copy_(torch.cat([mlstm.input_weight.data[: 4 * H].chunk(4)[k] for k in order]))
    lstm.input_bias.data.copy_(torch.cat([mlstm.input_bias.data.chunk(4)[k] for k in order]))
    lstm.recurrent["gates"].data.copy_(
        torch.cat([(mlstm.recurrent["gates"] @ mlstm.recurrent["state"]).data.chunk(4)[k] for k in order])
    )
    same(mlstm, lstm, x)


@pytest.mark.parametrize(
    "name, theirs",
    [
        ("rnn", nn.RNN(5, H)),
        ("relu_rnn", nn.RNN(5, H, nonlinearity="relu")),
        ("lstm", nn.LSTM(5, H)),
        ("gru_reset_after", nn.GRU(5, H)),
    ],
)
@pytest.mark.parametrize("engine", [*sorted({engine for _, engine in WAYS}), "library"])
def test_pytorchs_own_with_copied_weights(name, theirs, engine):
    theirs = theirs.double()
    cell = make(name, 5, **({} if name == "gru_reset_after" else {"recurrent_bias": True}))
    [matrix] = cell.recurrent
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(cell.input_weight)
        theirs.bias_ih_l0.copy_(cell.input_bias)
        theirs.weight_hh_l0.copy_(cell.recurrent[matrix])
        theirs.bias_hh_l0.copy_(cell.recurrent_bias[matrix])
    state = tuple(part.unsqueeze(0) for part in state_of(cell))
    expected, _ = theirs(dense(5), state if name == "lstm" else state[0])
    ours, _ = engines.run(cell, dense(5), state_of(cell), engine)
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_role(name):
    kind = instantiate(composed(f"model={name}").model.cell).func
    cell = make(name, 5, **{"recurrent_bias": True} if "recurrent_bias" in inspect.signature(kind).parameters else {})
    for path in {path.partition(".")[0] for path, _ in cell.named_parameters()}:
        kind = path.partition("_")[0]
        expected = "bias" if path.endswith("bias") else {"bare": "input"}.get(kind, kind)
        assert cell.roles[path] == expected
