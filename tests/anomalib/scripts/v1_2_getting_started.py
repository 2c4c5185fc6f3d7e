# anomalib 1.2: a category of MVTec, one model, train, test and predict; predictions are dictionaries.
from anomalib import TaskType
from anomalib.data import MVTec
from anomalib.engine import Engine
from anomalib.models import Patchcore

task = TaskType.SEGMENTATION
datamodule = MVTec(
    root="datasets/MVTec",
    category="pane",
    image_size=(64, 64),
    train_batch_size=8,
    eval_batch_size=4,
    num_workers=0,
    task=task,
)
datamodule.prepare_data()
datamodule.setup()

i, data = next(enumerate(datamodule.val_dataloader()))
print(f"Image Shape: {data['image'].shape} Mask Shape: {data['mask'].shape if 'mask' in data else None}")
keys = sorted(data.keys())

model = Patchcore(layers=["layer2", "layer3"], coreset_sampling_ratio=0.05, num_neighbors=3)
engine = Engine(
    task=task,
    image_metrics=["AUROC"],
    pixel_metrics=["AUROC"],
    accelerator="auto",
    devices=1,
    logger=False,
)
engine.fit(datamodule=datamodule, model=model)
results = engine.test(
    datamodule=datamodule, model=model, ckpt_path=engine.trainer.checkpoint_callback.best_model_path
)

predictions = engine.predict(model=model, datamodule=datamodule, ckpt_path=engine.best_model_path)
scores, labels = [], []
for batch in predictions:
    for name, value in batch.items():
        if name in ("anomaly_maps", "pred_masks"):
            assert value.shape[1:] == (1, 64, 64), name
    scores += batch["pred_scores"].tolist()
    labels += batch["label"].tolist()
first = predictions[0]
anomaly_map = first["anomaly_maps"][0].cpu().numpy().squeeze()
rejected = [path for batch in predictions for path, bad in zip(batch["image_path"], batch["pred_labels"]) if bad]
