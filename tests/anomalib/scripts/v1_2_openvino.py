# anomalib 1.2: export to OpenVINO, infer from a hard-coded path, draw the heat map of one image.
from pathlib import Path

from anomalib.data import MVTec
from anomalib.data.utils import read_image
from anomalib.deploy import ExportType, OpenVINOInferencer
from anomalib.engine import Engine
from anomalib.models import Padim
from anomalib.utils.visualization.image import ImageVisualizer, VisualizationMode
from PIL import Image

datamodule = MVTec(root="datasets/MVTec", category="pane", image_size=64, num_workers=0)
model = Padim(n_features=20)
engine = Engine(task="segmentation", default_root_dir="ov_results")
engine.fit(model=model, datamodule=datamodule)
engine.export(model=model, export_type=ExportType.OPENVINO, export_root=Path.cwd() / "exported")

output_path = Path("exported")
openvino_model_path = output_path / "weights" / "openvino" / "model.bin"
metadata_path = output_path / "weights" / "openvino" / "metadata.json"

inferencer = OpenVINOInferencer(path=openvino_model_path, metadata=metadata_path, device="CPU")
image_path = sorted(Path("datasets/MVTec/pane/test/scratch").glob("*.png"))[0]
image = read_image(path=image_path)
predictions = inferencer.predict(image=image)
print(f"{predictions.pred_score:.3f}", predictions.pred_label)
visualizer = ImageVisualizer(mode=VisualizationMode.FULL, task="segmentation")
Image.fromarray(visualizer.visualize_image(predictions)).save("result.png")
heat_map, mask, marked = predictions.heat_map, predictions.pred_mask, predictions.segmentations
