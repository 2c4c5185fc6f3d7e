# anomalib 1.2: every model by name, from strings of a configuration, on one data module; a ranked list.
import time

from anomalib.data import Folder
from anomalib.engine import Engine
from anomalib.models import AnomalyModule, get_model

SETTINGS = {
    "padim": {"n_features": 20},
    "Dfkde": {"n_pca_components": 4, "feature_scaling_method": "scale", "max_training_points": 1000},
    "cfa": {"gamma_c": 1, "gamma_d": 1, "num_nearest_neighbors": 3, "num_hard_negative_features": 3, "radius": 1e-5},
    "fastflow": {"pre_trained": True, "flow_steps": 2, "conv3x3_only": True, "hidden_ratio": 1.0},
    "reverse_distillation": {"layers": ["layer2", "layer3"]},
}
datamodule = Folder(
    name="all",
    root="datasets/MVTec/pane",
    normal_dir="train/good",
    abnormal_dir="test/scratch",
    normal_test_dir="test/good",
    mask_dir="ground_truth/scratch",
    image_size=(64, 64),
    task="segmentation",
    seed=1,
)
rows = []
for name, arguments in SETTINGS.items():
    model: AnomalyModule = get_model(name, **arguments)
    engine = Engine(max_epochs=1, enable_progress_bar=False, logger=False, task="segmentation")
    start = time.time()
    engine.fit(model=model, datamodule=datamodule)
    seconds = time.time() - start
    metrics = engine.test(model=model, datamodule=datamodule)[0]
    parameters = sum(p.numel() for p in model.parameters())
    rows.append((model.__class__.__name__, metrics["image_AUROC"], metrics["pixel_F1Score"], seconds, parameters))
rows.sort(key=lambda row: row[1], reverse=True)
for row in rows:
    print("%-22s AUROC %.3f  pixel F1 %.3f  %.1f s  %d parameters" % row)
