# anomalib 2.4: the model as a torch module, and inference from tensors, arrays and PIL images.
from pathlib import Path

import numpy as np
import torch
from anomalib.data.utils import read_image
from anomalib.data import MVTecAD
from anomalib.deploy import ExportType, TorchInferencer
from anomalib.engine import Engine
from anomalib.models import Patchcore
from PIL import Image

datamodule = MVTecAD(root="datasets/MVTec", category="pane")
model = Patchcore(
    layers=("layer2", "layer3"),
    coreset_sampling_ratio=0.05,
    pre_processor=Patchcore.configure_pre_processor(image_size=(64, 64)),
)
engine = Engine()
engine.fit(model=model, datamodule=datamodule)

device = torch.device("cpu")
model = model.to(device)
model.eval()
file = sorted(Path("datasets/MVTec/pane/test/stain").glob("*.png"))[0]
tensor = read_image(file, as_tensor=True).unsqueeze(0)
with torch.no_grad():
    output = model(tensor.to(device))
print(output.pred_score.item(), output.anomaly_map.shape, output.pred_label.item(), output.pred_mask.sum())
total = sum(p.numel() for p in model.parameters())
trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
state = model.state_dict()
engine.trainer.save_checkpoint("model.ckpt")

exported = engine.export(model=model, export_type=ExportType.TORCH)
inferencer = TorchInferencer(path=exported)
image = Image.open(file).convert("RGB")
outputs = {
    "path": inferencer.predict(image=str(file)),
    "pil": inferencer.predict(image=image),
    "array": inferencer.predict(image=np.array(image)),
    "tensor": inferencer.predict(image=tensor),
}
scores = {kind: float(found.pred_score) for kind, found in outputs.items()}
