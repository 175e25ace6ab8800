"""What leaves a network as it was drawn, to be compared with those that learned."""

from datetime import timedelta

import torch
from pytorch_lightning.strategies import DDPStrategy, Strategy

from pipeline.datasets.batch import Batch
from pipeline.learning.learning import Learning


class UntrainedLearning(Learning):
    """Reads batches and changes nothing."""

    def strategy(self, timeout: timedelta) -> Strategy:
        return DDPStrategy(timeout=timeout)

    @torch.no_grad()
    def learn(self, batch: Batch) -> None:
        self.enter(batch)
        loss, self.state = self.network.loss(batch, self.state)
        self.record(loss.double() * self.trainer.world_size, batch.count)
