# anomalib 1.2: a folder of images through the torch inferencer, overlays written with OpenCV.
from pathlib import Path

import cv2
import numpy as np
from anomalib.data.image.folder import Folder
from anomalib.deploy import ExportType, TorchInferencer
from anomalib.engine import Engine
from anomalib.models import Dfm
from anomalib.utils.post_processing import superimpose_anomaly_map

data = Folder(
    name="dfm", root="datasets/MVTec/pane", normal_dir="train/good", task="classification", image_size=(64, 64)
)
model, engine = Dfm(layer="layer3", pca_level=0.95), Engine(task="classification", logger=None)
engine.fit(model, datamodule=data)
engine.export(model, ExportType.TORCH, export_root="torch_out")

inferencer = TorchInferencer(path="torch_out/weights/torch/model.pt", device="cpu")
out = Path("overlays")
out.mkdir(exist_ok=True)
rows = []
for file in sorted(Path("datasets/MVTec/pane/test").rglob("*.png"))[:4]:
    image = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
    prediction = inferencer.predict(image=image)
    score, label = float(prediction.pred_score), bool(prediction.pred_label)
    anomaly_map = prediction.anomaly_map.squeeze().cpu().numpy()
    overlay = superimpose_anomaly_map(anomaly_map, image, normalize=True)
    cv2.imwrite(str(out / file.name), overlay[..., ::-1])
    rows.append((file.name, score, label, np.unravel_index(anomaly_map.argmax(), anomaly_map.shape)))
