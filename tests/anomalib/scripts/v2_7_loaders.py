# anomalib 2.7: loaders handed over one by one, parts of a data module tested and predicted alone.
from anomalib.data import ImageBatch, MVTecAD
from anomalib.engine import Engine
from anomalib.models import Supersimplenet
from anomalib.visualization import visualize_anomaly_map, visualize_image_item
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

datamodule = MVTecAD(root="datasets/MVTec", category="pane", train_batch_size=8, image_size=64)
datamodule.setup()
model = Supersimplenet(perlin_threshold=0.2, supervised=False, adapt_cls_features=False)
checkpoint = ModelCheckpoint(dirpath="kept", monitor="image_AUROC", save_last=True)
engine = Engine(max_epochs=1, callbacks=[checkpoint, EarlyStopping("image_AUROC")], accelerator="cpu", devices=1)
engine.fit(
    model, train_dataloaders=datamodule.train_dataloader(), val_dataloaders=datamodule.val_dataloader()
)
results = engine.test(model, dataloaders=datamodule.test_dataloader(), ckpt_path="best")
predictions = engine.predict(dataset=datamodule.test_data)
assert all(isinstance(batch, ImageBatch) for batch in predictions)
item = predictions[0].items[0]
picture, heat = visualize_image_item(item), visualize_anomaly_map(item.anomaly_map, colormap=True, normalize=True)
metric = engine.trainer.callback_metrics["image_AUROC"].item()
