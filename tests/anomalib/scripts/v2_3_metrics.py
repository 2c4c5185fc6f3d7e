# anomalib 2.3: metrics updated by hand, batch by batch, and scikit-learn on the same scores.
import numpy as np
from anomalib.data import Folder
from anomalib.engine import Engine
from anomalib.metrics import AUPR, AUROC, F1AdaptiveThreshold, F1Max, F1Score, MinMax
from anomalib.models import Padim
from sklearn.metrics import confusion_matrix, roc_auc_score

TYPES = ["scratch", "bubble", "stain"]
datamodule = Folder(
    name="by_type",
    root="datasets/MVTec/pane",
    normal_dir="train/good",
    normal_test_dir="test/good",
    abnormal_dir=[f"test/{kind}" for kind in TYPES],
    mask_dir=[f"ground_truth/{kind}" for kind in TYPES],
    image_size=(64, 64),
    eval_batch_size=5,
)
model = Padim(n_features=20)
engine = Engine(logger=False)
engine.fit(model=model, datamodule=datamodule)
validated = engine.validate(model=model, datamodule=datamodule)
predictions = engine.predict(model=model, datamodule=datamodule, return_predictions=True)

auroc, pixel = AUROC(fields=["pred_score", "gt_label"]), AUROC(fields=["anomaly_map", "gt_mask"])
f1, minmax, limit = F1Score(fields=["pred_label", "gt_label"]), MinMax(fields=["pred_score", "gt_label"]), F1AdaptiveThreshold()
aupr, f1_max = AUPR(), F1Max()
scores, labels, paths = [], [], []
for batch in predictions:
    auroc.update(batch)
    pixel.update(batch)
    f1.update(batch)
    minmax.update(batch)
    aupr.update(batch.pred_score, batch.gt_label)
    f1_max.update(batch.pred_score, batch.gt_label)
    limit.update(batch.pred_score, batch.gt_label)
    scores.extend(batch.pred_score.detach().cpu().numpy().tolist())
    labels.extend(batch.gt_label.cpu().numpy().astype(int).tolist())
    paths.extend(batch.image_path)
computed = {m.__class__.__name__: m.compute().tolist() for m in (auroc, f1, minmax, aupr, f1_max, limit)}
pixel_auroc = pixel.compute().item()
by_sklearn = roc_auc_score(labels, scores)
matrix = confusion_matrix(labels, np.array(scores) > computed["F1AdaptiveThreshold"])
for kind in TYPES:
    chosen = [k for k, path in enumerate(paths) if f"/{kind}/" in path.replace("\\", "/") or not labels[k]]
    print(kind, roc_auc_score([labels[k] for k in chosen], [scores[k] for k in chosen]))
