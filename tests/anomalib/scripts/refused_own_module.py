# anomalib 2.x: a data module of Lightning's own making.
from anomalib.engine import Engine
from anomalib.models import Padim
from lightning.pytorch import LightningDataModule


class OwnData(LightningDataModule):
    def train_dataloader(self):
        return []


Engine().fit(model=Padim(), datamodule=OwnData())
