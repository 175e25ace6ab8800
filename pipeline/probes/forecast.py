"""Where a model of a series thinks it goes."""

import torch

from pipeline.datasets.series import Series
from pipeline.models.model import SequenceModel
from pipeline.probes.likelihood import BEFORE


@torch.no_grad()
def forecast(network: SequenceModel, series: Series, steps: int) -> dict:
    """Means of y_{t+1}, y_{t+2}, .. from the test part's beginning on, each read in place of what was observed; what
    drives the series is known.

    {"observed": [steps][D], "forecast": [steps][D]} as models read values;
    as many steps as the test part has, up to `steps`.
    """
    values, inputs = (torch.from_numpy(part) for part in series.whole())
    start, stop = series.borders["test"].start, min(series.borders["test"].start + steps, len(values))
    values, inputs = values.to(network.dtype), inputs.to(network.dtype)
    first = max(0, start - BEFORE)
    x = torch.cat([values[first:start], inputs[first + 1 : start + 1]], dim=-1)[:, None]
    predicted, state = network(x, network.start(1))
    found = [predicted[-1, 0]]
    for t in range(start + 1, stop):
        predicted, state = network(torch.cat([found[-1], inputs[t]])[None, None], state)
        found.append(predicted[0, 0])
    return {"observed": values[start:stop].tolist(), "forecast": torch.stack(found).tolist()}
