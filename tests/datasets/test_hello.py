import torch

from pipeline.datasets.hello import Hello


class Bigram(torch.nn.Module):
    """After h an e, after e an l, after l an o."""

    device, dtype = torch.device("cpu"), torch.float32

    def start(self, batch):
        return (torch.zeros(1, batch, 1),)

    def forward(self, x, state):
        return torch.eye(4)[(x + 1).clamp(max=3)], state

    def stepper(self, state):
        return lambda symbol: self(torch.tensor([[symbol]]), state)[0][0, 0]


def test_every_episode_reads_hell_and_asks_ello():
    data = Hello()
    for batch in (data.training(3).at(7), *data.held_out("test"), *data.held_out("validation")):
        for read, asked in zip(batch.inputs.T.tolist(), batch.targets.T.tolist()):
            assert "".join("helo"[k] for k in read) == "hell" and "".join("helo"[k] for k in asked) == "ello"
    assert data.training(3).at(7).count == 12


def test_it_is_written_with_letters_and_goes_on_from_h():
    text = "".join(Hello().write(Bigram(), "", 0.0, 10, torch.Generator()))
    assert text == "read    h e l l\nanswer  e l o o\nright   e l l o\n\nheloo\n"
    assert "".join(Hello().write(Bigram(), "", 0.0, 2, torch.Generator())).endswith("\n\nhel\n")
