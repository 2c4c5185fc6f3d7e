# anomalib 2.1: a model that was trained by another script, by its path; a folder, a file, a loader.
from pathlib import Path

from anomalib.data import MVTecAD, PredictDataset
from anomalib.engine import Engine
from anomalib.models import Dfm
from torch.utils.data import DataLoader

Engine(logger=False).fit(Dfm(), datamodule=MVTecAD(root="datasets/MVTec", category="pane"))  # "the other script"

checkpoints = sorted(Path("results/Dfm").rglob("*.ckpt"))
ckpt_path = "results/Dfm/MVTecAD/pane/latest/weights/lightning/model.ckpt"
model, engine = Dfm(), Engine()

folder = Path("datasets/MVTec/pane/test/bubble")
by_path = engine.predict(model=model, data_path=folder, ckpt_path=ckpt_path)
dataset = PredictDataset(path=folder, image_size=(256, 256))
by_dataset = engine.predict(model=model, dataset=dataset, ckpt_path=ckpt_path)
loader = DataLoader(dataset, batch_size=2, collate_fn=dataset.collate_fn)
by_loader = engine.predict(model=model, dataloaders=loader)
one = engine.predict(model=model, data_path=next(folder.iterdir()), return_predictions=True)

for prediction in by_path:
    image_path, anomaly_map = prediction.image_path, prediction.anomaly_map
    pred_label, pred_score = prediction.pred_label, prediction.pred_score
    assert prediction.gt_label is None
    print(image_path[0], int(pred_label), float(pred_score), anomaly_map.shape)

loaded = Dfm.load_from_checkpoint(checkpoints[0])
again = engine.predict(model=loaded, data_path=folder)
