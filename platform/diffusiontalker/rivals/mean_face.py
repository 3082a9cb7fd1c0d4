"""The floor of laziness: the mean face of the training set, whatever is said (our baseline)."""

from torch import Tensor

from diffusiontalker.rivals.base import Batch, Regression


class MeanFace(Regression):
    """It does not move."""

    title = "mean face"
    learns = False

    @property
    def takes_features(self) -> bool:
        """No: the audio changes nothing."""
        return False

    def faces(self, batch: Batch) -> Tensor:
        """As ``Regression.faces``."""
        return self.coefficient_mean.expand(*batch["mask"].shape, -1)
