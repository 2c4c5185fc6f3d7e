# anomalib 2.7: a table of files instead of folders.
from pathlib import Path

import pandas as pd
from anomalib.data import Tabular
from anomalib.engine import Engine
from anomalib.models import Dfm

root = Path("datasets/MVTec/pane")
rows = [{"image_path": str(p), "label_index": 0, "split": "train"} for p in sorted((root / "train/good").iterdir())]
rows += [{"image_path": str(p), "label_index": 0, "split": "test"} for p in sorted((root / "test/good").iterdir())]
rows += [
    {"image_path": str(p), "label_index": 1, "split": "test", "mask_path": str(root / "ground_truth/stain" / f"{p.stem}_mask.png")}
    for p in sorted((root / "test/stain").iterdir())
]
samples = pd.DataFrame(rows)
datamodule = Tabular(name="table", samples=samples, train_batch_size=4, eval_batch_size=4, num_workers=0)
model, engine = Dfm(), Engine()
results = engine.train(model=model, datamodule=datamodule)
