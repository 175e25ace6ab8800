"""How a model goes on from the beginnings that its data name."""

import hashlib

from pipeline.command.setting import NotNegative, Temperatures, Whole
from pipeline.exhibits.exhibit import Exhibit
from pipeline.exhibits.gallery import cards, folded, temperatures, written_text
from pipeline.probes.probe import Probe


class Completions(Probe):
    """What the model writes after each of the data's prompts.

    length       elements of a completion, >= 0
    temperature  >= 0, one or a list; 0 takes the likeliest, 1 draws from the model's own distribution, more flattens it
    """

    def __init__(self, length: Whole, temperature: NotNegative | Temperatures):
        self.length = length
        self.temperatures = list(temperature) if isinstance(temperature, list | tuple) else [temperature]

    def fits(self, network, data) -> bool:
        return bool(data.prompts)

    def measure(self, network, data, seed: int) -> dict:
        """{"completions": [{"prompt", "temperature", "text"}]}, the same for the same seed and prompt. Each prompt has
        random numbers of its own: with the same ones, what is drawn soon becomes one text, whatever the prompt."""
        from torch import Generator

        def complete(prompt: str, temperature: float) -> str:
            digest = hashlib.sha256(f"{seed} {prompt}".encode()).digest()
            generator = Generator().manual_seed(int.from_bytes(digest[:8]))
            return "".join(data.write(network, prompt, temperature, self.length, generator))

        return {
            "completions": [
                {"prompt": prompt, "temperature": temperature, "text": complete(prompt, temperature)}
                for prompt in data.prompts
                for temperature in self.temperatures
            ]
        }

    def show(self, rows: list[dict]) -> list[Exhibit]:
        parts = [
            folded(
                f"{row['label']}, seed {run['seed']}",
                temperatures(run["found"]["completions"]),
                cards([("", self._said(one), [written_text(one)]) for one in run["found"]["completions"]]),
                unfolded=run["open"],
            )
            for row in rows
            for run in row["runs"]
        ]
        return [Exhibit("Completions", "How each model goes on from the prompts in bold.", "".join(parts), long=True)]

    def _said(self, one: dict) -> str:
        """What stands above a completion: its temperature, where there are several."""
        return temperatures([one]) if len(self.temperatures) > 1 else ""
