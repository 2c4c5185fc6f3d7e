# anomalib 2.5: OpenVINO by the path that export returns, over a folder, with times and accuracy.
import os
import time

from anomalib.data import Folder
from anomalib.deploy import ExportType, OpenVINOInferencer
from anomalib.engine import Engine
from anomalib.models import Dfm
from sklearn.metrics import accuracy_score, f1_score

datamodule = Folder(
    name="biscuits",
    root="datasets/MVTec/pane",
    normal_dir="train/good",
    normal_split_ratio=0.8,
    train_batch_size=32,
    eval_batch_size=32,
    num_workers=8,
    image_size=64,
)
datamodule.setup()
model, engine = Dfm(), Engine()
engine.fit(datamodule=datamodule, model=model)
path = engine.export(model=model, export_type=ExportType.OPENVINO, export_root="optimised", input_size=(64, 64))
inferencer = OpenVINOInferencer(path="./optimised/weights/openvino/model.xml", device="GPU")

folder_path = "datasets/mix"
y_true, y_pred, times = [], [], []
for entry_name in sorted(os.listdir(folder_path)):
    full_path = os.path.join(folder_path, entry_name)
    start = time.time()
    predictions = inferencer.predict(image=full_path)
    times.append((time.time() - start) * 1000)
    y_true.append(1 if entry_name.startswith("bad") else 0)
    for prediction in predictions:
        y_pred.append(1 if prediction.pred_label == True else 0)
        print(f"{full_path} -> {prediction.pred_label}/{prediction.pred_score:.2f}/{times[-1]:.2f} ms")
print(f"f1 {f1_score(y_true, y_pred):.3f}, accuracy {accuracy_score(y_true, y_pred):.3f}, {sum(times) / len(times):.1f} ms")
