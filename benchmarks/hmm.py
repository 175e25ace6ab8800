"""Baum-Welch beside hmmlearn: one step of EM on the same million symbols, from the same parameters."""

import statistics
import time

V, STREAMS, LENGTH = 65, 2000, 500
STEPS = {10: 7, 50: 3}  # N -> steps of EM, of which the first one warms up
SHARE = 10  # hmmlearn's default takes minutes at N = 50: it is timed on one stream in so many


def measure() -> str:
    """A Markdown section."""
    import hmmlearn
    import torch

    torch.set_num_threads(1)
    rows = [row for states in STEPS for row in _compare(states)]
    return "\n".join(
        [
            "## Baum-Welch",
            "",
            f"A step of EM on {STREAMS * LENGTH:,} symbols, V={V}, as {STREAMS:,} streams of {LENGTH}; CPU "
            "seconds of one thread, medians over steps that all take in turn in one process, ratios medians of the "
            "steps' ratios. hmmlearn "
            f"{hmmlearn.__version__}'s `CategoricalHMM` starts from our parameters and has the streams as `lengths`; "
            f'`"scaling"` is its faster implementation, `"log"` its default (timed on {STREAMS // SHARE} of the '
            f"streams, times {SHARE}). The difference is the largest one of a parameter from hmmlearn's after "
            "all steps.",
            "",
            '| N | `precision` | ours, s | hmmlearn `"scaling"`, s | ratio | '
            'hmmlearn `"log"`, s | ratio | difference |',
            "|---:|---|---:|---:|---:|---:|---:|---:|",
            *rows,
            "",
            "Wanted: a ratio of 8 at N = 10, of 15 at N = 50.",
        ]
    )


def _compare(states: int) -> list[str]:
    """The table's rows for N states."""
    import torch

    from pipeline.datasets.space import Symbols
    from pipeline.models.hmm import HiddenMarkovModel

    torch.manual_seed(0)
    source = HiddenMarkovModel(Symbols(V), Symbols(V), (), 2 * states, 0.0, 1.0, "float64")
    x, _ = source.sample(source.start(STREAMS), LENGTH)
    torch.manual_seed(1)
    ours = {"float64": HiddenMarkovModel(Symbols(V), Symbols(V), (), states, 0.0, 1.0, "float64")}
    ours["float32"] = HiddenMarkovModel(Symbols(V), Symbols(V), (), states, 0.0, 1.0, "float32")
    ours["float32"].load_state_dict(ours["float64"].state_dict())
    peers = {name: _hmmlearn(ours["float64"], name) for name in ("scaling", "log")}
    steps = {name: lambda net=net: _step(net, x) for name, net in ours.items()}
    steps["scaling"] = lambda: _fit(peers["scaling"], x)
    steps["log"] = lambda: _fit(peers["log"], x[:, ::SHARE])
    seconds = {name: [] for name in steps}
    for _ in range(STEPS[states]):
        for name, step in steps.items():
            began = time.process_time()
            step()
            seconds[name].append((time.process_time() - began) * (SHARE if name == "log" else 1))
    median = {name: statistics.median(times[1:]) for name, times in seconds.items()}

    def ratio(peer: str, name: str) -> float:
        return statistics.median(theirs / own for theirs, own in zip(seconds[peer][1:], seconds[name][1:]))

    return [
        f"| {states} | {name} | {median[name]:.2f} | {median['scaling']:.2f} | {ratio('scaling', name):.1f} | "
        f"{median['log']:.1f} | {ratio('log', name):.0f} | {_difference(net, peers['scaling']):.0e} |"
        for name, net in ours.items()
    ]


def _step(net, x) -> None:
    from pipeline.datasets.batch import Batch

    sums = net.zero_statistics(x.numel())
    net.accumulate(sums, Batch(x[:-1], x[1:], x[1:].numel()), net.start(x.shape[1]))
    net.update(sums)


def _hmmlearn(net, implementation: str):
    from hmmlearn.hmm import CategoricalHMM

    peer = CategoricalHMM(net.states, n_features=V, n_iter=1, init_params="", implementation=implementation)
    peer.startprob_, peer.transmat_, peer.emissionprob_ = (parameter.numpy().copy() for parameter in net.parameters())
    return peer


def _fit(peer, x) -> None:
    peer.fit(x.t().reshape(-1, 1).numpy(), [len(x)] * x.shape[1])


def _difference(net, peer) -> float:
    found = (parameter.numpy() for parameter in net.parameters())
    return max(
        abs(own - theirs).max() for own, theirs in zip(found, (peer.startprob_, peer.transmat_, peer.emissionprob_))
    )
