"""Driving a reservoir and fitting its readout, beside reservoirpy with the same weights."""

import contextlib
import os
import statistics
import sys
import time

UNITS, CONNECTIVITY, STEPS, WASHOUT, RIDGE, ROUNDS = 1000, 0.01, 100_000, 200, 1e-5, 3


def measure() -> str:
    """A Markdown section. Needs reservoirpy (pip install reservoirpy), a peer that is no dependency."""
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit(
            "error: the echo state benchmark compares one thread with one: "
            "OMP_NUM_THREADS=1 python -m benchmarks echo_state"
        )
    import reservoirpy
    import torch

    from pipeline.models.echo_state import CHUNK, add_products
    from pipeline.recurrence import forms

    fastest = forms.runnable()[0]
    torch.set_num_threads(1)
    values = _values()
    seconds, errors, differences = {}, {}, {}
    for _ in range(ROUNDS):
        peer, found = _reservoirpy(values)
        for name, spent in peer.items():
            seconds.setdefault(name, []).append(spent)
        errors["reservoirpy"] = _error(found, values)
        for name, streams, dtype, form in (
            ("one stream, float64", 1, torch.float64, fastest),
            ("one stream, float32", 1, torch.float32, fastest),
            ("32 streams, float64", 32, torch.float64, fastest),
            ("32 streams, float32", 32, torch.float32, fastest),
            ("64 streams, float32", 64, torch.float32, fastest),
            ("one stream, float64, in the form for AVX2", 1, torch.float64, "avx2"),
        ):
            if form not in forms.runnable():
                continue
            with _compiled(form):
                spent, forecast = _ours(values, streams, dtype)
            seconds.setdefault(name, []).append(spent)
            errors[name], differences[name] = _error(forecast, values), abs(forecast - found).max()
        for name, add in (("products", add_products), ("BLAS", _by_blas)):
            seconds.setdefault(name, []).append(_products(add))
        seconds.setdefault("drive, 32", []).append(_drive(values, 32, torch.float32))
        seconds.setdefault("drive, 1", []).append(_drive(values, 1, torch.float64))
    median = {name: statistics.median(spent) for name, spent in seconds.items()}
    whole = median["fit"]
    lines = [f"| reservoirpy {reservoirpy.__version__}, `ESN.fit` | {whole:.2f} | 1 | {errors['reservoirpy']:.2e} | |"]
    lines += [
        f"| ours, {name} | {median[name]:.2f} | {whole / median[name]:.1f} | "
        f"{errors[name]:.2e} | {differences[name]:.0e} |"
        for name in differences
    ]
    return "\n".join(
        [
            "## Echo state network beside reservoirpy",
            "",
            f"N={UNITS}, {CONNECTIVITY:.0%} of the weights, T={STEPS:,} of the Mackey-Glass equation, washout "
            f"{WASHOUT}, ridge {RIDGE:g}, the same weights on both sides; driving and fitting, one thread, CPU "
            f"seconds, median of {ROUNDS} rounds in turn. Error: root mean squared, of one step ahead on the 2,000 "
            "values after; difference: the largest between our predictions and theirs there. With one stream both "
            "fit the same rows; with more, the series is read in as many parts side by side, each washed out, and "
            "their rows are fitted.",
            "",
            "| | s | times as fast | error | difference |",
            "|---|---:|---:|---:|---:|",
            *lines,
            "",
            f"Driving alone, us a step: reservoirpy {_micro(median['drive'])}, ours {_micro(median['drive, 1'])} (one "
            f"stream, float64) and {_micro(median['drive, 32'])} (32, float32), with the rows of the normal equations "
            f"made. Their sums, X^T X in float64, take {_micro(median['products'])} us a step, and "
            f"{_micro(median['BLAS'])} by scipy's BLAS (dsyrk): with nothing else to do, "
            f"{whole / median['products']:.1f} times as fast is the limit on one thread. reservoirpy holds all states, "
            f"{STEPS * UNITS * 8 / 1e6:.0f} MB; we hold {CHUNK:,} rows, {CHUNK * UNITS * 8 / 1e6:.0f} MB.",
            "",
            "Wanted: 5 times as fast.",
        ]
    )


@contextlib.contextmanager
def _compiled(form: str):
    """Takes this form of echo_state.cpp."""
    from pipeline.models import echo_state_compiled

    chosen = echo_state_compiled.load(form)
    names = [name for name in ("library", "products_library") if getattr(echo_state_compiled, name)()]
    before = {name: getattr(echo_state_compiled, name) for name in names}
    for name in names:
        setattr(echo_state_compiled, name, lambda: chosen)
    yield
    for name, library in before.items():
        setattr(echo_state_compiled, name, library)


def _micro(seconds: float) -> str:
    return f"{1e6 * seconds / STEPS:.1f}"


def _values():
    """[STEPS + 2001, 1]; the first STEPS + 1 are learned from."""
    from pipeline.datasets.mackey_glass import MackeyGlass

    return MackeyGlass(STEPS + 2001, 17, 0.2, 0.1, 10, 1.2, "reservoirpy", 5555, "80-10-10", False).open().values


def _network(dtype):
    import torch

    from pipeline.datasets.space import Reals
    from pipeline.models.echo_state import EchoState

    torch.manual_seed(0)
    return EchoState(
        Reals(1),
        Reals(1),
        (),
        units=UNITS,
        spectral_radius=1.25,
        connectivity=CONNECTIVITY,
        leak=0.3,
        feedback_scale=1.0,
        input_scale=1.0,
        bias_scale=0.1,
        direct_connection=False,
        washout=WASHOUT,
        ridge=RIDGE,
        noise=0.0,
        floor=1e-3,
    ).to(dtype)


def _error(predicted, values) -> float:
    return float(((predicted - values[STEPS + 1 :]) ** 2).mean() ** 0.5)


def _reservoirpy(values) -> tuple[dict, object]:
    """Seconds of `drive` and of `fit`, which drives too, and the predictions of the last 2,000 values."""
    import torch
    from reservoirpy import ESN
    from reservoirpy.nodes import Reservoir, Ridge

    own = _network(torch.float64).reservoir

    def make():
        return Reservoir(W=own.matrix(), Win=own.input_weight.numpy(), bias=own.bias.numpy(), lr=own.leak)

    reservoir, network = make(), ESN(reservoir=make(), readout=Ridge(ridge=RIDGE))
    started = time.process_time()
    reservoir.run(values[:STEPS])
    drive = time.process_time() - started
    started = time.process_time()
    network.fit(values[:STEPS], values[1 : STEPS + 1], warmup=WASHOUT)
    fit = time.process_time() - started
    return {"drive": drive, "fit": fit}, network.run(values[STEPS:-1])


def _batches(values, streams: int):
    import numpy as np

    from pipeline.datasets.series import SeriesWindows

    return SeriesWindows(values[: STEPS + 1], np.empty((STEPS + 1, 0)), streams, min(10_000, STEPS // streams))


def _ours(values, streams: int, dtype) -> tuple[float, object]:
    import torch

    network = _network(dtype)
    batches = _batches(values, streams)
    started = time.process_time()
    statistics = network.zero_statistics(STEPS)
    for step in range(len(batches)):
        batch = batches.at(step).to(network.device, dtype)
        if not batch.carried:
            state = network.start(streams)
        state, _ = network.accumulate(statistics, batch, state)
    network.update(statistics)
    spent = time.process_time() - started
    if streams > 1:  # the state after the whole series, as one stream has it
        _, state = network(torch.from_numpy(values[STEPS - 2000 : STEPS, None]).to(dtype), network.start(1))
    predicted, _ = network(torch.from_numpy(values[STEPS:-1, None]).to(dtype), state)
    return spent, predicted[:, 0].double().numpy()


def _drive(values, streams: int, dtype) -> float:
    network, batches = _network(dtype), _batches(values, streams)
    started = time.process_time()
    state = network.start(streams)
    for step in range(len(batches)):
        _, state = network(batches.at(step).inputs.to(dtype), state)  # nothing is learned, so the readout costs nothing
    return time.process_time() - started


def _products(add) -> float:
    import torch

    from pipeline.models.echo_state import CHUNK

    rows, sums = torch.randn(CHUNK, UNITS, dtype=torch.float64), torch.zeros(UNITS, UNITS, dtype=torch.float64)
    started = time.process_time()
    for _ in range(STEPS // CHUNK):
        add(sums, rows)
    return (time.process_time() - started) * STEPS / (STEPS // CHUNK * CHUNK)


def _by_blas(sums, rows) -> None:
    from scipy.linalg import blas

    blas.dsyrk(1.0, rows.numpy().T, beta=1.0, c=sums.numpy().T, overwrite_c=True)
