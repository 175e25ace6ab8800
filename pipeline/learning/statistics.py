"""Learning in passes: sums over the data, then new parameters from the sums."""

from datetime import timedelta

from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import Tensor

from pipeline.datasets.batch import Batch, Batches
from pipeline.learning.learning import Learning
from pipeline.models.model import StatisticsModel


class StatisticsLearning(Learning):
    """s = sum over batches of s(batch; parameters); parameters <- update(s) after each pass.

    Every statistic is a sum, so ranks add theirs up at the end of a pass and get the parameters that one process gets,
    up to rounding. Raises Refusal where nothing can be learned from the batches.
    """

    def __init__(self, network: StatisticsModel, batches: Batches):
        super().__init__(network, batches)
        network.check(batches)
        self.sums = network.zero_statistics(batches.elements)

    def strategy(self, timeout: timedelta) -> Strategy:
        return SumsAcrossRanks(timeout=timeout)

    def learn(self, batch: Batch) -> None:
        self.enter(batch)
        self.state, loss = self.network.accumulate(self.sums, batch, self.state)
        self.record(loss.double() * self.trainer.world_size, batch.count)
        if (self.global_step + 1) % len(self.batches) == 0:
            self.network.update(self._of_all(self.sums))
            self._set_to_zero()

    def _of_all(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """The ranks' sums added up; this rank's own stay as they are."""
        if self.trainer.world_size == 1:
            return sums
        return {name: self.trainer.strategy.reduce(part.clone(), reduce_op="sum") for name, part in sums.items()}

    def _set_to_zero(self) -> None:
        for part in self.sums.values():
            part.zero_()

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["sums"] = {name: part.clone() for name, part in self._of_all(self.sums).items()}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        super().on_load_checkpoint(checkpoint)
        self.sums = checkpoint["sums"]

    def on_train_start(self) -> None:
        super().on_train_start()
        self.sums = {name: part.to(self.device) for name, part in self.sums.items()}
        if self.global_rank > 0:  # what was saved holds all ranks' sums: the first rank goes on with them
            self._set_to_zero()


class SumsAcrossRanks(DDPStrategy):
    """Processes that reduce sums and share no gradients: the module is not wrapped."""

    def configure_ddp(self) -> None:
        pass
