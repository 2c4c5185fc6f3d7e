# anomalib 1.2: own folders, split arguments, callbacks, TensorBoard, metrics to a text file, an ONNX export.
import os

from anomalib import TaskType
from anomalib.callbacks import GraphLogger, ModelCheckpoint
from anomalib.data import Folder
from anomalib.data.utils import TestSplitMode, ValSplitMode
from anomalib.deploy import ExportType
from anomalib.engine import Engine
from anomalib.loggers import AnomalibTensorBoardLogger
from anomalib.models import Stfpm
from lightning.pytorch.callbacks import EarlyStopping

dataset_root = os.path.join("datasets", "MVTec", "pane")
datamodule = Folder(
    name="stfpm_run",
    root=dataset_root,
    normal_dir="train/good",
    abnormal_dir=["test/scratch", "test/bubble"],
    normal_test_dir="test/good",
    test_split_mode=TestSplitMode.FROM_DIR,
    val_split_mode=ValSplitMode.SAME_AS_TEST,
    val_split_ratio=0.6,
    task=TaskType.CLASSIFICATION,
    train_batch_size=4,
    eval_batch_size=16,
    image_size=(64, 64),
    num_workers=0,
    seed=42,
)

model = Stfpm(layers=["layer1", "layer2", "layer3"])
checkpoint = ModelCheckpoint(dirpath="checkpoints", filename="stfpm_best", monitor="image_AUROC", mode="max")
callbacks = [GraphLogger(), checkpoint, EarlyStopping(monitor="image_AUROC", mode="max", patience=3)]
logger = AnomalibTensorBoardLogger(save_dir="TB", name="experiment_1")

engine = Engine(
    logger=logger,
    accelerator="auto",
    callbacks=callbacks,
    max_epochs=1,
    task=TaskType.CLASSIFICATION,
    image_metrics=["AUROC", "AUPR", "F1Score", "F1Max"],
    threshold="F1AdaptiveThreshold",
    log_every_n_steps=1,
)

if __name__ == "__main__":
    datamodule.setup()
    engine.fit(datamodule=datamodule, model=model)
    test_results = engine.test(datamodule=datamodule, model=model, ckpt_path=checkpoint.best_model_path)
    with open("metrics.txt", "w") as f:
        for metric_name, metric_value in test_results[0].items():
            f.write(f"{metric_name}: {metric_value:.4f}\n")
    exported = engine.export(export_type=ExportType.ONNX, model=model, export_root="weights_here")
    threshold = engine.model.image_threshold.cpu()
    print(threshold, logger.log_dir)
