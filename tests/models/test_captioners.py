"""Each captioner once more, one sentence at a time and step by step in NumPy, written from its paper's equations."""

from copy import deepcopy
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.datasets.batch import Batch
from pipeline.datasets.space import Pixels, Reals, Symbols
from pipeline.encoders.small_cnn import SmallCNN
from pipeline.learning.learning import Learning
from pipeline.runs.settling import rule_of
from tests.conftest import composed
from tests.oracles import cells as oracle
from tests.runs.test_kinds import by_two

V, F, E, H = 5, 3, 4, 4


@cache
def settings_of(name: str) -> dict:
    """conf/model/NAME.yaml, of H units."""
    settings = OmegaConf.to_container(composed(f"model={name}", f"scale.hidden={H}").model, resolve=True)
    return {key: value for key, value in settings.items() if key not in ("name", "parameter_budget")}


def captioner(name: str, cell: str | None = None, **settings):
    """With parameters ~ N(0, 1); another cell is given by its class."""
    torch.manual_seed(0)
    settings = settings_of(name) | settings
    if cell is not None:
        settings["cell"] = {"_target_": f"pipeline.cells.{cell}", "_partial_": True}
    space = Symbols(V, "word")
    made = instantiate(settings | {"_partial_": True})(space, space, (Reals(F),)).double()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter))
    return made


def arrays(module) -> dict[str, np.ndarray]:
    return {name: parameter.detach().numpy() for name, parameter in module.named_parameters()}


class Cells:
    """Layers of cells of a stack, from a state of zeros."""

    def __init__(self, stack, name: str):
        self.cells, self.name = [arrays(cell) for cell in stack.cells], name
        self.states = [tuple(np.zeros(width) for width in cell.state.values()) for cell in stack.cells]

    def step(self, x):
        for layer, parameters in enumerate(self.cells):
            self.states[layer] = oracle.STEPS[self.name](parameters, x, self.states[layer])
            x = self.states[layer][0]
        return x


def show_and_tell(net, p, e, v, cell):
    layers = Cells(net.stack, cell)
    layers.step(p["image.weight"] @ v + p["image.bias"])
    return [p["readout.weight"] @ layers.step(x) + p["readout.bias"] for x in e]


def neuraltalk(net, p, e, v, cell):
    """As the equations stand, with W_hx and W_hi apart, for the paper's own cell; else by reading both."""
    if cell != "relu_rnn":
        layers = Cells(net.stack, cell)
        return [
            p["readout.weight"] @ layers.step(np.concatenate([x, v * (t == 0)])) + p["readout.bias"]
            for t, x in enumerate(e)
        ]
    w, h, found = arrays(net.stack.cells[0]), np.zeros(H), []
    W_hx, W_hi = w["input_weight"][:, :E], w["input_weight"][:, E:]
    for t, x in enumerate(e):
        b_v = W_hi @ v
        h = np.maximum(0, W_hx @ x + w["recurrent.h"] @ h + w["input_bias"] + (b_v if t == 0 else 0))
        found.append(p["readout.weight"] @ h + p["readout.bias"])
    return found


def m_rnn(net, p, e, v, cell):
    layers, r, found = None if cell == "direct" else Cells(net.stack, cell), np.zeros(H), []
    w_cell = arrays(net.stack.cells[0])
    V_w, V_r = p["multimodal.weight"][:, :H], p["multimodal.weight"][:, H:]
    for x in e:
        w = p["second.weight"] @ x + p["second.bias"]
        if layers is None:
            r = np.maximum(0, w_cell["recurrent.h"] @ r + w_cell["recurrent_bias.h"] + w)
        else:
            r = layers.step(w)
        a = V_w @ w + V_r @ r + p["image.weight"] @ v + p["image.bias"]
        m = 1.7159 * (np.exp(4 * a / 3) - 1) / (np.exp(4 * a / 3) + 1)
        found.append(p["readout.weight"] @ m + p["readout.bias"])
    return found


def lrcn(net, p, e, v, cell):
    if net.words is None:
        layers = Cells(net.stack, cell)
        return [p["readout.weight"] @ layers.step(np.concatenate([x, v])) + p["readout.bias"] for x in e]
    below, above = Cells(net.words, cell), Cells(net.stack, cell)
    return [p["readout.weight"] @ above.step(np.concatenate([below.step(x), v])) + p["readout.bias"] for x in e]


def chen_zitnick(net, p, e, v, cell):
    language, visual, found = Cells(net.language, cell), Cells(net.visual, cell), []
    W_s, W_u, W_v = np.split(p["readout.weight"], [H, 2 * H], axis=1)
    for x in e:
        s, u = language.step(np.concatenate([x, v])), visual.step(x)
        found.append(W_s @ s + W_u @ u + W_v @ v + p["readout.bias"])
    return found


CASES = [
    (show_and_tell, "lstm", {}),
    (show_and_tell, "gru", {"cell": "gru.GRU", "layers": 2}),
    (neuraltalk, "relu_rnn", {"layers": 1}),
    (neuraltalk, "gru", {"cell": "gru.GRU", "layers": 2}),
    (m_rnn, "direct", {"multimodal": 6}),
    (m_rnn, "lstm", {"cell": "lstm.LSTM", "layers": 2}),
    (lrcn, "lstm", {"form": "1u"}),
    (lrcn, "lstm", {"form": "2u"}),
    (lrcn, "lstm", {"form": "2f"}),
    (chen_zitnick, "sigmoid_rnn", {}),
    (chen_zitnick, "lstm", {"cell": "lstm.LSTM", "layers": 2}),
]
WORDS = torch.tensor([[4, 4, 4], [0, 2, 1], [V, 3, 1], [3, 0, 4]])  # V: unknown
IMAGES = torch.tensor([[0.5, -1.0, 2.0], [0.0, 0.0, 0.0], [1.5, 0.3, -0.7]], dtype=torch.double)


@pytest.mark.parametrize("by_hand, cell, settings", CASES, ids=lambda one: getattr(one, "__name__", str(one)))
def test_predictions_are_those_of_the_papers_equations_in_one_pass_and_step_by_step(by_hand, cell, settings):
    net = captioner(by_hand.__name__, **settings).eval()
    p = arrays(net)
    words = np.concatenate([p["embedding.weight"], np.zeros((1, E))])
    with torch.no_grad():
        z, after = net(WORDS, net.start(3, IMAGES))
        for b in range(3):
            e = words[WORDS[:, b].numpy()]
            expected = np.stack(by_hand(net, p, e, IMAGES[b].numpy(), cell))
            np.testing.assert_allclose(z[:, b], expected, rtol=1e-10, atol=1e-10)
        # What is given is a part of the state: steps, and some of the sequences of a batch, need nothing else.
        state = net.start(3, IMAGES)
        for t in range(2):
            one, state = net(WORDS[t : t + 1], state)
            torch.testing.assert_close(one[0], z[t], rtol=1e-11, atol=1e-11)
        kept = torch.tensor([2, 0])
        rest, end = net(WORDS[2:, kept], tuple(part[:, kept] for part in state))
        torch.testing.assert_close(rest, z[2:, kept], rtol=1e-11, atol=1e-11)
        for part, whole in zip(end, after, strict=True):
            torch.testing.assert_close(part, whole[:, kept], rtol=1e-11, atol=1e-11)


def test_the_second_loss_of_chen_and_zitnick_is_that_of_reconstructed_features_where_words_are_asked():
    net = captioner("chen_zitnick", reconstruction=0.25).eval()
    targets = torch.tensor([[0, 2, 1], [V, 3, 1], [3, 0, 4], [4, V, V]])
    batch = Batch(WORDS, targets, 9, given=(IMAGES,))
    loss, _ = net.loss(batch, net.start(3, IMAGES))
    with torch.no_grad():
        z, _ = net(WORDS, net.start(3, IMAGES))
    p, expected = arrays(net), 0.0
    words = np.concatenate([p["embedding.weight"], np.zeros((1, E))])
    for b in range(3):
        visual, v = Cells(net.visual, "sigmoid_rnn"), IMAGES[b].numpy()
        for t in range(4):
            u, y = visual.step(words[WORDS[t, b]]), targets[t, b].item()
            if y == V:
                continue
            guess = p["reconstruction.weight"] @ u + p["reconstruction.bias"]
            logits = z[t, b].numpy()
            expected += np.log(np.exp(logits).sum()) - logits[y] + 0.25 * ((v - guess) ** 2).sum() / F
    assert np.isclose(loss.item(), expected, rtol=1e-12)
    loss.backward()
    assert all(parameter.grad is not None for parameter in net.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("name", ["show_and_tell", "neuraltalk", "m_rnn", "lrcn", "chen_zitnick"])
def test_every_engine_learns_the_same(name):
    """The gradient through the image and the words, on the engine of a CPU and by the plain loop."""
    grads = []
    for engine in ("auto", "reference"):
        net = captioner(name)
        net.run_on("cpu", engine)
        loss, _ = net.loss(Batch(WORDS, WORDS.roll(-1, 0), 12), net.start(3, IMAGES))
        loss.backward()
        grads.append([parameter.grad for parameter in net.parameters() if parameter.requires_grad])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def learned_encoder(name: str):
    """A captioner that learns to see pictures of 8 x 8, which it is given, eight of them, as bytes."""
    encoder = SmallCNN([4], [6], cells=2, size=8, crop=1.0, seed=0, fine_tune=True)
    space, settings = Symbols(V, "word"), settings_of(name) | {"_partial_": True}
    net = instantiate(settings)(space, space, (Pixels(3 * 8 * 8, chosen=encoder),))
    net.finish_initialization()
    return net, torch.randint(0, 256, (8, 3 * 8 * 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def batch_units(net, features: np.ndarray) -> np.ndarray:
    """What a captioner that learns will make of them next: Ioffe 2017, with limits by the number of batches."""
    mean, deviation = features.mean(0), np.sqrt(np.maximum(features.var(0), (0.1 * features.std(0).mean()) ** 2))
    followed, limit = [0.9 * one.double().numpy() for one in (net.mean, net.deviation)], (int(net.batches) + 1) / 1000
    followed = followed[0] + 0.1 * mean, followed[1] + 0.1 * deviation
    r = np.clip(deviation / followed[1], 1 / (1 + limit), 1 + limit)
    d = np.clip((mean - followed[0]) / followed[1], -limit, limit)
    return (features - mean) / deviation * r + d


def test_features_that_are_learned_stay_in_standard_units_however_far_they_have_moved():
    """They are moved by much more than pictures differ, which would drown what is seen in what is always the same."""
    net, pictures = learned_encoder("show_and_tell")
    state = [part[0] for part in net.train().start(8, pictures)]
    with torch.no_grad():
        net.encoder[-1][-2].bias.add_(100)
    units = batch_units(net, net.encoder(pictures).detach().double().numpy())
    v = net.image_of(pictures)
    np.testing.assert_allclose(v.detach(), units, atol=1e-3)
    after = [part[0] for part in net.start(8, pictures)]
    assert all(part.std(0).mean() > 0.02 for part in (*state, *after))
    v.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_what_learned_features_were_is_followed_and_what_is_given_alone_needs_no_others():
    net, pictures = learned_encoder("lrcn")
    features = net.encoder(pictures).detach()
    net.train()
    for _ in range(1000):
        net.image_of(pictures)
    torch.testing.assert_close(net.mean, features.mean(0), rtol=1e-3, atol=1e-3)
    kept, learning = net.mean.clone(), net.image_of(pictures)
    torch.testing.assert_close(net.image_of(pictures[:1]), net.eval().image_of(pictures)[:1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(net.image_of(pictures), learning, rtol=1e-2, atol=1e-2)
    net.image_of(pictures[:3])
    torch.testing.assert_close(net.mean, kept, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batches", [0, 300, 10**6])
def test_a_batch_is_corrected_by_more_the_more_were_learned_from(batches):
    net, pictures = learned_encoder("lrcn")
    net.train().batches.fill_(batches)
    net.mean.uniform_(-1, 1), net.deviation.uniform_(0.3, 2)
    for some in (pictures[:4], pictures[4:]):
        units = batch_units(net, net.encoder(some).detach().double().numpy())
        found = net.image_of(some)
        np.testing.assert_allclose(found.detach(), units, rtol=1e-4, atol=1e-4)
    if batches == 10**6:  # what it learns from is what it will be judged on
        torch.testing.assert_close(found, net.eval().image_of(pictures[4:]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["show_and_tell", "neuraltalk", "m_rnn", "lrcn", "chen_zitnick"])
@pytest.mark.parametrize("real", [5, 1])
def test_what_fills_up_a_batch_is_none_of_the_pictures_that_units_are_of(name, real):
    net, pictures = learned_encoder(name)
    net.train().mean.uniform_(-1, 1)
    alone = deepcopy(net)
    state = alone.start(real, pictures[:real])
    pictures[real:] = 0
    targets = torch.tensor([[1] * real + [V] * (8 - real), [2] + [V] * 7])
    learning = Learning(net, SimpleNamespace(nothing=1.0))
    learning.enter(Batch(targets, targets, real + 1, given=(pictures,)))
    for ours, theirs in zip(learning.state, state, strict=True):
        torch.testing.assert_close(ours[:, :real], theirs, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(net.buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert net.batches == (real > 1)


def test_weights_from_before_batches_were_counted_go_on_as_if_there_had_been_none():
    net, pictures = learned_encoder("lrcn")
    net.train().image_of(pictures)
    kept = {f"network.{name}": one for name, one in net.state_dict().items() if name != "batches"}
    other, _ = learned_encoder("lrcn")
    torch.nn.ModuleDict({"network": other}).load_state_dict(kept)
    assert other.batches == 0 and other.mean.equal(net.mean) and not any("batches" in name for name in kept)


def half_of(rank: int, port: int, work: tuple) -> None:
    net, pictures, counted, weights, folder = work
    net = deepcopy(net)  # whose memory processes share
    about = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=about, rank=rank, world_size=2)
    own = slice(4 * rank, 4 * rank + 4)
    v = net.image_of(pictures[own], counted[own])
    (v * weights[own])[counted[own]].sum().backward()
    found = {"v": v.detach(), "mean": net.mean, "gradients": [one.grad for one in net.encoder.parameters()]}
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("real", [8, 5, 3, 1])  # the others fill the batch up
def test_ranks_share_what_features_are_in_units_of(tmp_path, real):
    net, pictures = learned_encoder("lrcn")
    counted = torch.arange(8) < real
    pictures[real:] = 0
    weights = torch.randn(8, net.features, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    by_two(half_of, (net.double().train(), pictures, counted, weights, tmp_path))
    v = net.image_of(pictures[:real])
    (v * weights[:real]).sum().backward()
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    torch.testing.assert_close(torch.cat([one["v"] for one in ranks])[:real], v.detach(), rtol=1e-9, atol=1e-9)
    for one in ranks:
        torch.testing.assert_close(one["mean"], net.mean, rtol=1e-9, atol=1e-9)
    for parameter, *halves in zip(net.encoder.parameters(), *(one["gradients"] for one in ranks), strict=True):
        torch.testing.assert_close(halves[0] + halves[1], parameter.grad, rtol=1e-9, atol=1e-9)


def test_batches_of_one_picture_have_no_units_and_are_refused():
    def settled(space, *overrides: str):
        data = SimpleNamespace(given=(space,), shape=lambda batch, length: (batch, length))
        cfg = composed("data=scenes", "model=lrcn", "scale=smoke", *overrides)
        rule_of(cfg).settle(cfg, data)

    encoder = SmallCNN([4], [6], cells=2, size=8, crop=1.0, seed=0, fine_tune=True)
    learned = Pixels(3 * 8 * 8, chosen=encoder)
    with pytest.raises(Refusal, match="^trainer.batch=1: .*: take 2 or more, or encoder.fine_tune=false$"):
        settled(learned, "trainer.batch=1")
    settled(learned, "trainer.batch=2")
    settled(Reals(6), "trainer.batch=1")


def test_words_are_dropped_while_learning_alone_and_each_by_itself():
    net = captioner("show_and_tell", word_dropout=0.5).train()
    x = torch.randint(0, V, (40, 50))
    read, whole = net.read(x), net.eval().read(x)
    kept = (read != 0).any(-1)
    assert ((read == 2 * whole) | ~kept[..., None]).all() and (whole != 0).any(-1).all()
    assert 0.4 < kept.double().mean() < 0.6 and kept.any(0).all() and (~kept).any(0).all()
