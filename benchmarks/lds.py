"""Kalman smoothing and EM steps beside statsmodels and dynamax, one series of T = 100,000 steps, float64, one core.

Each number is a median over rounds of calls in a row, in turn in one process, in seconds of the processor.
Compiling (dynamax) is left out.
"""

import json
import os
import statistics
import subprocess
import sys
import time

T, ROUNDS, CALLS = 100_000, 4, 3
SIZES = [(4, 2), (10, 5)]  # N, D
PEERS = "statsmodels==0.15.0 dynamax==1.0.3"


def measure() -> str:
    """A Markdown section."""
    found = {states: _child(states, observed) for states, observed in SIZES}
    parts = [
        "## Linear dynamical system",
        "",
        f"One series of {T:,} steps, float64, one core; processor seconds, and what each peer takes over ours. "
        "Smoothing gives the likelihood, means and covariances: ours a table of the distinct covariances and each "
        "step's row of it, the peers' [T, N, N] (`written out`: ours too, which nothing here needs). statsmodels is "
        "`MLEModel.smooth`; it has no EM of all parameters, and dynamax knows no missing values. Differences are the "
        "largest ones from ours; dynamax adds 1e-9 to the matrices that it inverts.",
        "",
        "| | N | D | ours | written out | statsmodels | ratio | "
        "dynamax | ratio | log-likelihood differs by | results differ by |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for task in ("smoothing", "EM step", "smoothing, a tenth missing"):
        for states, observed in SIZES:
            row = found[states][task]
            cells = [
                task,
                str(states),
                str(observed),
                f"{row['ours']:.3f}",
                f"{row['written out']:.3f}" if "written out" in row else "",
            ]
            for peer in ("statsmodels", "dynamax"):
                cells += [f"{row[peer]:.2f}", f"{row[peer] / row['ours']:.1f}"] if peer in row else ["", ""]
            parts.append("| " + " | ".join([*cells, _by_peer(row["log_likelihood"]), _by_peer(row["results"])]) + " |")
    wanted = "20 or more where nothing is missing, 5 or more where values are, log-likelihood equal to 1e-4"
    return "\n".join([*parts, "", f"Wanted: {wanted}."])


def _by_peer(differences: dict) -> str:
    return ", ".join(f"{peer} {value:.0e}" for peer, value in differences.items())


def _child(states: int, observed: int) -> dict:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.lds", str(states), str(observed)],
        capture_output=True,
        text=True,
        env=environment,
    )
    if "No module named" in done.stderr:
        sys.exit(f"error: benchmarks lds measures peers that are not here: pip install {PEERS}")
    done.check_returncode()
    return json.loads(done.stdout.splitlines()[-1])


def _system(states: int, observed: int):
    """A stable system and a series of its making."""
    import torch

    from pipeline.datasets.space import Reals
    from pipeline.models.lds import LinearDynamicalSystem

    torch.manual_seed(0)
    model = LinearDynamicalSystem(Reals(observed), Reals(observed), (), states=states, radius=0.95, floor=1e-6)
    model.R.copy_(0.2 * torch.eye(observed))
    _, y = model.sample(model.start(1), T)
    return model, y


def _statsmodels(model, y):
    """A function that smooths -> log-likelihood, means [T, N], covariances [T, N, N]."""
    import numpy as np
    from statsmodels.tsa.statespace.mlemodel import MLEModel

    peer = MLEModel(y[:, 0].numpy(), k_states=model.states, k_posdef=model.states)
    peer["design"], peer["transition"], peer["selection"] = model.C.numpy(), model.A.numpy(), np.eye(model.states)
    peer["state_cov"], peer["obs_cov"] = model.Q.numpy(), model.R.numpy()
    peer.initialize_known(model.m0.numpy(), model.P0.numpy())

    def smooth():
        done = peer.smooth([], cov_type="none")
        return done.llf, done.smoothed_state.T, done.smoothed_state_cov.transpose(2, 0, 1)

    return smooth


def _dynamax(model, y):
    """Functions that smooth, as above, and that make an EM step -> log-likelihood, A, Q, C, d, R."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    from dynamax.linear_gaussian_ssm import LinearGaussianSSM, lgssm_smoother

    peer = LinearGaussianSSM(model.states, model.observed, has_dynamics_bias=False, has_emissions_bias=True)
    A, C, d, Q, R, m0, P0 = (jnp.array(getattr(model, name).numpy()) for name in ("A", "C", "d", "Q", "R", "m0", "P0"))
    parameters, properties = peer.initialize(
        initial_mean=m0,
        initial_covariance=P0,
        dynamics_weights=A,
        dynamics_covariance=Q,
        emission_weights=C,
        emission_bias=d,
        emission_covariance=R,
    )
    series = jnp.array(y[:, 0].numpy())
    smoother = jax.jit(lgssm_smoother)

    @jax.jit
    def step(parameters, series):
        sums, log_likelihood = peer.e_step(parameters, series)
        new, _ = peer.m_step(
            parameters, properties, jax.tree_util.tree_map(lambda part: jnp.asarray(part)[None], sums), None
        )
        return (
            log_likelihood,
            new.dynamics.weights,
            new.dynamics.cov,
            new.emissions.weights,
            new.emissions.bias,
            new.emissions.cov,
        )

    def smooth():
        done = jax.block_until_ready(smoother(parameters, series))
        return done.marginal_loglik, done.smoothed_means, done.smoothed_covariances

    return smooth, lambda: jax.block_until_ready(step(parameters, series))


def _ours(model, y):
    """Functions as above; the first one leaves the covariances in their table."""
    from pipeline.datasets.batch import Batch
    from pipeline.models.kalman import rts_smoother

    window = Batch(y[:-1], y[1:], y[1:].numel())
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def smooth():
        filtered = model.filter(y)
        return filtered.log_likelihood.sum(), rts_smoother(model.system, filtered).beliefs

    def write_out():
        log_likelihood, beliefs = smooth()
        return log_likelihood, beliefs.means[:, 0], beliefs.covariances[:, 0]

    def step():
        sums = model.zero_statistics(T)
        model.accumulate(sums, window, model.start(1))
        model.update(sums)
        new = [getattr(model, name).clone() for name in ("A", "Q", "C", "d", "R")]
        model.load_state_dict(before)
        return None, *new

    return smooth, write_out, step


def _compare(functions: dict, own: str) -> dict:
    """Median seconds of each after one call of each, and by how much the peers' results differ from those of `own`."""
    import numpy as np

    results = {name: function() for name, function in functions.items()}
    times = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name, function in functions.items():
            for _ in range(CALLS):
                began = time.process_time()
                function()
                times[name].append(time.process_time() - began)
    ours, peers = (
        results[own],
        {name: result for name, result in results.items() if name not in ("ours", "written out")},
    )
    return {
        **{name: statistics.median(one) for name, one in times.items()},
        "log_likelihood": {}
        if ours[0] is None
        else {name: abs(float(result[0]) - float(ours[0])) for name, result in peers.items()},
        "results": {
            name: max(
                float(np.abs(np.asarray(one) - np.asarray(other)).max())
                for one, other in zip(ours[1:], result[1:], strict=True)
            )
            for name, result in peers.items()
        },
    }


def main(states: str, observed: str) -> dict:
    import torch

    torch.set_num_threads(1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    model, y = _system(int(states), int(observed))
    smooth, write_out, step = _ours(model, y)
    peer_smooth, peer_step = _dynamax(model, y)
    found = {
        "smoothing": _compare(
            {"ours": smooth, "written out": write_out, "statsmodels": _statsmodels(model, y), "dynamax": peer_smooth},
            "written out",
        ),
        "EM step": _compare({"ours": step, "dynamax": peer_step}, "ours"),
    }
    y[torch.rand(T, generator=torch.Generator().manual_seed(1)) < 0.1] = float("nan")
    smooth, write_out, _ = _ours(model, y)
    found["smoothing, a tenth missing"] = _compare(
        {"ours": smooth, "written out": write_out, "statsmodels": _statsmodels(model, y)}, "written out"
    )
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
