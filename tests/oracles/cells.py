"""Every cell once more, one sequence at a time and gate by gate in NumPy, written from the papers' equations.

Each function takes the cell's parameters by name (float64 arrays), one input vector x [D] and the state, and returns
the next state. `W`, `U`, `b` are a gate's rows of the input matrix, the recurrent matrix and the bias.
"""

import numpy as np


def s(a):
    return 1 / (1 + np.exp(-a))


def rows(p, matrix, index, count):
    """Block `index` of `count` equal blocks of rows."""
    return np.split(p[matrix], count)[index]


def rnn(squash):
    def step(p, x, state):
        return (squash(p["input_weight"] @ x + p["recurrent.h"] @ state[0] + p["input_bias"]),)

    return step


def lstm(p, x, state):
    h, c = state
    i, f, g, o = (
        rows(p, "input_weight", k, 4) @ x + rows(p, "recurrent.gates", k, 4) @ h + rows(p, "input_bias", k, 4)
        for k in range(4)
    )
    c = s(f) * c + s(i) * np.tanh(g)
    return s(o) * np.tanh(c), c


def greff(gates, peepholes=True, input_activation=np.tanh, output_activation=np.tanh, coupled=False, full=False):
    """Section II of Greff et al. 2015, and appendix A3 for the variants; a gate that is not in `gates` is 1."""

    def step(p, x, state):
        h, c = state[:2]
        names = (*gates, "z")
        a = {
            name: rows(p, "input_weight", k, len(names)) @ x
            + rows(p, "recurrent.block", k, len(names)) @ h
            + rows(p, "input_bias", k, len(names))
            for k, name in enumerate(names)
        }
        peep = {name: p["peephole"][k] if peepholes else np.zeros_like(c) for k, name in enumerate(gates)}
        if full:
            before = dict(zip(gates, np.split(state[2], 3)))
            for k, name in enumerate(gates):
                for j, other in enumerate(gates):
                    a[name] = a[name] + np.split(rows(p, "recurrent.gates", k, 3), 3, axis=1)[j] @ before[other]
        z = input_activation(a["z"])
        i = s(a["i"] + peep["i"] * c) if "i" in gates else np.ones_like(c)
        f = 1 - i if coupled else s(a["f"] + peep["f"] * c) if "f" in gates else np.ones_like(c)
        c = z * i + c * f
        o = s(a["o"] + peep["o"] * c) if "o" in gates else np.ones_like(c)
        h = output_activation(c) * o
        return (h, c, np.concatenate([i, f, o])) if full else (h, c)

    return step


def gru(p, x, state):
    (h,) = state
    H = len(h)
    r = s(p["input_weight"][:H] @ x + p["recurrent.gates"][:H] @ h + p["input_bias"][:H])
    z = s(p["input_weight"][H : 2 * H] @ x + p["recurrent.gates"][H:] @ h + p["input_bias"][H : 2 * H])
    candidate = np.tanh(p["input_weight"][2 * H :] @ x + p["recurrent.candidate"] @ (r * h) + p["input_bias"][2 * H :])
    return (z * h + (1 - z) * candidate,)


def gru_reset_after(p, x, state):
    (h,) = state
    ar, az, an = (rows(p, "input_weight", k, 3) @ x + rows(p, "input_bias", k, 3) for k in range(3))
    br, bz, bn = (rows(p, "recurrent.state", k, 3) @ h + rows(p, "recurrent_bias.state", k, 3) for k in range(3))
    r, z = s(ar + br), s(az + bz)
    return ((1 - z) * np.tanh(an + r * bn) + z * h,)


def bare(p, x):
    return p["bare_weight"] @ x if "bare_weight" in p else x


def mut1(p, x, state):
    (h,) = state
    z = s(rows(p, "input_weight", 0, 2) @ x + rows(p, "input_bias", 0, 2))
    r = s(rows(p, "input_weight", 1, 2) @ x + p["recurrent.r"] @ h + rows(p, "input_bias", 1, 2))
    return (np.tanh(p["recurrent.h"] @ (r * h) + np.tanh(bare(p, x)) + p["candidate_bias"]) * z + h * (1 - z),)


def mut2(p, x, state):
    (h,) = state
    z = s(rows(p, "input_weight", 0, 2) @ x + rows(p, "recurrent.zr", 0, 2) @ h + rows(p, "input_bias", 0, 2))
    r = s(bare(p, x) + rows(p, "recurrent.zr", 1, 2) @ h + p["reset_bias"])
    candidate = np.tanh(p["recurrent.h"] @ (r * h) + rows(p, "input_weight", 1, 2) @ x + rows(p, "input_bias", 1, 2))
    return (candidate * z + h * (1 - z),)


def mut3(p, x, state):
    (h,) = state
    z, r, candidate = (rows(p, "input_weight", k, 3) @ x + rows(p, "input_bias", k, 3) for k in range(3))
    z = s(z + p["recurrent.z"] @ np.tanh(h))
    r = s(r + p["recurrent.r"] @ h)
    return (np.tanh(p["recurrent.h"] @ (r * h) + candidate) * z + h * (1 - z),)


def mrnn(p, x, state):
    (h,) = state
    H = len(h)
    f = np.diag(p["input_weight"][H:] @ x) @ p["recurrent.state"] @ h
    return (np.tanh(p["recurrent.h"] @ f + p["input_weight"][:H] @ x + p["input_bias"]),)


def mrnn_full(p, x, state):
    (h,) = state
    chosen = sum(weight * matrix for weight, matrix in zip(x, p["recurrent.h"]))
    return (np.tanh(chosen @ h + p["input_weight"] @ x + p["input_bias"]),)


def mlstm(p, x, state):
    h, c = state
    H = len(h)
    m = (p["input_weight"][4 * H :] @ x) * (p["recurrent.state"] @ h)
    i, f, o, g = (
        p["input_weight"][k * H : (k + 1) * H] @ x + rows(p, "recurrent.gates", k, 4) @ m + rows(p, "input_bias", k, 4)
        for k in range(4)
    )
    c = s(f) * c + s(i) * np.tanh(g)
    return s(o) * np.tanh(c), c


STEPS = {
    "rnn": rnn(np.tanh),
    "sigmoid_rnn": rnn(s),
    "relu_rnn": rnn(lambda a: np.maximum(a, 0)),
    "lstm": lstm,
    "lstm_forget_bias": lstm,
    "lstm_chrono": lstm,
    "lstm_peephole": greff("ifo"),
    "lstm_nig": greff("fo"),
    "lstm_nfg": greff("io"),
    "lstm_nog": greff("if"),
    "lstm_niaf": greff("ifo", input_activation=lambda a: a),
    "lstm_noaf": greff("ifo", output_activation=lambda a: a),
    "lstm_cifg": greff("io", coupled=True),
    "lstm_np": greff("ifo", peepholes=False),
    "lstm_fgr": greff("ifo", full=True),
    "gru": gru,
    "gru_reset_after": gru_reset_after,
    "mut1": mut1,
    "mut2": mut2,
    "mut3": mut3,
    "mrnn": mrnn,
    "mrnn_full": mrnn_full,
    "mlstm": mlstm,
}


def run(name, parameters, inputs, state):
    """Inputs [T, D] -> outputs [T, H] and the state after."""
    outputs = []
    for x in inputs:
        state = STEPS[name](parameters, x, state)
        outputs.append(state[0])
    return np.stack(outputs), state
