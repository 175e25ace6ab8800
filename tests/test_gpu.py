"""What only a GPU can show: skipped where there is none. The same kernels are tried without one in
tests/recurrence/test_kernels.py, and whole runs on a pretended one in tests/test_device.py."""

import pytest
import torch
from hydra.utils import instantiate

from pipeline.cells import gru, lstm, mut
from pipeline.datasets.space import Symbols
from pipeline.files.whole import read_lines
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.recurrence import engines
from pipeline.recurrence.stack import linearizing
from tests.cells.test_cells import NAMES, make, symbols
from tests.conftest import composed, prepared_text, trained, words
from tests.every_kind import RUNS, overrides_of
from tests.recurrence.test_linearized import Seen
from tests.recurrence.test_stepping import SYMBOLS, Writer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.mark.parametrize("name", NAMES)
def test_the_kernels_of_a_cell_give_what_the_plain_loop_gives(name):
    cell, x = make(name, 7, hidden=18).cuda(), symbols(7).cuda()
    for _ in range(4):  # checked, compiled, recorded and replayed, after a change of the weights each
        start = [torch.rand(x.shape[1], width).double().cuda() for width in cell.state.values()]
        found = []
        for engine in ("fused", "reference"):
            state = tuple(part.clone().requires_grad_() for part in start)
            outputs, after = engines.run(cell, x, state, engine)
            loss = outputs.square().sum() + sum(part.square().sum() for part in after)
            wanted = [*cell.parameters(), *state]
            gradients = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
            found.append([outputs, *after, *gradients])
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize("cell", [lstm.LSTM, gru.GRU, mut.MUT1])
def test_products_with_the_jacobian_are_those_of_the_cpu(cell):
    torch.manual_seed(0)
    network = RecurrentNetwork(Symbols(5), Symbols(3), (), cell, 2, 6, None, 0.0, True, 0.0, True).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.6)
    x, v = torch.randint(0, 6, (4, 3)), [torch.randn_like(parameter) for parameter in network.parameters()]
    found = []
    for device, engine in (("cpu", "deferred"), ("cuda", "fused")):
        network.to(device)
        network.stack.engine = engine
        parameters = list(network.parameters())
        with linearizing(network):
            outputs = Seen(network, x.to(device))()
        changes = [torch.zeros_like(part, requires_grad=True) for part in outputs]
        transposed = torch.autograd.grad(outputs, parameters, changes, create_graph=True)
        for _ in range(4):  # on a GPU the third is a replay
            of = torch.autograd.grad(transposed, changes, [part.to(device) for part in v], retain_graph=True)
        found.append([part.cpu() for part in of])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["lstm", "mut3", "mrnn_full"])
def test_a_symbol_at_a_time_gives_what_whole_sequences_give(name):
    writer = Writer(instantiate(composed(f"model={name}").model.cell)).cuda()
    whole, step = writer.whole(SYMBOLS.cuda()), writer.stepper()
    found = torch.stack([step(symbol) for symbol in SYMBOLS.tolist()])
    torch.testing.assert_close(found, whole, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("model", RUNS)
def test_a_run_is_that_on_the_cpu(tmp_path, model):
    """But for rounding; what is said is drawn by the CPU's generator on both, and masks of dropout are not."""
    overrides = overrides_of(model, prepared_text(tmp_path, words(800)), tmp_path)
    overrides += ["model.dropout=0"] * (model == "classifier")
    runs = [
        trained(*overrides, f"trainer.accelerator={device}", f"paths.runs={tmp_path}/{device}")
        for device in ("cpu", "gpu")
    ]
    (theirs, wanted), (ours, said) = ((read_lines(run.metrics), read_lines(run.samples)) for run in runs)
    for one, other in zip(ours, theirs, strict=True):
        for name in ("train", "validation"):
            assert one[name] == pytest.approx(other[name], rel=1e-4)
    assert [one["text"] for one in said] == [one["text"] for one in wanted]


@pytest.mark.parametrize(
    "options", [["model=mut1"], ["model=mlstm", "model.layers=2", "trainer.matmul_precision=tf32"]]
)
def test_a_run_goes_on_where_it_stopped(tmp_path, options):
    overrides = [*prepared_text(tmp_path, words(3000)), "scale=smoke", "tracking.uri=null", *options]
    whole = trained(*overrides, "trainer.steps=20", f"paths.runs={tmp_path}/whole")
    for steps in (10, 20):
        parts = trained(*overrides, f"trainer.steps={steps}", f"paths.runs={tmp_path}/parts")
    ours, theirs = (read_lines(run.metrics)[-1] for run in (parts, whole))
    assert ours["step"] == theirs["step"] == 20
    assert ours["validation"] == pytest.approx(theirs["validation"], rel=1e-5)
