# anomalib 2.7: names of many models imported at once, the best kept, results as JSON.
import json
from pathlib import Path

import anomalib
import anomalib.models
from anomalib.data import MVTecAD
from anomalib.engine import Engine
from anomalib.models import Csflow, Dfkde, Dfm, EfficientAd, Ganomaly, Padim, Patchcore, Supersimplenet, WinClip

major = int(anomalib.__version__.split(".")[0])
candidates = {
    "Padim": (anomalib.models.Padim, {"n_features": 20}),
    "Dfm": (Dfm, {"pooling_kernel_size": 4, "score_type": "fre"}),
    "Ganomaly": (Ganomaly, {}),
    "WinClip": (WinClip, {}),
}
results, failed = [], {}
for name, (cls, arguments) in candidates.items():
    try:
        model = cls(**arguments)
        model.pre_processor = model.configure_pre_processor((64, 64))
        engine = Engine(max_epochs=1, logger=False, default_root_dir="comparison")
        metrics = engine.train(model=model, datamodule=MVTecAD(root="datasets/MVTec", category="pane"))[0]
        results.append({"model": model.name, **{k: float(v) for k, v in metrics.items()}, "path": engine.best_model_path})
    except Exception as error:
        failed[name] = str(error)
best = max(results, key=lambda row: row["image_AUROC"])
Path("comparison.json").write_text(json.dumps({"best": best["model"], "all": results}, indent=2))
